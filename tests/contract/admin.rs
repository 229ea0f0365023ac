//! The admin listener: API keys, routes, presence and statistics.

use serde_json::{Value, json};

use crate::support::description::Description;
use crate::support::{API_KEY, NOTIFICATIONS, TestServer, engine_kind, eventually, request};

/// Every route of the contract that needs a key, with its method.
const ROUTES: [(&str, &str); 12] = [
    ("POST", "/v1/events"),
    ("POST", "/v1/events/batch"),
    ("GET", "/v1/nodes"),
    ("POST", "/v1/presence"),
    ("GET", "/v1/users/42"),
    ("PUT", "/v1/users/42/session"),
    ("POST", "/v1/users/42/logout"),
    ("DELETE", "/v1/users/42/connections"),
    ("GET", "/v1/stats"),
    ("GET", "/v1/stats/live"),
    ("GET", "/v1/refusals"),
    ("GET", "/openapi.json"),
];
const OPEN_ROUTES: [&str; 4] = ["/", "/healthz", "/readyz", "/metrics"];

/// The error's code. Checks that the body has exactly the form of the contract.
#[track_caller]
fn code(body: &Value) -> &str {
    assert_eq!(body.as_object().unwrap().len(), 1, "{body}");
    let error = body["error"].as_object().unwrap();
    assert_eq!(error.len(), 2, "{body}");
    assert!(!error["message"].as_str().unwrap().is_empty());
    error["code"].as_str().unwrap()
}

#[test]
fn every_route_except_health_metrics_and_the_page_needs_a_key() {
    let server = TestServer::start();
    let wrong = format!("Bearer {API_KEY}x");
    let basic = format!("Basic {API_KEY}");
    let shorter = format!("Bearer {}", &API_KEY[1..]);
    let token = format!("Bearer {}", server.token("42"));
    for (method, path) in ROUTES {
        // So few that no answer to a wrong key is delayed.
        server.advance(std::time::Duration::from_secs(5));
        for key in [
            None,
            Some(&wrong),
            Some(&basic),
            Some(&shorter),
            Some(&token),
        ] {
            let headers: Vec<(&str, &str)> = key
                .iter()
                .map(|key| ("Authorization", key.as_str()))
                .collect();
            let answer = request(server.admin, method, path, &headers, "");
            assert_eq!(answer.status, 401, "{method} {path} with {key:?}");
            assert_eq!(answer.header("content-type"), Some("application/json"));
            assert_eq!(answer.header("www-authenticate"), Some("Bearer"));
            assert_eq!(code(&answer.json()), "unauthorized");
        }
    }
    for path in OPEN_ROUTES {
        let answer = request(server.admin, "GET", path, &[], "");
        assert_eq!(answer.status, 200, "{path}");
    }
}

#[test]
fn no_response_may_be_cached() {
    let server = TestServer::start();
    let key = format!("Bearer {API_KEY}");
    let open = ["/healthz", "/readyz", "/metrics", "/v1/nowhere"].map(|path| ("GET", path));
    // The live stream's headers are checked in `dashboard`.
    let routes = ROUTES.iter().filter(|(_, path)| *path != "/v1/stats/live");
    for (method, path) in routes.copied().chain(open) {
        for headers in [&[][..], &[("Authorization", key.as_str())]] {
            server.advance(std::time::Duration::from_secs(5));
            let answer = request(server.admin, method, path, headers, "");
            let status = answer.status;
            assert_eq!(
                answer.header("cache-control"),
                Some("no-store"),
                "{method} {path}: {status}"
            );
        }
    }
}

#[test]
fn the_scheme_of_the_key_may_be_written_in_any_case() {
    let server = TestServer::start();
    let key = format!("bEARER {API_KEY}");
    let answer = request(
        server.admin,
        "GET",
        "/v1/stats",
        &[("authorization", &key)],
        "",
    );
    assert_eq!(answer.status, 200);
}

