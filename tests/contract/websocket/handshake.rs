//! The opening handshake: routes, malformed requests, credentials and origins.

use serde_json::json;

use super::ROUTE;
use super::peer::{ACCEPT, FIN, KEY, Peer, TEXT, masked, request};
use crate::support::backend::Backend;
use crate::support::http::Reply;
use crate::support::{BASE, Stream, TestServer};

/// The response to a handshake that fails, and its body.
fn refused(server: &TestServer, request: &str) -> (Stream, String) {
    let mut client = server.connect();
    client.send(request);
    let mut answer = client.stream();
    let body = answer.body();
    (answer, body)
}

#[test]
fn a_handshake_is_answered_as_the_standard_says() {
    let server = TestServer::start().over_sse();
    let token = server.token("42");
    for route in [
        ROUTE.to_owned(),
        "/ws/notifications".to_owned(),
        format!("{BASE}{ROUTE}"),
    ] {
        let lines = "Sec-WebSocket-Extensions: permessage-deflate\r\n";
        let mut peer = Peer::open(&server, &format!("{route}?token={token}"), lines);
        let mut head: Vec<&str> = peer.head.lines().collect();
        head.sort_unstable();
        assert_eq!(
            head,
            [
                "",
                "HTTP/1.1 101 Switching Protocols",
                "connection: Upgrade",
                &format!("sec-websocket-accept: {ACCEPT}"),
                "upgrade: websocket",
            ]
        );
        assert_eq!(peer.message()["event"], "open");
    }
}

#[test]
fn the_subprotocol_is_selected_only_if_it_is_offered() {
    let server = TestServer::start().over_sse();
    for (offered, selected) in [
        ("chat, idlewild.v1", true),
        ("idlewild.v1", true),
        ("idlewild.v2", false),
        ("IDLEWILD.V1", false),
        ("chat", false),
    ] {
        let lines = format!("Sec-WebSocket-Protocol: {offered}\r\n");
        let peer = Peer::open(&server, &super::path(&server, "42"), &lines);
        let field = "sec-websocket-protocol: idlewild.v1\r\n";
        assert_eq!(peer.head.contains(field), selected, "{offered}");
    }
}

#[test]
fn a_malformed_handshake_is_refused_with_what_the_client_needs_to_know() {
    let server = TestServer::start().over_sse();
    let path = super::path(&server, "42");
    let good = request(&path, "");
    let without = |line: &str| {
        assert!(good.contains(line), "{line}");
        good.replace(line, "")
    };
    let key = format!("Sec-WebSocket-Key: {KEY}\r\n");
    let version = "Sec-WebSocket-Version: 13\r\n";
    let cases = [
        (without("Upgrade: websocket\r\n"), 426),
        (without("Connection: Upgrade\r\n"), 426),
        (good.replace("Upgrade: websocket", "Upgrade: h2c"), 426),
        (good.replace("HTTP/1.1", "HTTP/1.0"), 426),
        (good.replace(": 13", ": 8"), 426),
        (good.replace(version, &format!("{version}{version}")), 426),
        (without(version), 426),
        (without(&key), 400),
        (good.replace(&key, &format!("{key}{key}")), 400),
        (good.replace(KEY, "c2hvcnQ="), 400),
        (good.replace(KEY, "not base64, but long enough!"), 400),
        (request(&path, "Content-Length: 1\r\n") + "x", 400),
        (
            request(&path, "Transfer-Encoding: chunked\r\n") + "0\r\n\r\n",
            400,
        ),
        (request(&path, "Expect: 100-continue\r\n"), 400),
        (format!("GET {path} HTTP/1.1\r\nHost: test\r\n\r\n"), 426),
    ];
    for (number, (request, status)) in cases.iter().enumerate() {
        let (answer, body) = refused(&server, request);
        assert_eq!(answer.status, *status, "{request}");
        assert!(body.contains("\"error\""), "{body}");
        if *status == 426 {
            assert_eq!(answer.header("upgrade"), Some("websocket"), "{number}");
            assert_eq!(answer.header("connection"), Some("Upgrade"), "{number}");
            assert_eq!(
                answer.header("sec-websocket-version"),
                Some("13"),
                "{number}"
            );
        }
    }
    let counted = "idlewild_refused_total{reason=\"handshake\"}";
    let count = u32::try_from(cases.len()).unwrap();
    assert_eq!(server.metric(counted), Some(f64::from(count)));
}

