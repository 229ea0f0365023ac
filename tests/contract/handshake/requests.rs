//! Requests of all kinds, valid and invalid.

use std::io::Write;

use super::{OPENED, get, stream_path, stream_request, wait_until_empty};
use crate::support::{API_KEY, Client, NOTIFICATIONS, TestServer, request};

/// The status for a stream request with these header lines and this body.
fn status_with(server: &TestServer, lines: &str, body: &str) -> u16 {
    let path = stream_path(server, "42");
    let mut client = server.connect();
    client.send(format!(
        "GET {path} HTTP/1.1\r\nHost: test\r\n{lines}\r\n{body}"
    ));
    client.stream().status
}

#[test]
fn any_accept_header_gets_the_stream() {
    let server = TestServer::start().over_sse();
    let values = [
        "",
        "Accept: */*\r\n",
        "Accept: application/json\r\n",
        "Accept: text/event-stream\r\n",
        "Accept: text/html, application/xhtml+xml;q=0.9\r\n",
        "Accept: text/event-stream;q=0\r\n",
        "Accept:\r\n",
        "Accept: ;;,=nonsense \u{e9}\r\n",
    ];
    for value in values {
        assert_eq!(status_with(&server, value, ""), 200, "{value:?}");
        wait_until_empty(&server);
    }
}

#[test]
fn a_stream_request_with_a_body_is_a_bad_request() {
    let server = TestServer::start().over_sse();
    let refused = [
        ("Content-Length: 5\r\n", "hello"),
        ("Content-Length: 5\r\n", ""),
        ("Transfer-Encoding: chunked\r\n", "5\r\nhello\r\n0\r\n\r\n"),
        ("Transfer-Encoding: chunked\r\n", "1\r\n \r\n0\r\n\r\n"),
        ("Transfer-Encoding: chunked\r\n", "nonsense\r\n\r\n"),
        ("Expect: 100-continue\r\nContent-Length: 5\r\n", ""),
        ("Expect: 100-continue\r\n", ""),
    ];
    for (lines, body) in refused {
        assert_eq!(status_with(&server, lines, body), 400, "{lines:?}");
    }
    wait_until_empty(&server);
    assert_eq!(server.metric(&server.series(OPENED)), Some(0.0));
}

#[test]
fn an_invalid_stream_request_gets_a_reason_in_the_usual_form() {
    let server = TestServer::start().over_sse();
    let answer = request(
        server.public,
        "GET",
        &stream_path(&server, "42"),
        &[],
        "hello",
    );
    assert_eq!(answer.status, 400);
    assert_eq!(answer.header("content-type"), Some("text/event-stream"));
    assert_eq!(
        answer.body,
        "event: error\ndata: {\"error\": \"A stream request has no body\"}\n\n"
    );
    assert_eq!(
        server.metric("idlewild_refused_total{reason=\"handshake\"}"),
        Some(1.0)
    );
}

#[test]
fn a_body_of_zero_bytes_counts_as_none() {
    let server = TestServer::start().over_sse();
    for (lines, body) in [
        ("Content-Length: 0\r\n", ""),
        ("Transfer-Encoding: chunked\r\n", "0\r\n\r\n"),
        (
            "Transfer-Encoding: Chunked\r\n",
            "0\r\nX-Trailer: x\r\n\r\n",
        ),
    ] {
        assert_eq!(status_with(&server, lines, body), 200, "{lines:?}");
        wait_until_empty(&server);
    }
}

#[test]
fn a_request_with_two_framings_closes_the_connection_after_its_stream() {
    let server = TestServer::start().over_sse();
    let path = stream_path(&server, "42");
    for lines in [
        "Content-Length: 0\r\nTransfer-Encoding: chunked\r\n",
        "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n",
    ] {
        let mut client = server.connect();
        client.send(format!(
            "GET {path} HTTP/1.1\r\nHost: test\r\n{lines}\r\n0\r\n\r\n"
        ));
        let stream = client.stream();
        assert_eq!(stream.status, 200, "{lines:?}");
        assert_eq!(stream.header("connection"), Some("close"), "{lines:?}");
    }
}

