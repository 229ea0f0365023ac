//! How streams end, and how requests are refused: the close codes in docs/websocket.md.

use std::time::Duration;

use serde_json::json;

use super::peer::{CLOSE, FIN, PONG, Peer, TEXT};
use super::{OPEN, ROUTE, path};
use crate::support::backend::Backend;
use crate::support::http::Reply;
use crate::support::{TestServer, eventually};

const STALLED: &str = "idlewild_disconnects_total{reason=\"stalled\"}";
/// Much longer than the clock of a test advances while it waits for a drain.
const LONG: Duration = Duration::from_secs(24 * 3_600);

#[test]
fn a_client_without_a_valid_credential_is_closed_with_4001() {
    let server = TestServer::start().over_sse();
    for query in ["", "?token=x", "?ticket=x"] {
        let peer = Peer::open(&server, &format!("{ROUTE}{query}"), "");
        peer.assert_closed(4001, "Authentication required");
    }
    let refused = "idlewild_refused_total{reason=\"auth\"}";
    assert_eq!(server.metric(refused), Some(3.0));
    assert_eq!(server.metric(OPEN), Some(0.0));
    server.wait_for_metric("idlewild_handshakes_in_flight", 0.0);
}

#[test]
fn each_refusal_has_its_code() {
    let server = TestServer::with(|config| config.max_connections = 1).over_sse();
    let topic = |topic: &str| format!("{}&topic={topic}", path(&server, "42"));
    Peer::open(&server, &topic("news"), "").assert_closed(4004, "Topic not allowed");
    Peer::open(&server, &topic("a//b"), "").assert_closed(1008, "Invalid topic");
    let _only = Peer::of(&server, "42");
    Peer::open(&server, &path(&server, "43"), "").assert_closed(1013, "Server full");
}

#[test]
fn an_application_that_does_not_answer_is_1013() {
    let backend = Backend::start(Reply::body(500, "{}"));
    let server = TestServer::with(|config| {
        config.auth.session_auth_url = Some(backend.url().parse().unwrap());
    })
    .over_sse();
    let peer = Peer::open(&server, ROUTE, "Cookie: sessionid=1\r\n");
    peer.assert_closed(1013, "Authentication unavailable");
}

#[test]
fn a_log_out_is_a_message_and_4003() {
    let server = TestServer::start().over_sse();
    let token = server.token_with("42", Some("old"), &[]);
    let mut peer = Peer::open(&server, &format!("{ROUTE}?token={token}"), "");
    peer.message();
    let change = json!({"session_id": "new"}).to_string();
    let changed = server.admin("PUT", "/v1/users/42/session", &change);
    assert_eq!(changed.status, 200, "{}", changed.body);
    let message = peer.message();
    assert_eq!(message["event"], "message");
    assert_eq!(message["data"]["type"], "FORCE_LOGOUT");
    peer.assert_closed(4003, "Logged out");
    let again = Peer::open(&server, &format!("{ROUTE}?token={token}"), "");
    again.assert_closed(4001, "Authentication required");
}

