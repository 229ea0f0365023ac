//! Clients that reconnect before the server has noticed that their old connections are gone. The old
//! connections must not keep them out.

use std::time::Duration;

use serde_json::json;
use socket2::{SockFilter, SockRef};

use super::{Refused, assert_refusals, refused};
use crate::support::{Client, NOTIFICATIONS, Stream, TestServer, eventually, request};

const STREAMS: &str = "idlewild_connections";
const IN_FLIGHT: &str = "idlewild_handshakes_in_flight";
const HEARTBEATS: &str = "idlewild_heartbeats_total";
const CLOSED: &str = "idlewild_disconnects_total{reason=\"client_closed\"}";
const STALLED: &str = "idlewild_disconnects_total{reason=\"stalled\"}";

fn path_of(server: &TestServer, user: &str) -> String {
    format!("{NOTIFICATIONS}?token={}", server.token(user))
}

/// Asks for a stream, or with HEAD whether there would be one.
fn ask(client: &mut Client, method: &str, path: &str) {
    if method == "GET" {
        client.get(path, "");
    } else {
        client.send(format!("{method} {path} HTTP/1.1\r\nHost: test\r\n\r\n"));
    }
}

/// From now on, the client's kernel receives nothing on this connection, as after a change of network.
fn cut_off(stream: &Stream) {
    /// `BPF_RET | BPF_K`: the verdict of a socket filter.
    const RETURN: u16 = 0x06;
    SockRef::from(stream.socket.tcp())
        .attach_filter(&[SockFilter::new(RETURN, 0, 0, 0)])
        .unwrap();
}

/// A user at the limit of five closes a connection, in one of two ways, and reconnects at once.
fn reconnect(close: impl Fn(Stream)) {
    const RECONNECTS: u32 = 400;
    let server = TestServer::start();
    let path = path_of(&server, "42");
    let mut streams: Vec<Stream> = (0..5).map(|_| server.stream("42")).collect();
    for round in 0..RECONNECTS {
        let oldest = streams.remove(0);
        close(oldest);
        let stream = server.open(&path);
        assert_eq!(stream.status, 200, "reconnect {round}");
        streams.push(stream);
    }
    assert_refusals(&server, "limit", 0.0);
    server.wait_for_metric(&server.series(STREAMS), 5.0);
    server.wait_for_metric(CLOSED, f64::from(RECONNECTS));
}

#[test]
fn a_client_that_closes_a_stream_can_reconnect_at_once() {
    reconnect(Stream::close);
}

#[test]
fn a_client_that_resets_a_stream_can_reconnect_at_once() {
    reconnect(Stream::reset);
}

#[test]
fn a_client_that_sends_close_notify_can_reconnect_at_once() {
    const RECONNECTS: u32 = 100;
    let server = TestServer::with_tls(|_| {});
    let path = path_of(&server, "42");
    let mut streams: Vec<Stream> = (0..5).map(|_| server.stream("42")).collect();
    let mut gone = Vec::new();
    for round in 0..RECONNECTS {
        let mut oldest = streams.remove(0);
        // The TCP connection stays open.
        oldest.socket.session().send_close_notify();
        oldest.socket.send_pending().unwrap();
        gone.push(oldest);
        let stream = server.open(&path);
        assert_eq!(stream.status, 200, "reconnect {round}");
        streams.push(stream);
    }
    assert_refusals(&server, "limit", 0.0);
}

#[test]
fn of_many_connections_the_oldest_sixty_four_are_checked() {
    let server = TestServer::with(|config| config.max_connections_per_user = 70);
    let mut streams: Vec<Stream> = (0..70).map(|_| server.stream("42")).collect();
    assert_eq!(server.open(&path_of(&server, "42")).status, 429);
    assert_eq!(server.metric(HEARTBEATS), Some(64.0));
    assert!(streams[63].next().unwrap().contains("event: heartbeat\n"));
    assert!(streams[64..].iter_mut().all(Stream::is_silent));
}

#[test]
fn connections_that_answer_no_heartbeat_give_way_after_a_second() {
    let server = TestServer::with(|config| config.max_connections_per_user = 3);
    let path = path_of(&server, "42");
    let mut streams: Vec<Stream> = (0..3).map(|_| server.stream("42")).collect();
    // Later, the acknowledgements from the start of the streams no longer count as a sign of life.
    std::thread::sleep(Duration::from_millis(400));
    streams[..2].iter().for_each(cut_off);
    // Several at once, like the tabs of a browser.
    let newcomers: Vec<_> = (0..2)
        .map(|_| {
            let mut client = server.connect();
            client.get(&path, "");
            client
        })
        .collect();
    server.wait_for_metric(HEARTBEATS, 3.0);
    server.wait_for_metric(IN_FLIGHT, 2.0);
    // The live client sends something at once, because its kernel may delay a bare acknowledgement.
    assert!(streams[2].next().unwrap().contains("event: heartbeat\n"));
    streams[2].show_life();
    wait_for_earlier_requests(&server);
    server.advance(Duration::from_millis(999));
    wait_for_earlier_requests(&server);
    assert_eq!(server.metric(STALLED), Some(0.0));
    server.advance(Duration::from_millis(1));
    let newcomers: Vec<Stream> = newcomers.into_iter().map(Client::stream).collect();
    assert!(newcomers.iter().all(|stream| stream.status == 200));
    server.wait_for_metric(STALLED, 2.0);
    server.wait_for_metric(&server.series(STREAMS), 3.0);
    assert_refusals(&server, "limit", 0.0);
    // The connection that answered still works.
    let id = server.publish(&json!({"to": {"user": "42"}, "data": 1}));
    assert!(streams[2].next().unwrap().contains(&id));
}

