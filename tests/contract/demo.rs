//! The demo page, which is served only with `--dev`.

use serde_json::json;

use crate::support::page::assert_self_contained_except;
use crate::support::{API_KEY, Answer, TestServer, request};

#[test]
fn the_demo_page_loads_nothing_else_and_connects_only_to_its_server() {
    let server = TestServer::start();
    let page = server.get("/");
    assert_self_contained_except(&page, &format!("http://{}", server.admin));
    let head = request(server.public, "HEAD", "/", &[], "");
    assert_eq!((head.status, head.body.as_str()), (200, ""));
    assert_eq!(
        head.header("content-length"),
        Some(page.body.len().to_string().as_str())
    );
    let wrong = request(server.public, "POST", "/", &[], "");
    assert_eq!(wrong.status, 405);
    assert_eq!(wrong.header("allow"), Some("GET, HEAD, OPTIONS"));
}

#[test]
fn the_demo_page_has_the_paths_of_the_routes_and_the_admin_address() {
    let server = TestServer::with(|config| config.base_path = "/a\"&b".parse().unwrap());
    let page = server.get("/?token=x").body;
    assert!(
        page.contains(" data-base-path=\"/a&quot;&amp;b\""),
        "{page}"
    );
    let admin = format!(" data-admin=\"{}\"", server.admin);
    assert!(page.contains(&admin), "{page}");
}

#[test]
fn without_dev_there_is_no_demo_page() {
    let server = TestServer::without_dev();
    for method in ["GET", "POST", "OPTIONS"] {
        let answer = request(server.public, method, "/", &[], "");
        assert_eq!(answer.status, 404, "{method}");
        assert_eq!(answer.json(), json!({"error": "Not found"}));
    }
}

/// Asks as a browser does before a page of another origin sends an event.
fn preflight(server: &TestServer, path: &str) -> Answer {
    let headers = [
        ("Origin", "http://localhost:8000"),
        ("Access-Control-Request-Method", "POST"),
        (
            "Access-Control-Request-Headers",
            "authorization,content-type",
        ),
    ];
    request(server.admin, "OPTIONS", path, &headers, "")
}

/// Publishes as a page of another origin does.
fn publish_from_a_page(server: &TestServer, key: &str) -> Answer {
    let key = format!("Bearer {key}");
    let headers = [("Origin", "http://localhost:8000"), ("Authorization", &key)];
    let event = json!({"to": {"user": "1"}, "event": "news", "data": 1}).to_string();
    request(server.admin, "POST", "/v1/events", &headers, &event)
}

#[test]
fn the_demo_page_may_publish_with_the_api_key_and_use_no_other_route() {
    let server = TestServer::start();
    let asked = preflight(&server, "/v1/events");
    assert_eq!(asked.status, 204);
    for (name, value) in [
        ("access-control-allow-origin", "*"),
        ("access-control-allow-methods", "POST"),
        (
            "access-control-allow-headers",
            "Authorization, Content-Type",
        ),
        ("cache-control", "no-store"),
    ] {
        assert_eq!(asked.header(name), Some(value), "{name}");
    }
    for (key, status) in [(API_KEY, 202), ("another key", 401)] {
        let answer = publish_from_a_page(&server, key);
        assert_eq!(answer.status, status);
        assert_eq!(answer.header("access-control-allow-origin"), Some("*"));
    }
    for path in ["/v1/events/batch", "/v1/users/1/logout", "/v1/stats"] {
        let asked = preflight(&server, path);
        assert_eq!(asked.status, 401, "{path}");
        assert_eq!(asked.header("access-control-allow-origin"), None, "{path}");
    }
}

#[test]
fn without_dev_no_page_of_another_origin_may_publish() {
    let server = TestServer::without_dev();
    let asked = preflight(&server, "/v1/events");
    assert_eq!(asked.status, 401);
    assert_eq!(asked.header("access-control-allow-origin"), None);
    let answer = publish_from_a_page(&server, API_KEY);
    assert_eq!(answer.status, 202);
    assert_eq!(answer.header("access-control-allow-origin"), None);
}