#[test]
fn an_expired_token_is_a_message_and_4001() {
    let server = TestServer::start().over_sse();
    let mut peer = Peer::of(&server, "42");
    server.advance(Duration::from_secs(3_601));
    assert_eq!(peer.text(), r#"{"event": "token_expired", "data": {}}"#);
    peer.assert_closed(4001, "Token expired");
}

#[test]
fn an_evicted_client_gets_a_message_and_4029() {
    let server = TestServer::with(|config| {
        config.max_connections_per_user = 1;
        config.on_limit = idlewild::config::OnLimit::EvictOldest;
    })
    .over_sse();
    let mut oldest = Peer::of(&server, "42");
    let _newest = Peer::of(&server, "42");
    assert_eq!(oldest.text(), r#"{"event": "evicted", "data": {}}"#);
    oldest.assert_closed(4029, "Evicted");
}

#[test]
fn a_disconnected_client_and_a_drained_one_may_come_back() {
    let mut server = TestServer::start().over_sse();
    let peer = Peer::of(&server, "42");
    let ended = server.admin("DELETE", "/v1/users/42/connections", "");
    assert_eq!(ended.json()["ended"], 1);
    peer.assert_closed(1001, "Disconnected");
    let peer = Peer::of(&server, "42");
    let clock = server.clock.clone();
    let drained = server.drain();
    let ticks = std::thread::spawn(move || {
        while !drained.is_finished() {
            clock.advance(Duration::from_millis(50));
            std::thread::sleep(Duration::from_millis(5));
        }
        drained.join().unwrap();
    });
    peer.assert_closed(1001, "Going away");
    ticks.join().unwrap();
}

#[test]
fn a_clients_close_is_answered_with_its_code() {
    let server = TestServer::start().over_sse();
    for (sent, answered) in [
        (b"".as_slice(), b"".as_slice()),
        (b"\x03\xe8", b"\x03\xe8"),
        (b"\x0f\xa0bye", b"\x0f\xa0"),
    ] {
        let mut peer = Peer::of(&server, "42");
        peer.send(FIN | CLOSE, sent);
        let close = peer.next().unwrap();
        assert_eq!((close.opcode, close.payload.as_slice()), (CLOSE, answered));
        assert_eq!(peer.next(), None);
        drop(peer);
        server.wait_for_metric(OPEN, 0.0);
    }
    let closed = "idlewild_disconnects_total{reason=\"client_closed\"}";
    assert_eq!(server.metric(closed), Some(3.0));
}

#[test]
fn a_client_that_does_not_answer_a_close_is_cut_off_after_stall_timeout() {
    let server = TestServer::start().over_sse();
    let mut peer = Peer::of(&server, "42");
    server.admin("DELETE", "/v1/users/42/connections", "");
    assert_eq!(peer.close_frame().0, 1001);
    // It receives no more events, but its connection waits for the answer.
    assert_eq!(
        server.admin("GET", "/v1/users/42", "").json()["online"],
        false
    );
    server.advance(Duration::from_millis(29_900));
    (0..10).for_each(|_| assert_eq!(server.get("/healthz").status, 200));
    assert_eq!(server.metric(OPEN), Some(1.0));
    server.advance(Duration::from_millis(150));
    assert_eq!(peer.next(), None);
    server.wait_for_metric(OPEN, 0.0);
}

#[test]
fn a_client_that_answers_no_ping_is_cut_off_after_heartbeat_and_stall_timeout() {
    let server = TestServer::with(|config| {
        config.heartbeat = Duration::from_secs(20);
        config.stall_timeout = Duration::from_secs(15);
    })
    .over_sse();
    let mut deaf = Peer::of(&server, "42");
    let mut alive = Peer::of(&server, "43");
    server.advance(Duration::from_secs(20));
    assert_eq!(alive.message()["event"], "heartbeat");
    eventually("the pong has arrived", || {
        server.metric("idlewild_heartbeats_total") == Some(2.0)
    });
    // A message does not show that the client reads.
    deaf.send(FIN | TEXT, b"here I am");
    server.advance(Duration::from_secs(20));
    assert_eq!(alive.message()["event"], "heartbeat");
    server.advance(Duration::from_millis(14_900));
    (0..10).for_each(|_| assert_eq!(server.get("/healthz").status, 200));
    assert_eq!(server.metric(STALLED), Some(0.0));
    alive.send(FIN | PONG, b"unasked");
    server.advance(Duration::from_millis(150));
    server.wait_for_metric(STALLED, 1.0);
    server.wait_for_metric(OPEN, 1.0);
    let id = server.publish(&json!({"to": {"all": true}, "data": 1}));
    assert_eq!(alive.message()["id"], id);
}

#[test]
fn a_drain_does_not_wait_for_a_client_that_does_not_answer_its_close() {
    // No shard may be so late that the time is over before its drain begins.
    let mut server = TestServer::with(|config| {
        config.stall_timeout = LONG;
        config.drain_timeout = LONG;
    })
    .over_sse();
    let mut ended_before = Peer::of(&server, "42");
    server.admin("DELETE", "/v1/users/42/connections", "");
    assert_eq!(ended_before.close_frame().0, 1001);
    let mut silent = Peer::of(&server, "43");
    let clock = server.clock.clone();
    let drained = server.drain();
    assert_eq!(silent.close_frame().0, 1001);
    let begun_ms = clock.now_ms();
    eventually("the drain ends", || {
        clock.advance(Duration::from_millis(50));
        drained.is_finished()
    });
    drained.join().unwrap();
    let took = Duration::from_millis(clock.now_ms() - begun_ms);
    assert!(took < LONG / 2, "{took:?}");
    assert_eq!((silent.next(), ended_before.next()), (None, None));
}
