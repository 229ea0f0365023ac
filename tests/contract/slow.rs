//! Clients that read slowly, never read, or disappear without closing.

use std::time::Duration;

use serde_json::json;
use socket2::{SockFilter, SockRef};

use crate::support::transport::{is_gzip, is_tls};
use crate::support::{NOTIFICATIONS, Stream, TestServer, eventually, varied_text as text};

/// `BPF_RET | BPF_K`: the verdict of a socket filter.
const BPF_RET: u16 = 0x06;
const SLOW: &str = "idlewild_disconnects_total{reason=\"slow\"}";
const STALLED: &str = "idlewild_disconnects_total{reason=\"stalled\"}";
const CLOSED: &str = "idlewild_disconnects_total{reason=\"client_closed\"}";
const CONNECTIONS: &str = "idlewild_connections";

/// A stream of a client whose kernel accepts only a few kilobytes.
fn narrow_stream(server: &TestServer, user: &str) -> Stream {
    let mut stream = server
        .connect_narrow()
        .open(&format!("{NOTIFICATIONS}?token={}", server.token(user)));
    assert_eq!(stream.status, 200);
    stream.begin();
    stream
}

#[test]
fn an_event_larger_than_the_socket_takes_arrives_whole_at_a_slow_reader() {
    let server = TestServer::start();
    let mut slow = narrow_stream(&server, "42");
    let mut quick = server.stream("43");
    let data = text(60 * 1024);
    let id = server.publish(&json!({"to": {"all": true}, "data": data}));
    let frame = format!("id: {id}\nevent: message\ndata: {data}\n\n");
    assert_eq!(quick.next().as_ref(), Some(&frame));
    server.wait_for_metric("idlewild_backlogged_connections", 1.0);
    // The socket took a part of the frame, but the whole frame stays in memory. With TLS, only a copy of the rest
    // does. A compressed frame's size is not known here.
    let pinned = server.metric("idlewild_backlog_bytes");
    let whole = if server.public.is_websocket {
        // The frame's header has two bytes, and two more for the length.
        let message = format!(r#"{{"id": "{id}", "event": "message", "data": "{data}"}}"#);
        2 + 2 + message.len()
    } else {
        format!("{:x}\r\n{frame}\r\n", frame.len()).len()
    };
    if is_tls() || is_gzip() {
        assert!(pinned > Some(1_000.0));
    } else {
        assert_eq!(pinned, Some(f64::from(u32::try_from(whole).unwrap())));
    }
    // Later events wait for their turn.
    let small = server.publish(&json!({"to": {"all": true}, "data": "small"}));
    assert!(quick.next().unwrap().contains("small"));
    assert!(slow.next() == Some(frame), "the large event is broken");
    assert_eq!(
        slow.next().unwrap(),
        format!("id: {small}\nevent: message\ndata: small\n\n")
    );
    server.wait_for_metric("idlewild_backlogged_connections", 0.0);
    server.wait_for_metric("idlewild_backlog_bytes", 0.0);
    assert_eq!(server.metric(SLOW), Some(0.0));
}

#[test]
fn one_event_larger_than_the_backlog_limit_does_not_disconnect_clients_that_were_up_to_date() {
    let server = TestServer::with(|config| config.max_backlog_bytes = 4 * 1024);
    let mut slow = narrow_stream(&server, "42");
    let data = text(60 * 1024);
    let id = server.publish(&json!({"to": {"all": true}, "data": data}));
    server.wait_for_metric("idlewild_backlogged_connections", 1.0);
    assert_eq!(
        slow.next(),
        Some(format!("id: {id}\nevent: message\ndata: {data}\n\n"))
    );
    assert_eq!(server.metric(SLOW), Some(0.0));
}

#[test]
fn a_slow_reader_gets_the_end_after_its_backlog() {
    let server = TestServer::start();
    let mut slow = narrow_stream(&server, "42");
    let data = text(60 * 1024);
    server.publish(&json!({"to": {"user": "42"}, "data": data}));
    server.wait_for_metric("idlewild_backlogged_connections", 1.0);
    let answer = server.admin("POST", "/v1/users/42/logout", "");
    assert_eq!(answer.status, 200);
    // It leaves the directory at once, although it has not received its end yet.
    server.wait_for_metric("idlewild_users", 0.0);
    let frames = slow.rest();
    assert_eq!(frames.len(), 2);
    assert!(frames[0].contains(&data));
    assert!(frames[1].contains("FORCE_LOGOUT"));
    server.wait_for_metric(&server.series(CONNECTIONS), 0.0);
    server.wait_for_metric("idlewild_backlog_bytes", 0.0);
}

#[test]
fn a_client_that_never_reads_is_disconnected_and_others_are_not_affected() {
    let server = TestServer::start();
    let mut slow = narrow_stream(&server, "42");
    let mut others: Vec<Stream> = (0..10).map(|n| server.stream(&format!("u{n}"))).collect();
    let data = text(4 * 1024);
    let mut published = 0;
    while server.metric(SLOW) == Some(0.0) {
        assert!(published < 500, "never too slow");
        let id = server.publish(&json!({"to": {"all": true}, "data": data}));
        for other in &mut others {
            assert!(other.next().unwrap().starts_with(&format!("id: {id}\n")));
        }
        published += 1;
    }
    // Not before the socket's buffer and the backlog were full.
    assert!(published > 16, "after {published} events of 4 KiB");
    server.wait_for_metric(SLOW, 1.0);
    server.wait_for_metric(&server.series(CONNECTIONS), 10.0);
    server.wait_for_metric("idlewild_users", 10.0);
    server.wait_for_metric("idlewild_backlog_bytes", 0.0);
    server.wait_for_metric("idlewild_backlogged_connections", 0.0);
    // It receives whole events in order, and then a body that was cut off.
    let got: Vec<String> = std::iter::from_fn(|| slow.next()).collect();
    assert!(!slow.is_complete);
    assert!(got.iter().all(|frame| frame.contains(&data)));
    // It may reconnect.
    let mut back = server.stream("42");
    server.publish(&json!({"to": {"user": "42"}, "data": "again"}));
    assert!(back.next().unwrap().contains("again"));
}

#[test]
fn a_backlog_grows_to_the_limit_and_no_further() {
    const LIMIT: usize = 32 * 1024;
    const EVENT: usize = 1024;
    // The size line, the id and the field names; with TLS also a record's header and tag.
    const FRAMING: usize = 128;
    let server = TestServer::with(|config| {
        // A shard serves its clients in the order in which they connected: when the second client has an
        // event, the first has been served.
        config.shards = 1;
        config.max_backlog_bytes = LIMIT;
    });
    let _slow = narrow_stream(&server, "42");
    let mut quick = server.stream("43");
    let data = text(EVENT);
    let mut largest = 0.0_f64;
    for published in 0.. {
        assert!(published < 500, "never too slow");
        server.publish(&json!({"to": {"all": true}, "data": data}));
        quick.next().unwrap();
        if server.metric(SLOW) == Some(1.0) {
            break;
        }
        largest = largest.max(server.metric("idlewild_backlog_bytes").unwrap());
    }
    // An event that was sent in part keeps its whole allocation.
    let one = f64::from(u32::try_from(EVENT + FRAMING).unwrap());
    let limit = f64::from(u32::try_from(LIMIT).unwrap());
    assert!(largest <= limit + one, "{largest} bytes wait");
    assert!(largest > limit - one, "cut off at {largest} bytes");
}

#[test]
fn a_client_whose_backlog_makes_no_progress_is_disconnected_after_the_stall_timeout() {
    // Neither the heartbeat's timer nor the kernel's `TCP_USER_TIMEOUT` may hide the stall timer. The
    // kernel's timeout takes the same time, but real time, so longer than this test.
    let server = TestServer::with(|config| {
        config.stall_timeout = Duration::from_secs(60);
        config.heartbeat = Duration::from_secs(300);
    });
    let _stalled = narrow_stream(&server, "42");
    let mut other = server.stream("43");
    // Small events, so that the gauge shows each one that is sent.
    let line = json!({"to": {"user": "42"}, "data": text(200)}).to_string();
    server.admin("POST", "/v1/events/batch", &vec![line; 300].join("\n"));
    server.wait_for_metric("idlewild_backlogged_connections", 1.0);
    // The kernel's buffers fill up, and then nothing moves.
    let mut waiting = None;
    eventually("the backlog stands still", || {
        let before = waiting.replace(server.metric("idlewild_backlog_bytes"));
        before == Some(server.metric("idlewild_backlog_bytes"))
    });
    server.advance(Duration::from_millis(59_500));
    server.publish(&json!({"to": {"user": "43"}, "data": 1}));
    assert!(other.next().unwrap().contains("data: 1\n"));
    assert_eq!(server.metric(STALLED), Some(0.0));
    server.advance(Duration::from_millis(600));
    server.wait_for_metric(STALLED, 1.0);
    server.wait_for_metric(&server.series(CONNECTIONS), 1.0);
    server.wait_for_metric("idlewild_backlog_bytes", 0.0);
    server.publish(&json!({"to": {"all": true}, "data": 2}));
    assert!(other.next().unwrap().contains("data: 2\n"));
}

/// The kernel's `TCP_USER_TIMEOUT` runs in real time, while the server's clock stands still.
const USER_TIMEOUT: Duration = Duration::from_secs(1);

#[test]
fn the_kernel_closes_the_connection_of_a_peer_that_acknowledges_nothing() {
    let server = TestServer::with(|config| config.stall_timeout = USER_TIMEOUT);
    let gone = server.stream("42");
    let mut other = server.stream("43");
    // Like a phone without reception: nothing arrives there, and nothing comes back.
    let drop_all = [SockFilter::new(BPF_RET, 0, 0, 0)];
    SockRef::from(gone.socket.tcp())
        .attach_filter(&drop_all)
        .unwrap();
    server.publish(&json!({"to": {"all": true}, "data": 1}));
    assert!(other.next().unwrap().contains("data: 1\n"));
    server.wait_for_metric(STALLED, 1.0);
    server.wait_for_metric(&server.series(CONNECTIONS), 1.0);
    server.wait_for_metric("idlewild_users", 1.0);
}

#[test]
fn a_peer_that_acknowledges_but_takes_nothing_is_disconnected_without_a_backlog() {
    let server = TestServer::with(|config| config.stall_timeout = USER_TIMEOUT);
    let _full = narrow_stream(&server, "42");
    let mut other = server.stream("43");
    // More than the client's window, but less than the server's socket buffer. So only the kernel waits.
    server.publish(&json!({"to": {"all": true}, "data": text(16 * 1024)}));
    assert!(other.next().is_some());
    assert_eq!(server.metric("idlewild_backlogged_connections"), Some(0.0));
    server.wait_for_metric(STALLED, 1.0);
    server.wait_for_metric(&server.series(CONNECTIONS), 1.0);
    assert_eq!(server.metric(SLOW), Some(0.0));
}

#[test]
fn a_client_without_a_backlog_is_not_stalled_however_long_it_is_silent() {
    let server = TestServer::with(|config| config.stall_timeout = Duration::from_secs(5));
    let mut stream = server.stream("42");
    for _ in 0..10 {
        server.advance(Duration::from_secs(31));
        assert!(stream.next().unwrap().contains("heartbeat"));
    }
    assert_eq!(server.metric(STALLED), Some(0.0));
}

#[test]
fn a_client_that_resets_its_connection_is_removed() {
    let server = TestServer::start();
    let stream = server.stream("42");
    let stays = server.stream("43");
    server.wait_for_metric("idlewild_users", 2.0);
    stream.reset();
    server.wait_for_metric("idlewild_users", 1.0);
    server.wait_for_metric(&server.series(CONNECTIONS), 1.0);
    server.wait_for_metric(CLOSED, 1.0);
    let presence = server.admin("GET", "/v1/users/42", "").json();
    assert_eq!(presence["online"], false);
    assert_eq!(
        server.metric("idlewild_disconnects_total{reason=\"error\"}"),
        Some(0.0)
    );
    drop(stays);
}

#[test]
fn a_client_that_resets_its_connection_leaves_no_backlog() {
    let server = TestServer::start();
    let stream = narrow_stream(&server, "42");
    server.publish(&json!({"to": {"user": "42"}, "data": text(60 * 1024)}));
    server.wait_for_metric("idlewild_backlogged_connections", 1.0);
    stream.reset();
    for gauge in [
        "idlewild_backlogged_connections",
        "idlewild_backlog_bytes",
        "idlewild_users",
        &server.series(CONNECTIONS),
    ] {
        server.wait_for_metric(gauge, 0.0);
    }
    server.wait_for_metric(CLOSED, 1.0);
}

#[test]
fn a_thousand_clients_that_left_leave_nothing_behind() {
    const THREADS: usize = 4;
    const EACH: usize = 250;
    let server = TestServer::start();
    std::thread::scope(|scope| {
        for thread in 0..THREADS {
            let server = &server;
            scope.spawn(move || {
                for n in 0..EACH {
                    let stream = server.stream(&format!("u{}-{}", thread, n % 50));
                    if n % 3 == 0 {
                        stream.reset();
                    } else {
                        stream.close();
                    }
                    if n % 50 == 0 {
                        server.publish(&json!({"to": {"all": true}, "data": n}));
                    }
                }
            });
        }
    });
    server.wait_for_metric(&server.series(CONNECTIONS), 0.0);
    server.wait_for_metric(CLOSED, 1_000.0);
    for gauge in [
        "idlewild_users",
        "idlewild_handshakes_in_flight",
        "idlewild_backlog_bytes",
        "idlewild_backlogged_connections",
    ] {
        server.wait_for_metric(gauge, 0.0);
    }
    assert_eq!(
        server.metric(&server.series("idlewild_connects_total")),
        Some(1_000.0)
    );
    for user in ["u0-0", "u3-49"] {
        let presence = server.admin("GET", &format!("/v1/users/{user}"), "").json();
        assert_eq!(
            presence,
            json!({"user": user, "online": false, "connections": []})
        );
    }
}
