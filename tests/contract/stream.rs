//! An open stream: head, frames, heartbeat, end.

use std::time::Duration;

use serde_json::json;

use crate::support::{NOTIFICATIONS, Probe, TestServer, heartbeat};

#[test]
fn a_stream_has_exactly_the_header_of_the_contract() {
    let server = TestServer::with(|config| config.compression.enabled = false).over_sse();
    let stream = server.open(&format!("{NOTIFICATIONS}?token={}", server.token("42")));
    let mut names: Vec<String> = stream
        .head
        .lines()
        .skip(1)
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| format!("{}:{value}", name.to_lowercase()))
        .collect();
    names.sort();
    assert_eq!(
        names,
        [
            "access-control-allow-headers: Authorization, Content-Type, Cache-Control, Last-Event-ID, X-Requested-With, X-CSRFToken, traceparent, tracestate, baggage, sentry-trace",
            "access-control-allow-methods: GET",
            "access-control-allow-origin: *",
            "cache-control: no-cache, no-transform",
            "connection: keep-alive",
            "content-type: text/event-stream",
            "date: Tue, 14 Nov 2023 22:13:20 GMT",
            "transfer-encoding: chunked",
            "x-accel-buffering: no",
        ]
    );
}

#[test]
fn an_event_for_a_user_reaches_all_of_their_streams_and_nobody_else() {
    let server = TestServer::start();
    let (mut first, mut second) = (server.stream("42"), server.stream("42"));
    let mut other = server.stream("43");
    let id = server.publish(&json!({"to": {"user": "42"}, "data": {"n": 1}}));
    let frame = format!("id: {id}\nevent: message\ndata: {{\"n\":1}}\n\n");
    assert_eq!(first.next(), Some(frame.clone()));
    assert_eq!(second.next(), Some(frame));
    let id = server.publish(&json!({"to": {"all": true}, "event": "news", "data": "a\nb"}));
    let frame = format!("id: {id}\nevent: news\ndata: a\ndata: b\n\n");
    assert_eq!(other.next(), Some(frame));
}

#[test]
fn a_silent_stream_gets_a_heartbeat_after_the_interval() {
    let server = TestServer::start();
    let mut stream = server.stream("42");
    server.advance(Duration::from_millis(29_900));
    let mut probe = Probe::new(&server);
    let id = server.publish(&json!({"to": {"user": "43"}, "data": 1}));
    probe.settle(&server);
    assert!(stream.is_silent());
    server.advance(Duration::from_millis(1_100));
    assert_eq!(stream.next().unwrap(), heartbeat(&id));
}

#[test]
fn a_client_that_sent_connection_close_gets_it_at_the_end_of_the_stream() {
    let server = TestServer::start().over_sse();
    let path = format!("{NOTIFICATIONS}?token={}", server.token("42"));
    for lines in [
        "Connection: close\r\n",
        "Connection: Keep-Alive, CLOSE\r\n",
        "Connection: te\r\nConnection: close\r\n",
    ] {
        let mut client = server.connect();
        client.send(format!("GET {path} HTTP/1.1\r\nHost: test\r\n{lines}\r\n"));
        let mut stream = client.stream();
        assert_eq!(stream.status, 200);
        assert_eq!(stream.header("connection"), Some("close"), "{lines:?}");
        assert_eq!(stream.header("transfer-encoding"), Some("chunked"));
        assert!(stream.next().is_some());
        server.admin("DELETE", "/v1/users/42/connections", "");
        stream.rest();
        assert!(!stream.follow(), "{lines:?}");
    }
}
