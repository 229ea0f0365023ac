//! The connection after its stream has ended: it either serves the next request, as promised in the
//! head of the stream, or closes at once.

use std::io::Write;
use std::time::Duration;

use idlewild::config::{Config, OnLimit};
use serde_json::json;
use socket2::{SockFilter, SockRef};

use crate::support::{NOTIFICATIONS, Stream, TestServer, eventually, varied_text};

const STREAMS: &str = "idlewild_connections";
const IN_FLIGHT: &str = "idlewild_handshakes_in_flight";
const REFUSED: &str = "idlewild_refused_total{reason=\"handshake\"}";

/// Runs a test over plain TCP and over TLS, with SSE, because a connection is not reused after a WebSocket.
fn over_both(change: impl Fn(&mut Config) + Copy, test: impl Fn(TestServer)) {
    test(TestServer::with(change).over_sse());
    test(TestServer::with_tls(change).over_sse());
}

fn path(server: &TestServer, user: &str) -> String {
    format!("{NOTIFICATIONS}?token={}", server.token(user))
}

fn get(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: test\r\n\r\n")
}

fn disconnect(server: &TestServer, user: &str) {
    let path = format!("/v1/users/{user}/connections");
    assert_eq!(server.admin("DELETE", &path, "").status, 200);
}

/// Checks that the last response is a stream that receives events.
#[track_caller]
fn assert_lives(server: &TestServer, stream: &mut Stream, user: &str) {
    assert_eq!(stream.status, 200, "{}", stream.head);
    assert!(stream.next().unwrap().contains("retry: "));
    let id = server.publish(&json!({"to": {"user": user}, "data": "x"}));
    assert_eq!(
        stream.next().unwrap(),
        format!("id: {id}\nevent: message\ndata: x\n\n")
    );
}

/// Checks that the connection answers other requests and opens another stream.
#[track_caller]
fn assert_serves(server: &TestServer, stream: &mut Stream, user: &str) {
    assert_eq!(stream.ask("/healthz").body(), "ok\n");
    assert_eq!(stream.ask("/nowhere").status, 404);
    stream.body();
    stream.ask(&path(server, user));
    assert_lives(server, stream, user);
}

#[test]
fn a_connection_outlives_many_streams() {
    over_both(
        |_| {},
        |server| {
            let mut stream = server.stream("0");
            for user in 0..20 {
                disconnect(&server, &user.to_string());
                assert_eq!(stream.rest(), [""; 0]);
                server.wait_for_metric(&server.series(STREAMS), 0.0);
                server.wait_for_metric(IN_FLIGHT, 1.0);
                assert_serves(&server, &mut stream, &(user + 1).to_string());
                server.wait_for_metric(IN_FLIGHT, 0.0);
            }
            let evicted = "idlewild_disconnects_total{reason=\"evicted\"}";
            assert_eq!(server.metric(evicted), Some(20.0));
            assert_eq!(server.metric(REFUSED), Some(0.0));
        },
    );
}

#[test]
fn every_kind_of_end_keeps_the_connection() {
    let change = |config: &mut Config| {
        config.max_connections_per_user = 1;
        config.on_limit = OnLimit::EvictOldest;
        config.heartbeat = Duration::from_secs(7_200);
    };
    over_both(change, |server| {
        let mut stream = server.stream("1");
        server.admin("POST", "/v1/users/1/logout", "");
        assert!(stream.rest()[0].contains("FORCE_LOGOUT"));
        assert_serves(&server, &mut stream, "2");
        let body = json!({"session_id": "new"}).to_string();
        let answer = server.admin("PUT", "/v1/users/2/session", &body);
        assert_eq!(answer.status, 200, "{}", answer.body);
        assert!(stream.rest()[0].contains("FORCE_LOGOUT"));
        assert_serves(&server, &mut stream, "3");
        let newer = server.stream("3");
        assert_eq!(stream.rest(), ["event: evicted\ndata: {}\n\n"]);
        assert_serves(&server, &mut stream, "4");
        drop(newer);
        server.advance(Duration::from_secs(3_601));
        assert_eq!(stream.rest(), ["event: token_expired\ndata: {}\n\n"]);
        assert_serves(&server, &mut stream, "5");
    });
}

#[test]
fn a_request_that_arrives_with_the_end_of_a_stream_is_answered() {
    over_both(
        |_| {},
        |server| {
            let mut slow = server.connect_narrow().open(&path(&server, "42"));
            slow.next();
            let data = varied_text(60 * 1024);
            server.publish(&json!({"to": {"user": "42"}, "data": data}));
            server.wait_for_metric("idlewild_backlogged_connections", 1.0);
            disconnect(&server, "42");
            // The shard has ended the stream, and the end waits for the client. Earlier bytes would have come
            // during the stream.
            server.wait_for_metric("idlewild_disconnects_total{reason=\"evicted\"}", 1.0);
            slow.socket.write_all(get("/healthz").as_bytes()).unwrap();
            (0..10).for_each(|_| assert_eq!(server.get("/healthz").status, 200));
            let frames = slow.rest();
            assert!(frames.len() == 1 && frames[0].contains(&data));
            assert!(slow.follow(), "the connection was closed");
            assert_eq!(slow.body(), "ok\n");
            assert_serves(&server, &mut slow, "43");
        },
    );
}