#[test]
fn an_unknown_route_is_404_and_a_trailing_slash_changes_nothing() {
    let server = TestServer::start();
    for path in [
        "/v1",
        "/v1/",
        "/v2/events",
        "/v1/users",
        "/v1/users/",
        "/v1/users/42/nothing",
        "/v1/users/42/session/more",
        "/v1/events/one",
        "/v1/stats/dead",
        "/v1/refusals/one",
        "//",
        "/healthz/more",
        "/v1/users/%ff",
    ] {
        let answer = server.admin("GET", path, "");
        assert_eq!(answer.status, 404, "{path}");
        assert_eq!(code(&answer.json()), "not_found");
    }
    for path in [
        "/healthz/",
        "/readyz/",
        "/metrics/",
        "/v1/stats/",
        "/v1/users/42/",
        "/openapi.json/",
    ] {
        assert_eq!(server.admin("GET", path, "").status, 200, "{path}");
    }
}

#[test]
fn a_wrong_method_is_405_with_the_allowed_ones() {
    let server = TestServer::start();
    let open = OPEN_ROUTES.map(|path| ("GET", path));
    for (allowed, path) in ROUTES.into_iter().chain(open) {
        for method in ["GET", "POST", "PUT", "DELETE", "PATCH"] {
            if method == allowed {
                continue;
            }
            let answer = server.admin(method, path, "");
            assert_eq!(answer.status, 405, "{method} {path}");
            let allow = answer.header("allow").unwrap();
            assert!(
                allow.split(", ").any(|name| name == allowed),
                "{path}: {allow}"
            );
            assert!(
                !allow.split(", ").any(|name| name == method),
                "{path}: {allow}"
            );
            assert_eq!(code(&answer.json()), "method_not_allowed");
        }
    }
}