#[test]
fn other_methods_are_not_allowed() {
    let server = TestServer::start().over_sse();
    let path = super::path(&server, "42");
    for method in ["HEAD", "POST", "PUT", "DELETE"] {
        let handshake = request(&path, "").replace("GET ", &format!("{method} "));
        let mut client = server.connect();
        client.send(handshake);
        let answer = client.stream();
        assert_eq!(answer.status, 405, "{method}");
        assert_eq!(answer.header("allow"), Some("GET, OPTIONS"), "{method}");
    }
}

#[test]
fn every_credential_opens_a_stream() {
    let server = TestServer::start().over_sse();
    let token = server.token("42");
    let bearer = format!("Bearer {token}");
    let headers = [("Authorization", bearer.as_str())];
    let ticket = crate::support::request(
        server.public,
        "POST",
        &format!("{BASE}/sse/ticket/"),
        &headers,
        "",
    );
    let ticket = ticket.json()["ticket"].as_str().unwrap().to_owned();
    for (path, lines) in [
        (ROUTE.to_owned(), format!("Authorization: {bearer}\r\n")),
        (format!("{ROUTE}?ticket={ticket}"), String::new()),
        (format!("{ROUTE}?token={token}"), String::new()),
        (
            ROUTE.to_owned(),
            format!("Cookie: access_token={token}\r\n"),
        ),
    ] {
        let mut peer = Peer::open(&server, &path, &lines);
        assert_eq!(peer.message()["event"], "open", "{path} {lines}");
        let id = server.publish(&json!({"to": {"user": "42"}, "data": 1}));
        assert_eq!(peer.message()["id"], id);
        peer.socket.close();
        server.wait_for_metric(super::OPEN, 0.0);
    }
    Peer::open(&server, &format!("{ROUTE}?ticket={ticket}"), "")
        .assert_closed(4001, "Authentication required");
}

#[test]
fn a_page_of_another_origin_may_not_use_the_visitors_cookies() {
    let backend = Backend::start(Reply::body(200, &json!({"user_id": "42"}).to_string()));
    let server = TestServer::with(|config| {
        config.auth.session_auth_url = Some(backend.url().parse().unwrap());
        config.cors.origins = vec!["*".parse().unwrap(), "https://app.example".parse().unwrap()];
    })
    .over_sse();
    let token = server.token("42");
    let query = super::path(&server, "42");
    let cookies = [
        format!("Cookie: access_token={token}\r\n"),
        "Cookie: sessionid=s3ss10n\r\n".to_owned(),
    ];
    for cookie in &cookies {
        // `stream` reports an open WebSocket as a stream of any transport: with 200.
        for (origin, status) in [
            ("https://evil.example", 403),
            ("null", 403),
            ("https://app.example", 200),
            ("http://test", 200),
        ] {
            let lines = format!("{cookie}Origin: {origin}\r\n");
            let mut client = server.connect();
            client.send(request(ROUTE, &lines));
            let mut answer = client.stream();
            assert_eq!(answer.status, status, "{lines}");
            if status == 403 {
                assert_eq!(answer.body(), r#"{"error":"Origin not allowed"}"#);
            }
        }
        // A client that is not a browser.
        assert_eq!(
            Peer::open(&server, ROUTE, cookie).message()["event"],
            "open"
        );
    }
    // A page that has the token itself may have any origin.
    let mut peer = Peer::open(&server, &query, "Origin: https://evil.example\r\n");
    assert_eq!(peer.message()["event"], "open");
    let lines = format!("Authorization: Bearer {token}\r\nOrigin: https://evil.example\r\n");
    assert_eq!(
        Peer::open(&server, ROUTE, &lines).message()["event"],
        "open"
    );
}

#[test]
fn frames_that_do_not_wait_for_the_handshake_break_the_protocol() {
    let server = TestServer::start().over_sse();
    let mut bytes = request(&super::path(&server, "42"), "").into_bytes();
    bytes.extend(masked(FIN | TEXT, b"early"));
    let mut client = server.connect();
    client.send(bytes);
    let mut peer = Peer::over(client, "");
    assert_eq!(peer.message()["event"], "open");
    assert_eq!(peer.close_frame(), (1002, "Protocol error".to_owned()));
    assert_eq!(peer.next(), None);
    drop(peer);
    server.wait_for_metric(super::OPEN, 0.0);
}
