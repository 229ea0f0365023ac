//! Paths and methods.

use serde_json::json;

use crate::support::{Answer, BASE, NOTIFICATIONS, TestServer, request};

fn ask(server: &TestServer, method: &str, path: &str) -> Answer {
    request(server.public, method, path, &[], "")
}

fn assert_not_found(answer: &Answer) {
    assert_eq!(answer.status, 404, "{}", answer.head);
    assert_eq!(answer.header("content-type"), Some("application/json"));
    assert_eq!(answer.json(), json!({"error": "Not found"}));
}

#[test]
fn an_unknown_path_is_not_found_whatever_the_method() {
    let server = TestServer::start();
    for path in [
        "//",
        "/api/v1/auth",
        "/api/v1/auth/",
        "/api/v1/auth/sse/",
        "/sse/notifications/",
        "/api/v1/auth/sse/notifications//",
        "/api/v1/auth/sse/notifications/x",
        "/api/v1/auth/SSE/notifications/",
        "/api/v1/auth/../auth/sse/notifications/",
        "/api/v1/auth%2Fsse/notifications/",
        "/metrics",
        "/readyz",
        "/v1/events",
    ] {
        for method in ["GET", "POST", "OPTIONS", "DELETE"] {
            assert_not_found(&ask(&server, method, path));
        }
    }
}

#[test]
fn a_wrong_method_gets_the_allowed_ones() {
    let server = TestServer::start();
    let routes = [
        (
            NOTIFICATIONS.to_owned(),
            "GET, HEAD, OPTIONS",
            &["POST", "PUT", "DELETE", "PATCH", "BREW"][..],
        ),
        (
            format!("{BASE}/sse/test/"),
            "GET, HEAD, OPTIONS",
            &["POST", "PUT"],
        ),
        (
            format!("{BASE}/sse/ticket/"),
            "POST, OPTIONS",
            &["GET", "DELETE"],
        ),
        (format!("{BASE}/login/"), "POST, OPTIONS", &["GET", "PUT"]),
        (
            "/healthz".to_owned(),
            "GET, HEAD, OPTIONS",
            &["POST", "PUT"],
        ),
    ];
    for (path, allow, methods) in routes {
        for method in methods {
            let answer = ask(&server, method, &path);
            assert_eq!(answer.status, 405, "{method} {path}");
            assert_eq!(answer.header("allow"), Some(allow), "{method} {path}");
            assert_eq!(answer.header("content-type"), Some("application/json"));
            assert_eq!(answer.json(), json!({"error": "Method not allowed"}));
        }
    }
}

#[test]
fn a_trailing_slash_is_optional_everywhere() {
    let server = TestServer::start();
    for (method, path, status) in [
        ("GET", NOTIFICATIONS.to_owned(), 401),
        ("POST", format!("{BASE}/sse/ticket/"), 401),
        ("POST", format!("{BASE}/login/"), 400),
        ("GET", "/healthz/".to_owned(), 200),
    ] {
        let with = ask(&server, method, &path);
        let without = ask(&server, method, path.strip_suffix('/').unwrap());
        assert_eq!((with.status, without.status), (status, status), "{path}");
        assert_eq!(with.body, without.body, "{path}");
    }
    for path in [
        "/sse/test",
        "/sse/test/",
        "/sse/notifications",
        "/sse/notifications/",
    ] {
        let token = server.token("42");
        assert_eq!(
            server.open(&format!("{BASE}{path}?token={token}")).status,
            200,
            "{path}"
        );
    }
}

#[test]
fn options_is_answered_on_every_route() {
    let server = TestServer::start();
    for (path, allow) in [
        (NOTIFICATIONS.to_owned(), "GET, HEAD, OPTIONS"),
        (format!("{BASE}/sse/test/"), "GET, HEAD, OPTIONS"),
        (format!("{BASE}/sse/ticket/"), "POST, OPTIONS"),
        (format!("{BASE}/login/"), "POST, OPTIONS"),
        ("/healthz".to_owned(), "GET, HEAD, OPTIONS"),
    ] {
        for path in [path.as_str(), path.trim_end_matches('/')] {
            let answer = ask(&server, "OPTIONS", path);
            assert_eq!((answer.status, answer.body.as_str()), (204, ""), "{path}");
            assert_eq!(answer.header("allow"), Some(allow), "{path}");
            // RFC 9110, 8.6: a 204 has no Content-Length.
            assert_eq!(answer.header("content-length"), None, "{path}");
        }
    }
}

#[test]
fn health_is_plain_text() {
    let server = TestServer::start();
    let answer = ask(&server, "GET", "/healthz");
    assert_eq!((answer.status, answer.body.trim_end()), (200, "ok"));
    let answer = ask(&server, "HEAD", "/healthz");
    assert_eq!((answer.status, answer.body.as_str()), (200, ""));
}

#[test]
fn a_disabled_test_stream_is_not_found() {
    let server = TestServer::with(|config| config.test_stream = false);
    for method in ["GET", "POST", "OPTIONS"] {
        assert_not_found(&ask(&server, method, &format!("{BASE}/sse/test/")));
    }
}

#[test]
fn a_login_without_users_is_not_found() {
    let server = TestServer::without_dev();
    for method in ["GET", "POST", "OPTIONS"] {
        assert_not_found(&ask(&server, method, &format!("{BASE}/login/")));
    }
}

#[test]
fn the_websocket_routes_answer_a_plain_get_with_the_upgrade_they_need() {
    let server = TestServer::start();
    for path in ["/ws/notifications", "/ws/notifications/"] {
        for path in [path.to_owned(), format!("{BASE}{path}")] {
            let answer = ask(&server, "GET", &path);
            assert_eq!(answer.status, 426, "{path}");
            assert_eq!(answer.header("upgrade"), Some("websocket"), "{path}");
            assert_eq!(answer.header("sec-websocket-version"), Some("13"), "{path}");
        }
    }
}

#[test]
fn a_different_base_path_moves_all_routes() {
    let server = TestServer::with(|config| config.base_path = "/push".parse().unwrap());
    let path = format!("/push/sse/notifications/?token={}", server.token("42"));
    assert_eq!(server.open(&path).status, 200);
    assert_not_found(&ask(&server, "GET", NOTIFICATIONS));
    for path in ["/ws/notifications/", "/push/ws/notifications/"] {
        assert_eq!(ask(&server, "GET", path).status, 426, "{path}");
    }
    assert_not_found(&ask(&server, "GET", &format!("{BASE}/ws/notifications/")));
    assert_eq!(ask(&server, "GET", "/healthz").status, 200);
}
