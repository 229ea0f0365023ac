//! What clients receive.

use std::time::Duration;

use serde_json::json;

use super::peer::{FIN, PING, PONG, Peer};
use super::{OPEN, path};
use crate::support::{Stream, TestServer};

#[test]
fn each_event_is_one_message() {
    let server = TestServer::start().over_sse();
    let token = server.token_with("42", None, &["orders/*"]);
    let route = format!("{}?token={token}&topic=orders/7", super::ROUTE);
    let mut peer = Peer::open(&server, &route, "");
    let open = peer.message();
    assert_eq!(open["event"], "open");
    assert!(
        open["id"].is_string() && open["data"]["retry"].is_u64(),
        "{open}"
    );
    for (event, text) in [
        (
            json!({"to": {"user": "42"}, "data": {"b": 1, "a": [1.50, null]}}),
            r#""event": "message", "data": {"a":[1.5,null],"b":1}"#,
        ),
        (
            json!({"to": {"topic": "orders/7"}, "event": "order", "data": "7"}),
            r#""event": "order", "data": 7"#,
        ),
        (
            json!({"to": {"all": true}, "data": "two\nlines, \"quoted\""}),
            r#""event": "message", "data": "two\nlines, \"quoted\"""#,
        ),
        (
            json!({"to": {"users": ["42", "43"]}, "data": "\u{20ac}".repeat(30_000 / 3)}),
            "\u{20ac}\u{20ac}",
        ),
    ] {
        let id = server.publish(&event);
        let message = peer.text();
        assert!(
            message.starts_with(&format!("{{\"id\": \"{id}\", ")),
            "{message}"
        );
        assert!(message.contains(text), "{message}");
    }
    // An event that is not kept has no id.
    let fleeting = json!({"to": {"user": "42"}, "data": 1, "persist": false});
    let sent = server.admin("POST", "/v1/events", &fleeting.to_string());
    assert_eq!(sent.status, 202);
    assert_eq!(peer.text(), r#"{"event": "message", "data": 1}"#);
}

#[test]
fn a_heartbeat_is_a_ping_and_a_message_with_the_position() {
    let server = TestServer::start().over_sse();
    let mut peer = Peer::of(&server, "42");
    let id = server.publish(&json!({"to": {"user": "42"}, "data": 1}));
    assert_eq!(peer.message()["id"], id);
    server.advance(Duration::from_secs(30));
    let ping = peer.next().unwrap();
    assert_eq!((ping.opcode, ping.payload.len()), (PING, 0));
    assert_eq!(
        peer.text(),
        format!(r#"{{"id": "{id}", "event": "heartbeat", "data": {{}}}}"#)
    );
}

#[test]
fn missed_events_come_first() {
    let server = TestServer::start().over_sse();
    let mut peer = Peer::of(&server, "42");
    let publish = |n: u32| server.publish(&json!({"to": {"user": "42"}, "data": n}));
    let first = publish(1);
    assert_eq!(peer.message()["id"], first);
    peer.socket.close();
    let missed = [publish(2), publish(3)];
    for (route, lines) in [
        (
            format!("{}&last_event_id={first}", path(&server, "42")),
            String::new(),
        ),
        (path(&server, "42"), format!("Last-Event-ID: {first}\r\n")),
    ] {
        let mut peer = Peer::open(&server, &route, &lines);
        assert_eq!(peer.message()["event"], "open");
        assert_eq!(
            [peer.message()["id"].clone(), peer.message()["id"].clone()],
            missed
        );
    }
    let mut peer = Peer::open(
        &server,
        &format!("{}&last_event_id=1-0", path(&server, "42")),
        "",
    );
    assert_eq!(peer.text().find("\"id\""), None);
    let gap = peer.message();
    assert_eq!(gap["event"], "replay_gap");
    assert_eq!(gap["data"]["last_event_id"], "1-0");
    assert!(gap["id"].is_string(), "{gap}");
}

#[test]
fn a_ping_is_answered_with_its_payload_and_the_last_of_many_counts() {
    let server = TestServer::start().over_sse();
    let mut peer = Peer::of(&server, "42");
    for payload in [b"".as_slice(), b"x", &[7; 125]] {
        peer.send(FIN | PING, payload);
        let pong = peer.next().unwrap();
        assert_eq!((pong.opcode, pong.payload.as_slice()), (PONG, payload));
    }
    // A client that sends pings gets heartbeats as well.
    for _ in 0..30 {
        server.advance(Duration::from_secs(1));
        peer.send(FIN | PING, b"alive");
        while peer.next().unwrap().opcode != PONG {}
    }
    server.wait_for_metric("idlewild_heartbeats_total", 1.0);
}

#[test]
fn both_transports_share_limits_presence_and_events() {
    let server = TestServer::with(|config| config.max_connections_per_user = 2).over_sse();
    let mut peer = Peer::of(&server, "42");
    let mut stream = server.stream("42");
    assert_eq!(server.metric(OPEN), Some(1.0));
    assert_eq!(
        server.metric("idlewild_connections{transport=\"sse\"}"),
        Some(1.0)
    );
    assert_eq!(server.metric("idlewild_users"), Some(1.0));
    Peer::open(&server, &path(&server, "42"), "").assert_closed(4029, "Too many connections");
    assert_eq!(server.open(&sse(&server)).status, 429);
    let presence = server.admin("GET", "/v1/users/42", "").json();
    let mut transports: Vec<&str> = presence["connections"]
        .as_array()
        .unwrap()
        .iter()
        .filter_map(|connection| connection["transport"].as_str())
        .collect();
    transports.sort_unstable();
    assert_eq!(transports, ["sse", "ws"]);
    // Before it refused a client, the server checked both connections with a heartbeat.
    assert_eq!(peer.message()["event"], "heartbeat");
    assert!(stream.next().unwrap().contains("event: heartbeat"));
    let id = server.publish(&json!({"to": {"user": "42"}, "data": 1}));
    assert_eq!(peer.message()["id"], id);
    assert!(stream.next().unwrap().contains(&id));
    stream.close();
    peer.socket.close();
    server.wait_for_metric(OPEN, 0.0);
    assert_eq!(
        server.metric("idlewild_connects_total{transport=\"ws\"}"),
        Some(1.0)
    );
}

fn sse(server: &TestServer) -> String {
    format!(
        "{}?token={}",
        crate::support::NOTIFICATIONS,
        server.token("42")
    )
}

#[test]
fn a_client_that_reads_nothing_is_cut_off_like_any_other() {
    let server = TestServer::with(|config| config.max_backlog_bytes = 64 * 1024).over_sse();
    let mut slow = Peer::over(
        server.connect_narrow(),
        &super::peer::request(&path(&server, "42"), ""),
    );
    assert_eq!(slow.message()["event"], "open");
    let mut quick: Stream = server.stream("43");
    let slow_count = "idlewild_disconnects_total{reason=\"slow\"}";
    for _ in 0..200 {
        server.publish(&json!({"to": {"users": ["42", "43"]}, "data": "x".repeat(50_000)}));
        quick.next().unwrap();
        if server.metric(slow_count) == Some(1.0) {
            break;
        }
    }
    server.wait_for_metric(slow_count, 1.0);
    server.wait_for_metric(OPEN, 0.0);
    server.wait_for_metric("idlewild_backlog_bytes", 0.0);
}