#[test]
fn unknown_fields_and_invalid_json_are_refused() {
    let server = TestServer::start();
    for (method, path, body) in [
        (
            "POST",
            "/v1/events",
            r#"{"to":{"all":true},"data":1,"more":1}"#,
        ),
        (
            "POST",
            "/v1/events",
            r#"{"to":{"all":true,"more":1},"data":1}"#,
        ),
        ("POST", "/v1/events", "{"),
        ("POST", "/v1/events", "[1]"),
        ("POST", "/v1/events", r#"{"to":{"all":true},"data":1} 2"#),
        (
            "PUT",
            "/v1/users/42/session",
            r#"{"session_id":"s","more":1}"#,
        ),
        ("PUT", "/v1/users/42/session", r#"{"session_id":1.5}"#),
        ("PUT", "/v1/users/42/session", r#"{"session_id":""}"#),
        ("PUT", "/v1/users/42/session", r#"{"session_id":"a\nb"}"#),
        ("PUT", "/v1/users/42/session", ""),
        ("POST", "/v1/users/42/logout", r#"{"more":1}"#),
        ("POST", "/v1/users/42/logout", "nonsense"),
        ("POST", "/v1/users/42/logout", "[null, null]"),
        ("PUT", "/v1/users/42/session", r#"["a", null]"#),
    ] {
        let answer = server.admin(method, path, body);
        assert_eq!(answer.status, 400, "{method} {path} {body}");
        assert_eq!(code(&answer.json()), "invalid_request");
    }
    let long = "x".repeat(257);
    let answer = server.admin("GET", &format!("/v1/users/{long}"), "");
    assert_eq!(answer.status, 400);
    // None of these requests changed anything.
    server.stream("42");
}

#[test]
fn a_session_change_of_many_kilobytes_is_refused() {
    let server = TestServer::start();
    let body = json!({"session_id": "s", "message": "x".repeat(20_000)}).to_string();
    let answer = server.admin("PUT", "/v1/users/42/session", &body);
    assert_eq!(answer.status, 413);
    assert_eq!(code(&answer.json()), "too_large");
}

#[test]
fn presence_lists_the_connections_of_a_user() {
    let server = TestServer::start();
    let transport = server.public.transport();
    let nobody = server.admin("GET", "/v1/users/42", "").json();
    assert_eq!(
        nobody,
        json!({"user": "42", "online": false, "connections": []})
    );
    let token = server.token_with("42", Some("laptop"), &["orders/*", "news"]);
    let _first = server.stream_of(&token);
    server.advance(std::time::Duration::from_secs(90));
    let _second = server.open(&format!(
        "{NOTIFICATIONS}?token={token}&topic=orders/1&topic=orders/2"
    ));
    let _other = server.stream("43");
    let presence = server.admin("GET", "/v1/users/42", "").json();
    assert_eq!(
        (&presence["user"], &presence["online"]),
        (&json!("42"), &json!(true))
    );
    let mut connections = presence["connections"].as_array().unwrap().clone();
    let ids: Vec<Value> = connections
        .iter_mut()
        .map(|connection| connection.as_object_mut().unwrap().remove("id").unwrap())
        .collect();
    assert!(ids[0].is_string() && ids[0] != ids[1]);
    assert_eq!(
        connections,
        [
            json!({"since": "2023-11-14T22:13:20Z", "transport": transport, "remote": "127.0.0.1",
                "session": "laptop", "topics": ["news"]}),
            json!({"since": "2023-11-14T22:14:50Z", "transport": transport, "remote": "127.0.0.1",
                "session": "laptop", "topics": ["orders/1", "orders/2"]}),
        ]
    );
    let nameless = server.admin("GET", "/v1/users/43", "").json();
    assert_eq!(nameless["connections"][0]["session"], Value::Null);
    assert_eq!(nameless["connections"][0]["topics"], json!([]));
}

#[test]
fn a_user_id_in_a_path_may_be_percent_encoded() {
    let server = TestServer::start();
    let user = "a/b c@exämple?";
    let mut stream = server.stream(user);
    let path = "/v1/users/a%2Fb%20c%40ex%C3%A4mple%3F";
    let presence = server.admin("GET", path, "").json();
    assert_eq!(
        (&presence["user"], &presence["online"]),
        (&json!(user), &json!(true))
    );
    let ended = server
        .admin("DELETE", &format!("{path}/connections"), "")
        .json();
    assert_eq!(ended["ended"], 1);
    assert!(stream.rest().is_empty());
}

#[test]
fn presence_has_the_address_that_the_proxy_sent() {
    let server = TestServer::start();
    let token = server.token("42");
    let mut client = server.connect();
    client.get(
        &format!("{NOTIFICATIONS}?token={token}"),
        "X-Forwarded-For: 203.0.113.9\r\n",
    );
    let _stream = client.stream();
    let presence = server.admin("GET", "/v1/users/42", "").json();
    assert_eq!(presence["connections"][0]["remote"], "203.0.113.9");
}

#[test]
fn disconnected_clients_see_the_end_and_may_reconnect() {
    let server = TestServer::start();
    let (mut first, mut second) = (server.stream("42"), server.stream("42"));
    let mut other = server.stream("43");
    let answer = server.admin("DELETE", "/v1/users/42/connections", "");
    assert_eq!(answer.status, 200);
    assert_eq!(answer.json()["ended"], 2);
    assert!(first.rest().is_empty() && second.rest().is_empty());
    server.wait_for_metric("idlewild_disconnects_total{reason=\"evicted\"}", 2.0);
    let mut back = server.stream("42");
    server.publish(&json!({"to": {"all": true}, "data": "on"}));
    assert!(back.next().unwrap().contains("data: on\n"));
    assert!(other.next().unwrap().contains("data: on\n"));
    let again = server
        .admin("DELETE", "/v1/users/44/connections", "")
        .json();
    assert_eq!(again["ended"], 0);
}

#[test]
fn stats_have_all_numbers() {
    let server = TestServer::start();
    let mut stream = server.stream("42");
    server.publish(&json!({"to": {"user": "42"}, "data": 1}));
    stream.next().unwrap();
    server.wait_for_metric("idlewild_delivery_seconds_count", 1.0);
    assert_eq!(server.get(NOTIFICATIONS).status, 401);
    server.advance(std::time::Duration::from_secs(5));
    let stats = server.admin("GET", "/v1/stats", "").json();
    let mut by_transport = json!({"sse": 0, "test": 0, "ws": 0});
    by_transport[server.public.transport()] = json!(1);
    for (number, value) in [
        ("/version", json!(env!("CARGO_PKG_VERSION"))),
        ("/started_at", json!("2023-11-14T22:13:20Z")),
        ("/uptime_s", json!(5)),
        ("/ready", json!(true)),
        ("/reason", Value::Null),
        ("/engine/kind", json!(engine_kind())),
        ("/engine/up", json!(true)),
        ("/engine/nodes", json!(1)),
        ("/limits/max_connections", json!(4_000)),
        ("/limits/max_connections_per_user", json!(5)),
        ("/limits/max_history_age_s", json!(600)),
        ("/connections", json!(1)),
        ("/connections_by_transport", by_transport),
        ("/users", json!(1)),
        ("/totals/connects", json!(1)),
        ("/totals/published", json!(1)),
        ("/totals/delivered", json!(1)),
        ("/totals/refused", json!(1)),
        ("/refused/auth", json!(1)),
        ("/published/user", json!(1)),
        ("/delivery/count", json!(1)),
        ("/delivery/buckets/0", json!({"le_ms": 1, "count": 1})),
        ("/delivery/buckets/14/le_ms", Value::Null),
        ("/memory/history_events", json!(1)),
    ] {
        assert_eq!(stats.pointer(number), Some(&value), "{number} in {stats}");
    }
    let shards = stats["shards"].as_array().unwrap();
    assert_eq!(shards.len(), 2);
    let held: u64 = shards
        .iter()
        .map(|shard| shard["connections"].as_u64().unwrap())
        .sum();
    assert_eq!(held, 1);
    drop(stream);
    server.wait_for_metric(&server.series("idlewild_connections"), 0.0);
    let stats = server.admin("GET", "/v1/stats", "").json();
    assert_eq!(stats["disconnects"]["client_closed"], 1);
}

#[test]
fn stats_and_presence_match_the_openapi_document() {
    let server = TestServer::start();
    let _stream = server.stream_of(&server.token_with("42", Some("laptop"), &["news"]));
    let description = Description::of(&server);
    for (path, name) in [("/v1/stats", "Stats"), ("/v1/users/42", "Presence")] {
        description.covers(name, &server.admin("GET", path, "").json());
    }
    let users = json!({"users": ["42", "7"]}).to_string();
    let presence = server.admin("POST", "/v1/presence", &users).json();
    description.covers("UsersPresence", &presence);
    let logged_out = server.admin("POST", "/v1/users/42/logout", "").json();
    assert_eq!(logged_out["ended"], 1);
    description.covers("LoggedOut", &logged_out);
    description.covers("Nodes", &server.admin("GET", "/v1/nodes", "").json());
}

#[test]
fn the_openapi_document_lists_every_route() {
    let server = TestServer::start();
    let answer = server.admin("GET", "/openapi.json", "");
    assert_eq!(answer.header("content-type"), Some("application/json"));
    let document = answer.json();
    assert!(document["openapi"].as_str().unwrap().starts_with("3.1"));
    let open = OPEN_ROUTES.map(|path| ("GET", path));
    for (method, path) in ROUTES.into_iter().chain(open) {
        let path = path.replace("42", "{id}");
        let operation = &document["paths"][&path][method.to_lowercase()];
        assert!(operation["responses"].is_object(), "{method} {path}");
    }
}

#[test]
fn health_is_plain_text_and_readiness_is_json() {
    let server = TestServer::start();
    let health = request(server.admin, "GET", "/healthz", &[], "");
    assert_eq!((health.status, health.body.trim()), (200, "ok"));
    assert_eq!(request(server.admin, "HEAD", "/healthz", &[], "").body, "");
    assert_eq!(server.get("/healthz").body.trim(), "ok");
    assert_eq!(server.admin("GET", "/readyz", "").json()["ready"], true);
}

#[test]
fn a_node_lists_itself_with_its_streams() {
    let server = TestServer::start();
    let _stream = server.stream("42");
    // With a shared store, nodes tell their numbers every second.
    eventually("the stream is counted", || {
        let nodes = server.admin("GET", "/v1/nodes", "").json();
        nodes["nodes"][0]["connections"] == 1 && nodes["nodes"][0]["users"] == 1
    });
    let nodes = server.admin("GET", "/v1/nodes", "").json();
    assert_eq!(nodes["nodes"].as_array().unwrap().len(), 1);
    let node = &nodes["nodes"][0];
    assert_eq!(node["this"], true);
    assert_eq!(node["version"], env!("CARGO_PKG_VERSION"));
    assert!(!node["node"].as_str().unwrap().is_empty());
    assert!(node["age_s"].as_f64().unwrap() >= 0.0);
    assert_eq!(node["lag_s"], 0.0);
}