#[test]
fn an_empty_chunked_body_may_end_later() {
    let server = TestServer::start().over_sse();
    let mut client = server.connect();
    let path = stream_path(&server, "42");
    client.send(format!(
        "GET {path} HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: chunked\r\n\r\n"
    ));
    assert_eq!(server.get("/healthz").status, 200);
    client.send("0\r\n").send("\r\n");
    let mut stream = client.stream();
    assert_eq!(stream.status, 200);
    assert!(stream.next().is_some());
    let id = server.publish(&serde_json::json!({"to": {"user": "42"}, "data": 1}));
    assert_eq!(
        stream.next().unwrap(),
        format!("id: {id}\nevent: message\ndata: 1\n\n")
    );
}

#[test]
fn another_coding_than_chunked_is_not_implemented() {
    let server = TestServer::start().over_sse();
    let key = format!("Authorization: Bearer {API_KEY}\r\n");
    for (address, path) in [
        (server.public, stream_path(&server, "42")),
        (server.public, "/nowhere".to_owned()),
        (server.admin.into(), "/v1/stats".to_owned()),
    ] {
        let mut client = Client::connect(address);
        client.send(format!(
            "GET {path} HTTP/1.1\r\nHost: test\r\n{key}Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n"
        ));
        let mut answer = client.stream();
        assert_eq!(answer.status, 501, "{path}");
        assert_eq!(answer.header("content-type"), Some("application/json"));
        assert_eq!(answer.header("connection"), Some("close"));
        answer.body();
        assert!(!answer.follow());
    }
}

#[test]
fn conflicting_lengths_are_a_bad_request_and_close_the_connection() {
    let server = TestServer::start().over_sse();
    for lines in [
        "Content-Length: 5\r\nContent-Length: 0\r\n",
        "Content-Length: 0x5\r\n",
        "Transfer-Encoding: gzip\r\n",
    ] {
        let path = stream_path(&server, "42");
        let mut client = server.connect();
        client.send(format!("GET {path} HTTP/1.1\r\nHost: test\r\n{lines}\r\n"));
        let mut answer = client.stream();
        assert_eq!(answer.status, 400, "{lines:?}");
        answer.body();
        assert!(!answer.follow());
    }
}

#[test]
fn http_1_0_gets_raw_frames_until_the_close() {
    let server = TestServer::start().over_sse();
    for lines in ["", "Connection: keep-alive\r\n"] {
        let path = stream_path(&server, "42");
        let mut client = server.connect();
        client.send(format!("GET {path} HTTP/1.0\r\n{lines}\r\n"));
        let mut stream = client.stream();
        assert_eq!(stream.status, 200);
        assert_eq!(stream.header("connection"), Some("close"));
        assert_eq!(stream.header("transfer-encoding"), None);
        assert_eq!(stream.header("content-type"), Some("text/event-stream"));
        stream.begin();
        let id = server.publish(&serde_json::json!({"to": {"user": "42"}, "data": 1}));
        assert_eq!(
            stream.next().unwrap(),
            format!("id: {id}\nevent: message\ndata: 1\n\n")
        );
        assert_eq!(
            server
                .admin("DELETE", "/v1/users/42/connections", "")
                .status
                / 100,
            2
        );
        assert_eq!(stream.next(), None);
        assert!(stream.is_complete);
    }
}

#[test]
fn a_request_may_come_one_byte_at_a_time() {
    let server = TestServer::start();
    let mut client = server.connect();
    for byte in stream_request(&server, "42").bytes() {
        client.send([byte]);
    }
    let mut stream = client.stream();
    assert_eq!(stream.status, 200);
    stream.begin();
}

#[test]
fn an_absolute_uri_works_like_a_path() {
    let server = TestServer::start().over_sse();
    let path = format!("http://example.org:8000{}", stream_path(&server, "42"));
    assert_eq!(server.open(&path).status, 200);
    assert_eq!(server.open("http://example.org/nowhere").status, 404);
}