#[test]
fn a_client_that_sends_during_its_stream_is_closed_with_it() {
    over_both(
        |_| {},
        |server| {
            let mut stream = server.stream("42");
            stream.socket.write_all(get("/healthz").as_bytes()).unwrap();
            // The shard has looked at this input by the time it has processed the heartbeat.
            server.advance(Duration::from_secs(31));
            assert!(stream.next().unwrap().contains("heartbeat"));
            disconnect(&server, "42");
            assert_eq!(stream.last(), [""; 0]);
            // A request in the same segment as the stream's request is not answered either.
            let mut client = server.connect();
            client.send(get(&path(&server, "42")) + &get("/healthz"));
            let mut stream = client.stream();
            assert_lives(&server, &mut stream, "42");
            disconnect(&server, "42");
            assert_eq!(stream.last(), [""; 0]);
        },
    );
}

#[test]
fn a_client_that_sent_connection_close_gets_the_close() {
    over_both(
        |_| {},
        |server| {
            for (version, headers) in [("1.1", "Connection: foo, Close\r\n"), ("1.0", "")] {
                let mut client = server.connect();
                let path = path(&server, "42");
                client.send(format!(
                    "GET {path} HTTP/{version}\r\nHost: test\r\n{headers}\r\n"
                ));
                let mut stream = client.stream();
                assert_lives(&server, &mut stream, "42");
                server.admin("POST", "/v1/users/42/logout", "");
                let frames = stream.last();
                assert!(frames[0].contains("FORCE_LOGOUT"), "{frames:?}");
                server.advance(Duration::from_secs(1));
            }
            server.wait_for_metric(IN_FLIGHT, 0.0);
        },
    );
}

#[test]
fn an_idle_connection_after_a_stream_has_handshake_timeout() {
    over_both(
        |_| {},
        |server| {
            server.advance(Duration::from_secs(60));
            let mut stream = server.stream("42");
            disconnect(&server, "42");
            assert_eq!(stream.rest(), [""; 0]);
            server.wait_for_metric(IN_FLIGHT, 1.0);
            server.advance(Duration::from_millis(9_900));
            assert_eq!(server.get("/healthz").status, 200);
            assert_eq!(stream.ask("/healthz").body(), "ok\n");
            server.advance(Duration::from_millis(10_100));
            assert!(!stream.follow());
            server.wait_for_metric(IN_FLIGHT, 0.0);
            // This is not a refusal: the stream was served, and the client just sends nothing more.
            let mut stream = server.stream("42");
            disconnect(&server, "42");
            assert_eq!(stream.rest(), [""; 0]);
            server.wait_for_metric(IN_FLIGHT, 1.0);
            server.advance(Duration::from_millis(10_100));
            assert!(!stream.follow());
            server.wait_for_metric(IN_FLIGHT, 0.0);
            assert_eq!(server.metric(REFUSED), Some(0.0));
        },
    );
}

#[test]
fn connections_without_a_place_are_closed_and_new_ones_find_one() {
    const STREAMS_HELD: usize = 40;
    let change = |config: &mut Config| {
        config.max_connections_per_user = STREAMS_HELD;
        config.max_handshakes = 16;
    };
    over_both(change, |server| {
        let mut streams: Vec<Stream> = (0..STREAMS_HELD).map(|_| server.stream("42")).collect();
        // The closed clients see the end of the stream and the close at once.
        streams.iter().for_each(drop_bare_fins);
        disconnect(&server, "42");
        for stream in &mut streams {
            assert_eq!(stream.rest(), [""; 0]);
        }
        server.wait_for_metric(&server.series(STREAMS), 0.0);
        // The clock stands still, so no connection gives way.
        assert_eq!(server.get("/healthz").status, 200);
        eventually("those that have no place are closed", || {
            let is_kept = |stream: &mut Stream| u32::from(!stream.socket.is_readable());
            let kept: u32 = streams.iter_mut().map(is_kept).sum();
            (4..=8).contains(&kept) && server.metric(IN_FLIGHT) == Some(f64::from(kept))
        });
    });
}

/// Makes the kernel drop segments for this socket that have a FIN and no data.
fn drop_bare_fins(stream: &Stream) {
    const LOAD_BYTE: u16 = 0x30;
    const LOAD_LENGTH: u16 = 0x80;
    const AND: u16 = 0x54;
    const SHIFT_RIGHT: u16 = 0x74;
    const TO_X: u16 = 0x07;
    const IF_BITS: u16 = 0x45;
    const IF_X: u16 = 0x1d;
    const RETURN: u16 = 0x06;
    SockRef::from(stream.socket.tcp())
        .attach_filter(&[
            // The TCP flags; FIN is the lowest bit.
            SockFilter::new(LOAD_BYTE, 0, 0, 13),
            SockFilter::new(IF_BITS, 0, 6, 1),
            // The header's length: four times the upper half of its byte.
            SockFilter::new(LOAD_BYTE, 0, 0, 12),
            SockFilter::new(AND, 0, 0, 0xf0),
            SockFilter::new(SHIFT_RIGHT, 0, 0, 2),
            SockFilter::new(TO_X, 0, 0, 0),
            SockFilter::new(LOAD_LENGTH, 0, 0, 0),
            SockFilter::new(IF_X, 1, 0, 0),
            SockFilter::new(RETURN, 0, 0, u32::MAX),
            SockFilter::new(RETURN, 0, 0, 0),
        ])
        .unwrap();
}

#[test]
fn a_drain_ends_a_stream_and_its_connection_in_one_segment() {
    over_both(
        |config| {
            config.max_connections_per_user = 20;
            // On a busy machine, the clock below advances far beyond the streams.
            config.heartbeat = Duration::from_secs(7_200);
        },
        |mut server| {
            let mut streams: Vec<Stream> = (0..20).map(|_| server.stream("42")).collect();
            streams.iter().for_each(drop_bare_fins);
            let drain = server.drain();
            eventually("the drain is over", || {
                server.advance(Duration::from_secs(1));
                drain.is_finished()
            });
            for stream in &mut streams {
                assert!(stream.last()[0].contains("retry: "));
            }
        },
    );
}
