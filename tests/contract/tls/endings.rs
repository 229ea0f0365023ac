//! Streams that end cleanly, by the server or by the client, and streams that are cut off.

use std::time::Duration;

use idlewild::config::{Config, OnLimit};
use serde_json::json;

use super::{STREAMS, assert_lives, stream_path};
use crate::support::{NOTIFICATIONS, Stream, TestServer, eventually};

const CLOSED: &str = "idlewild_disconnects_total{reason=\"client_closed\"}";

/// Applies `end` to a stream over SSE and returns its frames until the last chunk. The connection then has to serve
/// another stream with the same keys.
#[track_caller]
fn ended_by(change: impl FnOnce(&mut Config), end: impl FnOnce(&TestServer)) -> Vec<String> {
    let server = TestServer::with_tls(change).over_sse();
    let mut stream = server.stream("42");
    end(&server);
    let frames = stream.rest();
    server.wait_for_metric(&server.series(STREAMS), 0.0);
    assert_eq!(stream.ask("/healthz").body(), "ok\n");
    stream.ask(&stream_path(&server, "43"));
    stream.begin();
    assert_lives(&server, &mut stream, "43");
    frames
}

#[test]
fn a_drain_ends_streams_with_close_notify() {
    let mut server = TestServer::with_tls(|_| {});
    let mut streams: Vec<Stream> = (0..10).map(|n| server.stream(&n.to_string())).collect();
    let drain = server.drain();
    eventually("it is drained", || {
        server.advance(Duration::from_secs(1));
        drain.is_finished()
    });
    for stream in &mut streams {
        assert!(stream.last().last().unwrap().starts_with("retry: "));
    }
}

#[test]
fn a_forced_logout_ends_a_stream_but_not_its_connection() {
    let frames = ended_by(
        |_| {},
        |server| {
            let answer = server.admin("POST", "/v1/users/42/logout", "");
            assert_eq!(answer.status, 200);
        },
    );
    assert_eq!(frames.len(), 1);
    assert!(frames[0].contains("FORCE_LOGOUT"), "{frames:?}");
}

#[test]
fn the_tokens_expiry_ends_a_stream_but_not_its_connection() {
    let frames = ended_by(
        |config| config.heartbeat = Duration::from_secs(7_200),
        |server| server.advance(Duration::from_secs(3_601)),
    );
    assert_eq!(frames, ["event: token_expired\ndata: {}\n\n"]);
}

#[test]
fn an_eviction_ends_a_stream_but_not_its_connection() {
    let server = TestServer::with_tls(|config| {
        config.max_connections_per_user = 1;
        config.on_limit = OnLimit::EvictOldest;
    })
    .over_sse();
    let mut oldest = server.stream("42");
    let mut newest = server.stream("42");
    assert_eq!(oldest.rest(), ["event: evicted\ndata: {}\n\n"]);
    assert_eq!(oldest.ask("/healthz").body(), "ok\n");
    assert_lives(&server, &mut newest, "42");
}

#[test]
fn a_disconnect_ends_a_stream_but_not_its_connection() {
    let frames = ended_by(
        |_| {},
        |server| {
            let answer = server.admin("DELETE", "/v1/users/42/connections", "");
            assert_eq!(answer.status, 200);
        },
    );
    assert!(
        frames.iter().all(|frame| frame.starts_with("retry: ")),
        "{frames:?}"
    );
}

#[test]
fn the_raw_stream_of_an_http_1_0_client_ends_with_close_notify() {
    let server = TestServer::with_tls(|_| {}).over_sse();
    let mut client = server.connect();
    let token = server.token("42");
    client.send(format!(
        "GET {NOTIFICATIONS}?token={token} HTTP/1.0\r\n\r\n"
    ));
    let mut stream = client.stream();
    stream.begin();
    assert_lives(&server, &mut stream, "42");
    server.admin("POST", "/v1/users/42/logout", "");
    let frames = stream.last();
    assert!(frames[0].contains("FORCE_LOGOUT"), "{frames:?}");
}

#[test]
fn a_client_that_sends_close_notify_is_closed_at_once() {
    let server = TestServer::with_tls(|config| config.max_connections_per_user = 1);
    let mut stream = server.stream("42");
    // The TCP connection stays open.
    stream.socket.session().send_close_notify();
    stream.socket.send_pending().unwrap();
    server.wait_for_metric(CLOSED, 1.0);
    server.wait_for_metric("idlewild_users", 0.0);
    let mut again = server.stream("42");
    assert_lives(&server, &mut again, "42");
    super::assert_ends_with_close_notify(&mut stream.socket);
}

#[test]
fn a_client_that_closes_without_close_notify_is_closed_too() {
    let server = TestServer::with_tls(|_| {});
    let stream = server.stream("42");
    stream
        .socket
        .tcp()
        .shutdown(std::net::Shutdown::Write)
        .unwrap();
    server.wait_for_metric(CLOSED, 1.0);
    server.wait_for_metric("idlewild_users", 0.0);
}

#[test]
fn a_client_that_updates_its_keys_gets_a_clean_end() {
    let server = TestServer::with_tls(|_| {});
    let mut stream = server.stream("42");
    let mut other = server.stream("43");
    let renewed = stream.socket.session().refresh_traffic_keys();
    renewed.unwrap();
    stream.socket.send_pending().unwrap();
    let frames = stream.last();
    assert_eq!(frames.len(), 1, "{frames:?}");
    assert!(frames[0].starts_with("retry: "), "{frames:?}");
    server.wait_for_metric("idlewild_disconnects_total{reason=\"drained\"}", 1.0);
    server.wait_for_metric("idlewild_users", 1.0);
    assert_lives(&server, &mut other, "43");
    // It may reconnect.
    let mut back = server.stream("42");
    assert_lives(&server, &mut back, "42");
}

#[test]
fn the_other_streams_of_a_user_are_not_affected_by_an_end() {
    let server = TestServer::with_tls(|_| {});
    let mut streams = [(); 4].map(|()| server.stream("42"));
    drop(server.open(&stream_path(&server, "42")));
    server.wait_for_metric(CLOSED, 1.0);
    let id = server.publish(&json!({"to": {"user": "42"}, "data": 1}));
    for stream in &mut streams {
        assert_eq!(
            stream.next().unwrap(),
            format!("id: {id}\nevent: message\ndata: 1\n\n")
        );
        assert!(stream.is_silent());
    }
}