#[test]
fn a_request_has_exactly_one_host() {
    let server = TestServer::start().over_sse();
    let key = format!("Authorization: Bearer {API_KEY}\r\n");
    for (address, path) in [
        (server.public, stream_path(&server, "42")),
        (server.public, "/healthz".to_owned()),
        (server.public, "/nowhere".to_owned()),
        (server.admin.into(), "/v1/stats".to_owned()),
        (server.admin.into(), "/healthz".to_owned()),
    ] {
        for hosts in [
            "",
            "Host: test\r\nHost: test\r\n",
            "Host: a\r\nX: y\r\nHost: b\r\n",
            "Host: not a host\r\n",
        ] {
            let mut client = Client::connect(address);
            client.send(format!("GET {path} HTTP/1.1\r\n{hosts}{key}\r\n"));
            let mut answer = client.stream();
            assert_eq!(answer.status, 400, "{path} {hosts:?}");
            assert_eq!(answer.header("content-type"), Some("application/json"));
            assert_eq!(answer.header("connection"), Some("close"));
            assert!(answer.body().contains("Host"), "{path} {hosts:?}");
            assert!(!answer.follow());
        }
    }
    // HTTP/1.0 has no Host header.
    let mut client = server.connect();
    client.send("GET /healthz HTTP/1.0\r\n\r\n");
    assert_eq!(client.stream().status, 200);
    assert_eq!(server.metric(&server.series(OPENED)), Some(0.0));
}

#[test]
fn a_head_that_is_too_large_gets_431_and_the_client_can_read_it() {
    let server = TestServer::start();
    let one = format!("X-Large: {}\r\n", "a".repeat(100_000));
    let many = format!("X-Many: {}\r\n", "a".repeat(90)).repeat(1_000);
    for lines in [one, many] {
        let mut client = server.connect();
        let mut socket = client.socket.try_clone().unwrap();
        let head = server.public.get(&stream_path(&server, "42"), &lines);
        let writer = std::thread::spawn(move || {
            let _ = socket.write_all(head.as_bytes());
            let _ = socket.shutdown_write();
        });
        let answer = String::from_utf8(client.read_to_end()).unwrap();
        assert!(answer.starts_with("HTTP/1.1 431 "), "{answer:?}");
        assert!(answer.contains("\r\n\r\n"), "{answer:?}");
        writer.join().unwrap();
    }
    wait_until_empty(&server);
}

#[test]
fn a_uri_that_is_too_long_is_refused_and_the_client_can_read_it() {
    let server = TestServer::start().over_sse();
    let mut client = server.connect();
    client.send(get(&format!(
        "{NOTIFICATIONS}?token={}",
        "a".repeat(70_000)
    )));
    let answer = String::from_utf8(client.read_to_end()).unwrap();
    assert!(answer.starts_with("HTTP/1.1 4"), "{answer:?}");
    drop(client);
    wait_until_empty(&server);
}

#[test]
fn a_token_of_the_largest_size_is_checked() {
    let server = TestServer::start();
    let path = format!("{NOTIFICATIONS}?token={}", "a".repeat(8_192));
    assert_eq!(server.get(&path).status, 401);
}

#[test]
fn garbage_is_a_bad_request_and_closes_the_connection() {
    let server = TestServer::start().over_sse();
    let client_hello = [
        b"\x16\x03\x01\x00\xa5\x01\x00\x00\xa1\x03\x03".as_slice(),
        &[0x5a; 154],
    ]
    .concat();
    let noise: Vec<u8> = (0..4_000_u32)
        .map(|n| n.wrapping_mul(2_654_435_761).to_be_bytes()[1])
        .collect();
    let garbage = [
        b"garbage\r\n\r\n".as_slice(),
        b"GET\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"GET /healthz HTTP/1.1\r\nHo st: x\r\n\r\n",
        b"GET /healthz HTTP/1.1\r\nHost: a\0b\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"\0\0\0\0\0\0\0\0",
        &client_hello,
        &noise,
    ];
    for bytes in garbage {
        let mut client = server.connect();
        client.send(bytes);
        client.socket.shutdown_write().unwrap();
        let answer = String::from_utf8(client.read_to_end()).unwrap();
        assert!(
            answer.is_empty() || answer.starts_with("HTTP/1.1 4"),
            "{answer:?}"
        );
    }
    wait_until_empty(&server);
    assert_eq!(server.get("/healthz").body, "ok\n");
}
