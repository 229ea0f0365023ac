//! Clients that read late: their backlog is sealed and arrives completely.

use std::io::Read;
use std::time::Duration;

use serde_json::json;

use super::{STREAMS, stream_path};
use crate::support::{Stream, TestServer, eventually, heartbeat, varied_text};

const BACKLOGGED: &str = "idlewild_backlogged_connections";

/// A stream of a client whose kernel accepts only a few kilobytes.
fn narrow_stream(server: &TestServer, user: &str) -> Stream {
    let mut stream = server.connect_narrow().open(&stream_path(server, user));
    stream.begin();
    stream
}

#[test]
fn a_client_that_reads_late_gets_every_byte_of_its_backlog() {
    let server = TestServer::with_tls(|config| config.max_backlog_bytes = 1024 * 1024);
    let mut slow = narrow_stream(&server, "42");
    let mut expected = Vec::new();
    for n in 0..12 {
        let data = format!("event {n} {}", varied_text(n * 5_000));
        let id = server.publish(&json!({"to": {"all": true}, "data": data}));
        expected.push(format!("id: {id}\nevent: message\ndata: {data}\n\n"));
    }
    server.wait_for_metric(BACKLOGGED, 1.0);
    eventually("most of it waits", || {
        server.metric("idlewild_backlog_bytes") > Some(100_000.0)
    });
    for frame in expected {
        assert!(slow.next() == Some(frame), "a frame is broken");
    }
    server.wait_for_metric(BACKLOGGED, 0.0);
    server.wait_for_metric("idlewild_backlog_bytes", 0.0);
    super::assert_lives(&server, &mut slow, "42");
}

#[test]
fn no_part_of_a_backlog_is_ever_sent_unencrypted() {
    let server = TestServer::with_tls(|_| {}).over_sse();
    let mut client = server.connect_narrow();
    let path = stream_path(&server, "42");
    client.send(format!(
        "GET {path} HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n"
    ));
    let mut slow = client.stream();
    slow.begin();
    let data = varied_text(60 * 1024);
    server.publish(&json!({"to": {"user": "42"}, "data": data}));
    server.wait_for_metric(BACKLOGGED, 1.0);
    server.admin("POST", "/v1/users/42/logout", "");
    // The bytes on the wire until the end, and then their plaintext.
    let mut wire = Vec::new();
    slow.socket.tcp().read_to_end(&mut wire).unwrap();
    let mut text = Vec::new();
    let mut rest = &wire[..];
    let mut session = slow.socket.session();
    while !rest.is_empty() {
        session.read_tls(&mut rest).unwrap();
        let state = session.process_new_packets().unwrap();
        let mut opened = vec![0; state.plaintext_bytes_to_read()];
        session.reader().read_exact(&mut opened).unwrap();
        text.append(&mut opened);
    }
    assert!(session.process_new_packets().unwrap().peer_has_closed());
    let text = String::from_utf8(text).unwrap();
    assert!(text.contains(&data), "{} bytes", text.len());
    assert!(text.contains("FORCE_LOGOUT") && text.ends_with("\r\n0\r\n\r\n"));
    for plain in ["event: message", "      1       2", "FORCE_LOGOUT"] {
        let mut windows = wire.windows(plain.len());
        assert!(!windows.any(|window| window == plain.as_bytes()), "{plain}");
    }
}

#[test]
fn a_client_that_never_reads_is_cut_off_without_close_notify() {
    let server = TestServer::with_tls(|_| {});
    let mut slow = narrow_stream(&server, "42");
    let mut other = server.stream("43");
    let data = varied_text(16 * 1024);
    while server.metric("idlewild_disconnects_total{reason=\"slow\"}") == Some(0.0) {
        server.publish(&json!({"to": {"all": true}, "data": data}));
        assert!(other.next().unwrap().contains(&data));
    }
    server.wait_for_metric(&server.series(STREAMS), 1.0);
    let error = slow.socket.read_to_end(&mut Vec::new()).unwrap_err();
    // The client can distinguish this from an end that an attacker forged.
    assert!(
        matches!(
            error.kind(),
            std::io::ErrorKind::UnexpectedEof | std::io::ErrorKind::ConnectionReset
        ),
        "{error}"
    );
}

#[test]
fn a_client_that_reconnects_gets_what_it_missed() {
    let server = TestServer::with_tls(|_| {});
    let mut stream = server.stream("42");
    let ids: Vec<String> = (0..300)
        .map(|n| server.publish(&json!({"to": {"user": "42"}, "data": n})))
        .collect();
    for id in &ids[..100] {
        assert!(stream.next().unwrap().starts_with(&format!("id: {id}\n")));
    }
    drop(stream);
    let mut client = server.connect();
    let last = format!("Last-Event-ID: {}\r\n", ids[99]);
    client.get(&stream_path(&server, "42"), &last);
    let mut back = client.stream();
    back.begin();
    assert_eq!(back.position, ids[99]);
    let frames: Vec<String> = std::iter::from_fn(|| back.next()).take(200).collect();
    for (n, frame) in (100..).zip(&frames) {
        assert_eq!(
            *frame,
            format!("id: {}\nevent: message\ndata: {n}\n\n", ids[n])
        );
    }
    super::assert_lives(&server, &mut back, "42");
}

#[test]
fn a_heartbeat_is_encrypted_like_everything_else() {
    let server = TestServer::with_tls(|_| {});
    let mut stream = server.stream("42");
    for _ in 0..5 {
        server.advance(Duration::from_secs(31));
        assert_eq!(stream.next().unwrap(), heartbeat(&stream.position));
    }
}
