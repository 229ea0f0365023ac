//! Authentication: which credential decides, tickets, and tokens that expire.

use std::time::Duration;

use idlewild::auth::mint::{Claims, mint};
use idlewild::config::OnExpiry;
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use serde_json::{Value, json};

use crate::support::{
    Answer, BASE, NOTIFICATIONS, SECRET, START_UNIX_MS, Stream, TestServer, heartbeat, request,
};

const NOW_S: u64 = START_UNIX_MS / 1_000;

/// Opens a stream with these header lines.
fn ask(server: &TestServer, query: &str, lines: &str) -> Stream {
    let mut client = server.connect();
    client.get(&format!("{NOTIFICATIONS}{query}"), lines);
    client.stream()
}

fn bearer(token: &str) -> String {
    format!("Authorization: Bearer {token}\r\n")
}

fn cookie(token: &str) -> String {
    format!("Cookie: theme=dark; access_token={token}\r\n")
}

fn trade(server: &TestServer, token: &str) -> Answer {
    let authorization = format!("Bearer {token}");
    let path = format!("{BASE}/sse/ticket/");
    request(
        server.public,
        "POST",
        &path,
        &[("Authorization", &authorization)],
        "",
    )
}

fn ticket(server: &TestServer, token: &str) -> String {
    let answer = trade(server, token);
    assert_eq!(answer.status, 201, "{}", answer.body);
    answer.json()["ticket"].as_str().unwrap().to_owned()
}

fn use_ticket(server: &TestServer, ticket: &str) -> Stream {
    server.open(&format!("{NOTIFICATIONS}?ticket={ticket}"))
}

/// Returns true if the user has an open stream.
fn is_online(server: &TestServer, user: &str) -> bool {
    let answer = server.admin("GET", &format!("/v1/users/{user}"), "");
    answer.json()["online"].as_bool().unwrap()
}

#[test]
fn a_token_is_taken_from_header_query_or_cookie() {
    let server = TestServer::start();
    let token = |user| server.token(user);
    let asked = [
        ("h", ask(&server, "", &bearer(&token("h")))),
        ("q", ask(&server, &format!("?token={}", token("q")), "")),
        ("c", ask(&server, "", &cookie(&token("c")))),
        ("t", use_ticket(&server, &ticket(&server, &token("t")))),
    ];
    for (user, stream) in &asked {
        assert_eq!(stream.status, 200, "{user}");
        assert!(is_online(&server, user), "{user}");
    }
}

#[test]
fn the_first_credential_present_decides() {
    let server = TestServer::start();
    let (header, query, in_cookie) = (server.token("h"), server.token("q"), server.token("c"));
    let ticket = |user| ticket(&server, &server.token(user));
    let orders = [
        (
            "h",
            format!("?token={query}&ticket={}", ticket("t")),
            bearer(&header) + &cookie(&in_cookie),
        ),
        (
            "t",
            format!("?token={query}&ticket={}", ticket("t")),
            cookie(&in_cookie),
        ),
        ("q", format!("?token={query}"), cookie(&in_cookie)),
        ("c", String::new(), cookie(&in_cookie)),
    ];
    for (user, query, lines) in orders {
        let stream = ask(&server, &query, &lines);
        assert_eq!(stream.status, 200, "{user}");
        let online: Vec<_> = ["h", "t", "q", "c"]
            .into_iter()
            .filter(|user| is_online(&server, user))
            .collect();
        assert_eq!(online, [user]);
        drop(stream);
        server.wait_for_metric("idlewild_users", 0.0);
    }
}

#[test]
fn a_valid_credential_after_an_invalid_one_is_ignored() {
    let server = TestServer::start();
    let good = server.token("42");
    let ticket = || ticket(&server, &good);
    let asked = [
        (
            format!("?token={good}&ticket={}", ticket()),
            bearer("bad") + &cookie(&good),
        ),
        (
            format!("?token={good}"),
            "Authorization: Bearer\r\n".to_owned() + &cookie(&good),
        ),
        (format!("?token={good}&ticket=bad"), cookie(&good)),
        ("?token=bad".to_owned(), cookie(&good)),
    ];
    for (query, lines) in asked {
        assert_eq!(ask(&server, &query, &lines).status, 401, "{query} {lines}");
    }
    assert_eq!(
        server.metric("idlewild_refused_total{reason=\"auth\"}"),
        Some(4.0)
    );
}

