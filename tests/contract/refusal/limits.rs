//! Limits on the number of streams: in total, per user, and of test streams.

use std::sync::Barrier;

use idlewild::config::OnLimit;
use serde_json::json;

use super::{Refused, assert_refusals, refused};
use crate::support::{BASE, Client, NOTIFICATIONS, Stream, TestServer};

const STREAMS: &str = "idlewild_connections";
const EVICTED: &str = "event: evicted\ndata: {}\n\n";

fn path_of(server: &TestServer, user: &str) -> String {
    format!("{NOTIFICATIONS}?token={}", server.token(user))
}

#[test]
fn a_sixth_stream_of_one_user_is_refused() {
    let server = TestServer::start();
    let path = path_of(&server, "42");
    let mut streams: Vec<_> = (0..5).map(|_| server.stream("42")).collect();
    assert_eq!(
        Refused::from(server.open(&path)),
        refused(429, "Too many connections")
    );
    assert_refusals(&server, "limit", 1.0);
    // Each stream got a heartbeat as a check, and nothing else.
    for stream in &mut streams {
        assert!(stream.next().unwrap().contains("event: heartbeat\n"));
        assert!(stream.is_silent());
    }
    // Another user is not affected, and a stream that ends makes room.
    assert_eq!(server.open(&path_of(&server, "43")).status, 200);
    streams.pop();
    crate::support::eventually("there is room", || server.open(&path).status == 200);
}

#[test]
fn with_eviction_the_oldest_stream_of_the_user_is_closed() {
    let server = TestServer::with(|config| config.on_limit = OnLimit::EvictOldest);
    let mut streams: Vec<_> = (0..5).map(|_| server.stream("42")).collect();
    for oldest in 0..3 {
        streams.push(server.stream("42"));
        assert_eq!(streams[oldest].next().as_deref(), Some(EVICTED));
        assert_eq!(streams[oldest].next(), None);
        assert!(streams[oldest].is_complete);
    }
    server.wait_for_metric("idlewild_disconnects_total{reason=\"evicted\"}", 3.0);
    server.wait_for_metric(&server.series(STREAMS), 5.0);
    assert!(streams[3..].iter_mut().all(Stream::is_silent));
    assert_refusals(&server, "limit", 0.0);
}

#[test]
fn a_full_server_refuses_every_stream() {
    let server = TestServer::with(|config| config.max_connections = 3);
    let mut streams: Vec<_> = ["1", "2"].map(|user| server.stream(user)).into();
    streams.push(server.open(&format!("{BASE}/sse/test/")));
    assert_eq!(streams[2].status, 200);
    for path in [
        path_of(&server, "3"),
        path_of(&server, "1"),
        format!("{BASE}/sse/test/"),
    ] {
        assert_eq!(
            Refused::from(server.open(&path)),
            refused(503, "Server full"),
            "{path}"
        );
    }
    assert_refusals(&server, "full", 2.0);
    assert_refusals(&server, "test", 1.0);
    streams.pop();
    let path = path_of(&server, "3");
    let mut last = None;
    crate::support::eventually("there is room", || {
        let stream = server.open(&path);
        let is_open = stream.status == 200;
        last = Some(stream);
        is_open
    });
    assert_eq!(server.open(&path_of(&server, "4")).status, 503);
}

#[test]
fn one_test_stream_too_many_is_refused_and_streams_are_not() {
    let server = TestServer::with(|config| config.max_test_streams = 2);
    let path = format!("{BASE}/sse/test/");
    let mut streams: Vec<_> = (0..2).map(|_| server.open(&path)).collect();
    assert!(streams.iter().all(|stream| stream.status == 200));
    assert_eq!(
        Refused::from(server.open(&path)),
        refused(503, "Server full")
    );
    // A test stream needs no credential, so its refusal must not alert an operator.
    assert_refusals(&server, "full", 0.0);
    assert_refusals(&server, "test", 1.0);
    assert_eq!(server.stream("42").status, 200);
    streams.pop();
    crate::support::eventually("there is room", || server.open(&path).status == 200);
}

/// As many concurrent stream requests of one user as there are threads.
fn open_at_once(server: &TestServer, threads: usize) -> Vec<Stream> {
    let (path, address) = (path_of(server, "42"), server.public);
    let (path, barrier) = (&path, Barrier::new(threads));
    let barrier = &barrier;
    std::thread::scope(|scope| {
        let opening: Vec<_> = (0..threads)
            .map(|_| {
                scope.spawn(move || {
                    let client = Client::connect(address);
                    barrier.wait();
                    client.open(path)
                })
            })
            .collect();
        opening
            .into_iter()
            .map(|opened| opened.join().unwrap())
            .collect()
    })
}

/// The number of streams that receive an event that is published now. The others must have been
/// evicted before it.
fn count_live(server: &TestServer, streams: &mut [Stream]) -> usize {
    let id = server.publish(&json!({"to": {"user": "42"}, "data": 1}));
    let event = format!("id: {id}\nevent: message\ndata: 1\n\n");
    let mut live = 0;
    for stream in streams {
        stream.begin();
        // Streams that were open when the limit was exceeded got a heartbeat as a check.
        let mut frame = stream.next().unwrap();
        if frame.contains("event: heartbeat\n") {
            frame = stream.next().unwrap();
        }
        if frame == event {
            live += 1;
        } else {
            assert_eq!(frame, EVICTED);
            assert_eq!(stream.next(), None);
            assert!(stream.is_complete);
        }
    }
    live
}

#[test]
fn of_two_hundred_concurrent_streams_of_a_user_exactly_five_are_accepted() {
    let server = TestServer::start();
    let streams = open_at_once(&server, 200);
    let (mut open, rest): (Vec<_>, Vec<_>) =
        streams.into_iter().partition(|stream| stream.status == 200);
    assert_eq!(open.len(), 5);
    for stream in rest {
        assert_eq!(Refused::from(stream), refused(429, "Too many connections"));
    }
    assert_eq!(server.metric(&server.series(STREAMS)), Some(5.0));
    assert_eq!(count_live(&server, &mut open), 5);
}

#[test]
fn of_two_hundred_concurrent_streams_of_a_user_eviction_leaves_exactly_five() {
    let server = TestServer::with(|config| config.on_limit = OnLimit::EvictOldest);
    let mut streams = open_at_once(&server, 200);
    assert!(streams.iter().all(|stream| stream.status == 200));
    server.wait_for_metric("idlewild_disconnects_total{reason=\"evicted\"}", 195.0);
    crate::support::eventually("the others are gone", || {
        streams.iter_mut().for_each(Stream::respond);
        server.metric(&server.series(STREAMS)) == Some(5.0)
    });
    assert_eq!(count_live(&server, &mut streams), 5);
}
