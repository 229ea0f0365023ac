//! HEAD on streams over SSE: returns the head that GET would return, and has no other effect.

use std::io::Write;

use super::{OPENED, STREAMS, get, stream_path, wait_until_empty};
use crate::support::{Answer, BASE, NOTIFICATIONS, Stream, TestServer, request};

/// The header fields without the date, in order.
fn fields(head: &str) -> Vec<String> {
    let mut fields: Vec<String> = head
        .lines()
        .skip(1)
        .filter_map(|line| line.split_once(": "))
        .map(|(name, value)| format!("{}: {value}", name.to_lowercase()))
        .filter(|field| !field.starts_with("date: "))
        .collect();
    fields.sort();
    fields
}

fn head(server: &TestServer, path: &str) -> Stream {
    let mut client = server.connect();
    client.send(format!("HEAD {path} HTTP/1.1\r\nHost: test\r\n\r\n"));
    client.stream()
}

#[test]
fn head_gets_the_head_of_a_stream_and_takes_no_place() {
    let server = TestServer::with(|config| config.max_connections_per_user = 1).over_sse();
    let test = format!("{BASE}/sse/test/");
    for path in [stream_path(&server, "42"), test] {
        let mut answer = head(&server, &path);
        assert_eq!(answer.status, 200);
        assert!(answer.header("date").is_some());
        let stream = server.open(&path);
        let mut expected = fields(&stream.head);
        // A response without a body has no Transfer-Encoding (RFC 9110, 9.3.2).
        expected.retain(|field| field != "transfer-encoding: chunked");
        assert_eq!(fields(&answer.head), expected);
        // The connection stays open, and there is no body in between.
        answer.socket.write_all(get("/healthz").as_bytes()).unwrap();
        assert!(answer.follow());
        assert_eq!(answer.body(), "ok\n");
        drop((answer, stream));
        wait_until_empty(&server);
    }
    assert_eq!(server.metric(&server.series(OPENED)), Some(1.0));
}

#[test]
fn head_is_refused_like_get() {
    let server = TestServer::with(|config| {
        config.max_connections_per_user = 1;
        config.max_test_streams = 1;
    })
    .over_sse();
    let test = format!("{BASE}/sse/test/");
    let path = stream_path(&server, "42");
    let _streams = (server.open(&path), server.open(&test));
    for (path, status) in [
        (NOTIFICATIONS, 401),
        (&path, 429),
        (&format!("{path}&topic=secret"), 403),
        (&test, 503),
    ] {
        let answers: [Answer; 2] =
            ["HEAD", "GET"].map(|method| request(server.public, method, path, &[], ""));
        assert_eq!(answers[0].status, status, "{path}");
        assert_eq!(fields(&answers[0].head), fields(&answers[1].head), "{path}");
        assert_eq!(answers[0].body, "");
    }
    assert_eq!(server.metric(&server.series(STREAMS)), Some(1.0));
    // The headers of GET.
    assert_eq!(
        server.metric("idlewild_refused_total{reason=\"limit\"}"),
        Some(1.0)
    );
}

#[test]
fn head_evicts_nobody() {
    let server = TestServer::with(|config| {
        config.max_connections_per_user = 1;
        config.on_limit = idlewild::config::OnLimit::EvictOldest;
    })
    .over_sse();
    let path = stream_path(&server, "42");
    let mut stream = server.open(&path);
    assert!(stream.next().is_some());
    assert_eq!(head(&server, &path).status, 200);
    let id = server.publish(&serde_json::json!({"to": {"user": "42"}, "data": 1}));
    assert_eq!(
        stream.next().unwrap(),
        format!("id: {id}\nevent: message\ndata: 1\n\n")
    );
}

#[test]
fn head_uses_up_no_ticket() {
    let server = TestServer::start().over_sse();
    let bearer = format!("Bearer {}", server.token("42"));
    let answer = request(
        server.public,
        "POST",
        &format!("{BASE}/sse/ticket/"),
        &[("Authorization", &bearer)],
        "",
    );
    let ticket = answer.json()["ticket"].as_str().unwrap().to_owned();
    let path = format!("{NOTIFICATIONS}?ticket={ticket}");
    assert_eq!(head(&server, &path).status, 200);
    assert_eq!(head(&server, &path).status, 200);
    assert_eq!(server.open(&path).status, 200);
    assert_eq!(head(&server, &path).status, 401);
}

#[test]
fn head_with_http_1_0_or_connection_close_gets_close() {
    let server = TestServer::start().over_sse();
    let path = stream_path(&server, "42");
    for request in [
        format!("HEAD {path} HTTP/1.0\r\nConnection: keep-alive\r\n\r\n"),
        format!("HEAD {path} HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n"),
    ] {
        let mut client = server.connect();
        client.send(request);
        let mut answer = client.stream();
        assert_eq!(answer.status, 200);
        assert_eq!(answer.header("connection"), Some("close"));
        assert!(!answer.follow());
    }
}