#[test]
fn a_header_of_another_scheme_is_no_credential() {
    let server = TestServer::start();
    let lines = "Authorization: Basic dXNlcjpwYXNz\r\n".to_owned() + &cookie(&server.token("42"));
    assert_eq!(ask(&server, "", &lines).status, 200);
}

#[test]
fn the_cookie_has_the_configured_name() {
    let server = TestServer::with(|config| config.auth.jwt_cookie = "jwt".parse().unwrap());
    let token = server.token("42");
    assert_eq!(ask(&server, "", &cookie(&token)).status, 401);
    assert_eq!(
        ask(&server, "", &format!("Cookie: jwt={token}\r\n")).status,
        200
    );
}

#[test]
fn tickets_are_issued_only_for_a_header_or_a_cookie() {
    let server = TestServer::start();
    let token = server.token("42");
    let answer = trade(&server, &token);
    assert_eq!(answer.status, 201);
    assert_eq!(answer.header("content-type"), Some("application/json"));
    assert_eq!(answer.header("cache-control"), Some("no-store"));
    let body = answer.json();
    assert_eq!(body["expires_in"], 30);
    assert!(body["ticket"].as_str().unwrap().len() >= 22, "{body}");
    assert_eq!(body.as_object().unwrap().len(), 2);
    let post =
        |path: &str, headers: &[(&str, &str)]| request(server.public, "POST", path, headers, "");
    let path = format!("{BASE}/sse/ticket");
    let in_cookie = format!("access_token={token}");
    assert_eq!(post(&path, &[("Cookie", &in_cookie)]).status, 201);
    let refused = [
        post(&path, &[]),
        post(&format!("{path}?token={token}"), &[]),
        post(
            &path,
            &[("Authorization", "Bearer bad"), ("Cookie", &in_cookie)],
        ),
    ];
    for answer in refused {
        assert_eq!(answer.status, 401);
        assert_eq!(answer.header("www-authenticate"), Some("Bearer"));
        assert_eq!(answer.header("cache-control"), Some("no-store"));
        assert_eq!(answer.json(), json!({"error": "Authentication required"}));
    }
}

#[test]
fn a_ticket_works_once() {
    let server = TestServer::start();
    let ticket = ticket(&server, &server.token("42"));
    assert_eq!(use_ticket(&server, &ticket).status, 200);
    assert_eq!(use_ticket(&server, &ticket).status, 401);
    assert_eq!(use_ticket(&server, "unknown").status, 401);
}

#[test]
fn a_ticket_whose_token_has_expired_is_refused() {
    let server = TestServer::with(|config| config.auth.leeway = Duration::from_secs(1));
    let claims = Claims {
        user: "42",
        session: None,
        topics: &[],
        ttl: Duration::from_secs(5),
        now_unix_ms: server.clock.unix_ms(),
    };
    let token = mint(&server.config.auth, &claims).unwrap();
    let (early, late) = (ticket(&server, &token), ticket(&server, &token));
    server.advance(Duration::from_secs(4));
    assert_eq!(use_ticket(&server, &early).status, 200);
    server.advance(Duration::from_secs(3));
    assert_eq!(use_ticket(&server, &late).status, 401);
}

#[test]
fn a_ticket_used_by_many_at_once_works_once() {
    let server = TestServer::start();
    let path = format!(
        "{NOTIFICATIONS}?ticket={}",
        ticket(&server, &server.token("42"))
    );
    let (path, address) = (&path, server.public);
    let streams: Vec<Stream> = std::thread::scope(|scope| {
        let asking: Vec<_> = (0..16)
            .map(|_| scope.spawn(move || crate::support::Client::connect(address).open(path)))
            .collect();
        asking
            .into_iter()
            .map(|asked| asked.join().unwrap())
            .collect()
    });
    assert_eq!(
        streams.iter().filter(|stream| stream.status == 200).count(),
        1
    );
}