#[test]
fn the_connections_of_a_user_are_checked_at_a_limited_rate() {
    let server = TestServer::start();
    let path = path_of(&server, "42");
    let _streams: Vec<Stream> = (0..5).map(|_| server.stream("42")).collect();
    for _ in 0..20 {
        assert_eq!(
            Refused::from(server.open(&path)),
            refused(429, "Too many connections")
        );
    }
    assert_eq!(server.metric(HEARTBEATS), Some(5.0));
    server.advance(Duration::from_secs(10));
    assert_eq!(server.open(&path).status, 429);
    assert_eq!(server.metric(HEARTBEATS), Some(10.0));
}

/// Returns when the requests that were sent before are at least in a check of the user's connections. A shard takes
/// requests in turn, and the register of several nodes answers their questions in turn, so other users' streams open after
/// that. There are ten, so that each shard gets some.
fn wait_for_earlier_requests(server: &TestServer) {
    for user in 100..110 {
        assert_eq!(server.stream(&user.to_string()).status, 200);
    }
}

fn status_of_head(server: &TestServer, path: &str) -> u16 {
    request(server.public, "HEAD", path, &[], "").status
}

#[test]
fn head_at_the_limit_returns_the_status_of_a_stream_and_evicts_nothing() {
    let server = TestServer::with(|config| config.max_connections_per_user = 2);
    let path = path_of(&server, "42");
    let mut streams: Vec<Stream> = (0..2).map(|_| server.stream("42")).collect();
    assert_eq!(status_of_head(&server, &path), 429);
    assert_eq!(server.metric(HEARTBEATS), Some(2.0));
    // All connections answered a moment ago, so they are not checked again.
    assert_eq!(status_of_head(&server, &path), 429);
    assert_eq!(server.open(&path).status, 429);
    assert_eq!(server.metric(HEARTBEATS), Some(2.0));
    server.advance(Duration::from_secs(10));
    // A connection that does not answer gives way to a stream, but not to a HEAD.
    std::thread::sleep(Duration::from_millis(400));
    cut_off(&streams[0]);
    for method in ["HEAD", "HEAD", "GET"] {
        let asked = server.metric(HEARTBEATS).unwrap();
        let mut client = server.connect();
        ask(&mut client, method, &path);
        // The connection without reception has an unacknowledged heartbeat, and gets another one.
        server.wait_for_metric(HEARTBEATS, asked + 2.0);
        streams[1].show_life();
        let answered = std::thread::spawn(move || {
            let stream = client.stream();
            (stream.status, stream)
        });
        eventually("the question is over", || {
            server.advance(Duration::from_millis(100));
            answered.is_finished()
        });
        let (status, stream) = answered.join().unwrap();
        assert_eq!(status, 200, "{method}");
        let given_way = if method == "GET" { 1.0 } else { 0.0 };
        assert_eq!(server.metric(STALLED), Some(given_way), "{method}");
        drop(stream);
    }
}

#[test]
fn a_stream_and_a_head_share_one_check() {
    let server = TestServer::with(|config| {
        config.max_connections_per_user = 1;
        config.shards = 1;
    });
    let path = path_of(&server, "42");
    let stream = server.stream("42");
    // A kernel that has just acknowledged something counts as alive.
    std::thread::sleep(Duration::from_millis(400));
    cut_off(&stream);
    let asking = |method: &str| {
        let mut client = server.connect();
        ask(&mut client, method, &path);
        client
    };
    let head = asking("HEAD");
    server.wait_for_metric(HEARTBEATS, 1.0);
    let get = asking("GET");
    wait_for_earlier_requests(&server);
    server.advance(Duration::from_secs(1));
    for client in [head, get] {
        assert_eq!(client.stream().status, 200);
    }
    assert_eq!(server.metric(HEARTBEATS), Some(1.0));
    assert_eq!(server.metric(STALLED), Some(1.0));
}

#[test]
fn head_right_after_a_stream_was_closed_is_200() {
    let server = TestServer::with(|config| config.max_connections_per_user = 1);
    let path = path_of(&server, "42");
    for round in 0..200 {
        server.stream("42").close();
        assert_eq!(status_of_head(&server, &path), 200, "round {round}");
    }
}

#[test]
fn a_new_client_that_gives_up_waiting_leaves_nothing() {
    let server = TestServer::with(|config| config.max_connections_per_user = 1);
    let path = path_of(&server, "42");
    let gone = server.stream("42");
    std::thread::sleep(Duration::from_millis(400));
    cut_off(&gone);
    let mut newcomer = server.connect();
    newcomer.get(&path, "");
    server.wait_for_metric(HEARTBEATS, 1.0);
    drop(newcomer);
    server.wait_for_metric(IN_FLIGHT, 0.0);
    server.wait_for_metric(&server.series(STREAMS), 1.0);
    // The abandoned request does not prevent later checks.
    server.advance(Duration::from_secs(10));
    let waiting = std::thread::spawn({
        let client = server.connect();
        move || client.open(&path).status
    });
    eventually("it gives way", || {
        server.advance(Duration::from_millis(100));
        waiting.is_finished()
    });
    assert_eq!(waiting.join().unwrap(), 200);
}
