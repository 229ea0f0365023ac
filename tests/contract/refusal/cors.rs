//! CORS: which pages of other origins may read responses.

use crate::support::{Answer, BASE, NOTIFICATIONS, TestServer, request};

const HERE: &str = "http://localhost:3000";
const ELSEWHERE: &str = "http://evil.example";

fn server(origins: &[&str], credentials: bool) -> TestServer {
    let server = TestServer::with(|config| {
        config.cors.origins = origins.iter().map(|it| it.parse().unwrap()).collect();
        config.cors.credentials = credentials;
        // Its `Vary` would hide the one for the origin.
        config.compression.enabled = false;
    });
    // A page reads no response to a WebSocket's handshake.
    server.over_sse()
}

fn ask(server: &TestServer, method: &str, path: &str, origin: &str) -> Answer {
    request(server.public, method, path, &[("Origin", origin)], "")
}

/// The origin, the credentials flag and `Vary` of a response.
fn permission(answer: &Answer) -> (Option<&str>, Option<&str>, Option<&str>) {
    (
        answer.header("access-control-allow-origin"),
        answer.header("access-control-allow-credentials"),
        answer.header("vary"),
    )
}

/// A refusal, an error and a normal response. A page must be able to read all of them.
const PATHS: [&str; 3] = [NOTIFICATIONS, "/nowhere", "/healthz"];

#[test]
fn a_wildcard_permits_every_page_and_no_cookies() {
    let server = server(&["*"], false);
    for path in PATHS {
        let answer = ask(&server, "GET", path, ELSEWHERE);
        assert_eq!(permission(&answer), (Some("*"), None, None), "{path}");
    }
    let answer = server.get("/healthz");
    assert_eq!(permission(&answer), (Some("*"), None, None));
}

#[test]
fn a_list_permits_its_origins() {
    let server = server(&["https://app.example", HERE], false);
    for path in PATHS {
        let answer = ask(&server, "GET", path, HERE);
        assert_eq!(
            permission(&answer),
            (Some(HERE), None, Some("Origin")),
            "{path}"
        );
        for other in [
            ELSEWHERE,
            "http://localhost:3001",
            "https://localhost:3000",
            "null",
            "*",
            "http://localhost:3000.evil.example",
        ] {
            let answer = ask(&server, "GET", path, other);
            assert_eq!(
                permission(&answer),
                (None, None, Some("Origin")),
                "{path} {other}"
            );
            assert_eq!(answer.header("access-control-allow-methods"), None);
        }
        let answer = server.get(path);
        assert_eq!(permission(&answer), (None, None, Some("Origin")), "{path}");
    }
}

#[test]
fn with_credentials_the_origin_is_echoed_instead_of_a_wildcard() {
    let any = server(&["*"], true);
    let listed = server(&[HERE], true);
    for path in PATHS {
        let answer = ask(&listed, "GET", path, HERE);
        assert_eq!(
            permission(&answer),
            (Some(HERE), Some("true"), Some("Origin")),
            "{path}"
        );
        for other in [ELSEWHERE, "null", "*"] {
            // The configuration check refuses this combination. If it is bypassed, the server permits no
            // origin.
            for server in [&any, &listed] {
                let answer = ask(server, "GET", path, other);
                assert_eq!(permission(&answer), (None, None, Some("Origin")), "{other}");
            }
        }
        assert_eq!(permission(&any.get(path)), (None, None, Some("Origin")));
    }
}

#[test]
fn a_stream_has_the_same_permissions() {
    let server = server(&[HERE], true);
    let path = format!("{NOTIFICATIONS}?token={}", server.token("42"));
    for (origin, allowed) in [(HERE, Some(HERE)), (ELSEWHERE, None)] {
        let mut client = server.connect();
        client.send(format!(
            "GET {path} HTTP/1.1\r\nHost: test\r\nOrigin: {origin}\r\n\r\n"
        ));
        let stream = client.stream();
        assert_eq!(stream.status, 200);
        assert_eq!(stream.header("access-control-allow-origin"), allowed);
        assert_eq!(
            stream.header("access-control-allow-credentials"),
            allowed.map(|_| "true")
        );
        assert_eq!(stream.header("vary"), Some("Origin"));
    }
}

#[test]
fn a_preflight_lists_what_a_page_may_send() {
    let server = server(&[HERE], true);
    for (path, method) in [
        (NOTIFICATIONS.to_owned(), "GET"),
        (format!("{BASE}/sse/test/"), "GET"),
        (format!("{BASE}/sse/ticket/"), "POST"),
        (format!("{BASE}/login/"), "POST"),
    ] {
        let headers = [
            ("Origin", HERE),
            ("Access-Control-Request-Method", method),
            (
                "Access-Control-Request-Headers",
                "authorization,last-event-id",
            ),
        ];
        let answer = request(server.public, "OPTIONS", &path, &headers, "");
        assert_eq!(answer.status, 204, "{path}");
        assert_eq!(
            permission(&answer),
            (Some(HERE), Some("true"), Some("Origin"))
        );
        assert_eq!(answer.header("access-control-allow-methods"), Some(method));
        let allowed = answer.header("access-control-allow-headers").unwrap();
        for header in [
            "Authorization",
            "Content-Type",
            "Cache-Control",
            "Last-Event-ID",
            "X-Requested-With",
            "X-CSRFToken",
            "traceparent",
            "tracestate",
            "baggage",
            "sentry-trace",
        ] {
            assert!(allowed.split(", ").any(|name| name == header), "{allowed}");
        }
        let refused = ask(&server, "OPTIONS", &path, ELSEWHERE);
        assert_eq!(refused.status, 204);
        assert_eq!(permission(&refused), (None, None, Some("Origin")));
        for field in ["methods", "headers"] {
            assert_eq!(
                refused.header(&format!("access-control-allow-{field}")),
                None
            );
        }
    }
}

#[test]
fn configured_headers_are_allowed_in_addition_to_the_usual_ones() {
    let server = TestServer::with(|config| config.cors.headers = vec!["X-Tenant".parse().unwrap()]);
    let answer = ask(&server, "OPTIONS", NOTIFICATIONS, HERE);
    let allowed = answer.header("access-control-allow-headers").unwrap();
    for header in ["Authorization", "traceparent", "X-Tenant"] {
        assert!(allowed.split(", ").any(|name| name == header), "{allowed}");
    }
}

#[test]
fn a_page_may_read_retry_after_and_www_authenticate() {
    let exposed = |server: &TestServer, path: &str, origin: &str| {
        let answer = ask(server, "GET", path, origin);
        let header = answer.header("access-control-expose-headers");
        header.map(ToOwned::to_owned)
    };
    let expected = Some("Retry-After, WWW-Authenticate".to_owned());
    let any = server(&["*"], false);
    let listed = server(&[HERE], true);
    for server in [&any, &listed] {
        assert_eq!(exposed(server, NOTIFICATIONS, HERE), expected);
        assert_eq!(exposed(server, "/healthz", HERE), None, "no refusal");
    }
    assert_eq!(exposed(&listed, NOTIFICATIONS, ELSEWHERE), None);
    let path = format!("{NOTIFICATIONS}?token={}", any.token("42"));
    let stream = any.open(&path);
    assert_eq!(stream.status, 200);
    assert_eq!(stream.header("access-control-expose-headers"), None);
}