#[test]
fn an_expired_ticket_is_refused() {
    let server = TestServer::start();
    let token = server.token("42");
    let (early, late) = (ticket(&server, &token), ticket(&server, &token));
    server.advance(Duration::from_millis(29_999));
    assert_eq!(use_ticket(&server, &early).status, 200);
    server.advance(Duration::from_millis(1));
    assert_eq!(use_ticket(&server, &late).status, 401);
}

#[test]
fn a_ticket_from_before_a_log_out_is_refused() {
    let server = TestServer::start();
    let ticket = ticket(&server, &server.token("42"));
    server.advance(Duration::from_secs(1));
    assert_eq!(
        server.admin("POST", "/v1/users/42/logout", "{}").status / 100,
        2
    );
    assert_eq!(use_ticket(&server, &ticket).status, 401);
}

#[test]
fn a_ticket_of_another_session_is_refused_after_the_change() {
    let server = TestServer::start();
    let [old, new] =
        ["old", "new"].map(|session| ticket(&server, &server.token_with("42", Some(session), &[])));
    let answer = server.admin("PUT", "/v1/users/42/session", "{\"session_id\": \"new\"}");
    assert_eq!(answer.status / 100, 2, "{}", answer.body);
    assert_eq!(use_ticket(&server, &old).status, 401);
    assert_eq!(use_ticket(&server, &new).status, 200);
}

#[test]
fn a_ticket_does_not_bypass_the_limit_per_user() {
    let server = TestServer::start();
    let tickets: Vec<_> = (0..6)
        .map(|_| ticket(&server, &server.token("42")))
        .collect();
    let streams: Vec<_> = tickets
        .iter()
        .map(|ticket| use_ticket(&server, ticket))
        .collect();
    let statuses: Vec<_> = streams.iter().map(|stream| stream.status).collect();
    assert_eq!(statuses, [200, 200, 200, 200, 200, 429]);
}

#[test]
fn a_ticket_carries_the_topics_of_its_token() {
    let server = TestServer::start();
    let token = server.token_with("42", None, &["news"]);
    let mut stream = use_ticket(&server, &ticket(&server, &token));
    stream.next().unwrap();
    let id = server.publish(&json!({"to": {"topic": "news"}, "data": 1}));
    assert_eq!(
        stream.next().unwrap(),
        format!("id: {id}\nevent: message\ndata: 1\n\n")
    );
    let ticket = ticket(&server, &token);
    assert_eq!(
        server
            .open(&format!("{NOTIFICATIONS}?ticket={ticket}&topic=other"))
            .status,
        403
    );
}

#[test]
fn a_stream_ends_with_its_token() {
    let server = TestServer::start();
    let mut stream = server.stream("42");
    server.advance(Duration::from_millis(3_599_900));
    assert_eq!(server.get("/healthz").status, 200);
    server.wait_for_metric("idlewild_heartbeats_total", 1.0);
    assert_eq!(stream.next().unwrap(), heartbeat(&stream.position));
    assert!(stream.is_silent());
    server.advance(Duration::from_millis(200));
    assert_eq!(stream.next().unwrap(), "event: token_expired\ndata: {}\n\n");
    assert_eq!(stream.next(), None);
    assert!(stream.is_complete);
    server.wait_for_metric("idlewild_disconnects_total{reason=\"expired\"}", 1.0);
    server.wait_for_metric(&server.series("idlewild_connections"), 0.0);
}

#[test]
fn a_token_within_the_leeway_opens_a_stream_that_ends_with_the_leeway() {
    let server = TestServer::start();
    let path = format!("{NOTIFICATIONS}?token={}", server.token("42"));
    server.advance(Duration::from_secs(3_603));
    let mut stream = server.open(&path);
    assert_eq!(stream.status, 200);
    stream.begin();
    assert!(stream.is_silent());
    server.advance(Duration::from_secs(2));
    assert_eq!(stream.next().unwrap(), "event: token_expired\ndata: {}\n\n");
    assert_eq!(stream.next(), None);
    assert_eq!(server.open(&path).status, 401);
}

#[test]
fn a_stream_outlives_its_token_if_configured() {
    let server = TestServer::with(|config| config.auth.on_expiry = OnExpiry::Keep);
    let mut stream = server.stream("42");
    server.advance(Duration::from_secs(4_000));
    let id = server.publish(&json!({"to": {"user": "42"}, "data": 1}));
    let event = format!("id: {id}\nevent: message\ndata: 1\n\n");
    loop {
        let frame = stream.next().unwrap();
        if frame == event {
            break;
        }
        assert_eq!(frame, heartbeat(&stream.position));
    }
    assert!(is_online(&server, "42"));
}

/// A token with exactly these claims.
fn sign(algorithm: Algorithm, secret: &str, claims: &Value) -> String {
    let key = EncodingKey::from_secret(secret.as_bytes());
    jsonwebtoken::encode(&Header::new(algorithm), claims, &key).unwrap()
}

#[test]
fn valid_tokens_of_other_libraries_are_accepted() {
    let server = TestServer::start();
    for claims in [
        json!({"user_id": "42", "exp": NOW_S + 60}),
        json!({"user_id": 42, "exp": NOW_S + 60}),
        json!({"user_id": 42, "exp": NOW_S + 60, "iat": NOW_S, "jti": "x", "token_type": "access"}),
        json!({"user_id": 42, "exp": NOW_S + 60, "nbf": NOW_S + 4}),
        json!({"user_id": 42, "exp": NOW_S - 4}),
        json!({"user_id": 42, "exp": NOW_S + 60, "iat": null, "nbf": null, "session_id": null}),
        json!({"user_id": 42, "exp": NOW_S + 60, "token_type": null, "topics": null}),
        json!({"user_id": 42, "exp": NOW_S + 30 * 24 * 3_600, "iat": NOW_S}),
    ] {
        let token = sign(Algorithm::HS256, SECRET, &claims);
        let stream = ask(&server, "", &bearer(&token));
        assert_eq!(stream.status, 200, "{claims}");
        assert!(is_online(&server, "42"), "{claims}");
        drop(stream);
        server.wait_for_metric("idlewild_users", 0.0);
    }
}

#[test]
fn tokens_of_a_wrong_signature_algorithm_type_or_time_are_refused() {
    let server = TestServer::start();
    let good = json!({"user_id": "42", "exp": NOW_S + 60});
    let hs256 = |claims: Value| sign(Algorithm::HS256, SECRET, &claims);
    let whole = hs256(good.clone());
    let (unsigned, _) = whole.rsplit_once('.').unwrap();
    let (_, payload) = unsigned.split_once('.').unwrap();
    let refused = [
        sign(
            Algorithm::HS256,
            "another secret of thirty-two bytes or more",
            &good,
        ),
        sign(Algorithm::HS384, SECRET, &good),
        sign(Algorithm::HS512, SECRET, &good),
        // {"alg":"none"} and {"alg":"None"}
        format!("eyJhbGciOiJub25lIn0.{payload}."),
        format!("eyJhbGciOiJOb25lIn0.{payload}."),
        format!("{unsigned}."),
        unsigned.to_owned(),
        format!("{whole}x"),
        format!("x{whole}"),
        hs256(json!({"user_id": "42"})),
        hs256(json!({"user_id": "42", "exp": NOW_S - 6})),
        hs256(json!({"user_id": "42", "exp": "never"})),
        hs256(json!({"user_id": "42", "exp": NOW_S + 60, "nbf": NOW_S + 30})),
        hs256(json!({"user_id": "42", "exp": NOW_S + 60, "token_type": "refresh"})),
        hs256(json!({"user_id": "42", "exp": null})),
        hs256(json!({"user_id": "42", "exp": NOW_S + 30 * 24 * 3_600 + 1, "iat": NOW_S})),
        hs256(json!({"user_id": "42", "exp": NOW_S + 30 * 24 * 3_600 + 1})),
        hs256(json!({"user_id": "", "exp": NOW_S + 60})),
        hs256(json!({"user_id": null, "exp": NOW_S + 60})),
        hs256(json!({"sub": "42", "exp": NOW_S + 60})),
    ];
    for token in &refused {
        let answer = server.get(&format!("{NOTIFICATIONS}?token={token}"));
        assert_eq!(answer.status, 401, "{token}");
        assert_eq!(
            answer.body,
            "event: error\ndata: {\"error\": \"Authentication required\"}\n\n"
        );
        assert_eq!(trade(&server, token).status, 401, "{token}");
    }
    assert_eq!(
        server.metric(&server.series("idlewild_connects_total")),
        Some(0.0)
    );
}
