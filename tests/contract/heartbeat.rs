//! Heartbeats: intervals, and how they are spread over time. Also the timing of the test stream.

use std::time::Duration;

use idlewild::event::EventId;
use serde_json::json;

use crate::support::{Probe, TestServer, heartbeat};

const STEP: Duration = Duration::from_millis(250);
const STEP_MS: u64 = 250;
const TEST_STREAM: &str = "/api/v1/auth/sse/test/";

fn id_of(frame: &str) -> &str {
    let (id, _) = frame
        .strip_prefix("id: ")
        .unwrap()
        .split_once('\n')
        .unwrap();
    id
}

#[test]
fn a_silent_stream_gets_one_heartbeat_per_interval() {
    let server = TestServer::start();
    let mut probe = Probe::new(&server);
    let mut stream = server.stream("42");
    let mut heard_at_ms = Vec::new();
    for step in 1..=(100_000 / STEP_MS) {
        server.advance(STEP);
        probe.settle(&server);
        for frame in stream.arrived() {
            assert_eq!(frame, heartbeat(&stream.position));
            heard_at_ms.push(step * STEP_MS);
        }
    }
    assert_eq!(heard_at_ms, [30_000, 60_000, 90_000]);
}

#[test]
fn the_interval_is_configurable() {
    let server = TestServer::with(|config| config.heartbeat = Duration::from_secs(5));
    let mut probe = Probe::new(&server);
    let mut stream = server.stream("42");
    server.advance(Duration::from_millis(4_750));
    probe.settle(&server);
    assert!(stream.is_silent());
    server.advance(STEP);
    assert_eq!(stream.next().unwrap(), heartbeat(&stream.position));
}

#[test]
fn silence_never_exceeds_the_interval_by_more_than_a_second() {
    const STREAMS: usize = 50;
    let server = TestServer::start();
    let mut probe = Probe::new(&server);
    let mut random = fastrand::Rng::with_seed(7);
    let mut streams: Vec<_> = (0..STREAMS)
        .map(|n| (server.stream(&format!("u{n}")), 0))
        .collect();
    let mut heartbeats = 0;
    for step in 0..960 {
        server.advance(STEP);
        probe.settle(&server);
        let is_event_time = random.u8(0..8) == 0;
        if is_event_time {
            let to = match random.u8(0..12) {
                0 => json!({"all": true}),
                _ => json!({"user": format!("u{}", random.usize(0..STREAMS))}),
            };
            server.publish(&json!({"to": to, "data": step}));
            probe.flush(&server);
        }
        for (stream, silent_ms) in &mut streams {
            *silent_ms += STEP_MS;
            assert!(
                *silent_ms <= 31_000,
                "silent for {silent_ms} ms at step {step}"
            );
            for frame in stream.arrived() {
                let id: EventId = id_of(&frame).parse().unwrap();
                let last: EventId = stream.position.parse().unwrap();
                assert!(id >= last, "{id} after {last}");
                stream.position = id.to_string();
                if frame.contains("heartbeat") {
                    // Chosen from the last quarter of the interval, never earlier.
                    assert!(*silent_ms >= 22_500, "after {silent_ms} ms at step {step}");
                    heartbeats += 1;
                }
                *silent_ms = 0;
            }
        }
    }
    // 50 streams over 240 s with about ten broadcasts: each stream has some heartbeats.
    assert!(heartbeats > 2 * STREAMS, "{heartbeats}");
}

#[test]
fn heartbeats_do_not_line_up_after_a_broadcast() {
    const STREAMS: usize = 500;
    let server = TestServer::start();
    let mut probe = Probe::new(&server);
    let mut streams: Vec<_> = (0..STREAMS)
        .map(|n| server.stream(&format!("u{n}")))
        .collect();
    server.advance(Duration::from_secs(10));
    server.publish(&json!({"to": {"all": true}, "data": 1}));
    probe.flush(&server);
    for stream in &mut streams {
        assert_eq!(stream.arrived().len(), 1);
    }
    // The number of heartbeats, by steps since the broadcast.
    let mut heard = [0; 125];
    for heard_now in &mut heard[1..] {
        server.advance(STEP);
        // More timers than one slice may be due at once, so wait for another turn.
        probe.settle(&server);
        probe.flush(&server);
        *heard_now = streams
            .iter_mut()
            .map(|stream| stream.arrived().len())
            .sum();
    }
    assert_eq!(heard.iter().sum::<usize>(), STREAMS);
    let first = heard.iter().position(|count| *count > 0).unwrap();
    let last = heard.iter().rposition(|count| *count > 0).unwrap();
    assert!(first >= 90 && last <= 124, "steps {first} to {last}");
    // The last quarter has 30 steps: 3 % each on average.
    let most = heard.iter().max().unwrap();
    assert!(
        *most < STREAMS * 12 / 100,
        "{most} of {STREAMS} in one step: {heard:?}"
    );
    assert!(last - first > 20, "steps {first} to {last}");
}

#[test]
fn the_test_stream_counts_every_two_seconds_and_sends_nothing_else() {
    let server = TestServer::start();
    let mut probe = Probe::new(&server);
    let mut stream = server.open(TEST_STREAM);
    assert_eq!(stream.status, 200);
    assert_eq!(stream.header("content-type"), Some("text/event-stream"));
    let message = |n: u32| {
        let now_ms = i64::try_from(server.clock.unix_ms()).unwrap();
        let now = chrono::DateTime::from_timestamp_millis(now_ms).unwrap();
        let time = now.with_timezone(&chrono::Local).format("%H:%M:%S");
        format!("data: Test message {n} at {time}\n\n")
    };
    assert_eq!(stream.next().unwrap(), message(0));
    server.publish(&json!({"to": {"all": true}, "data": "for others"}));
    probe.flush(&server);
    for n in 1..=40 {
        server.advance(Duration::from_millis(1_750));
        probe.settle(&server);
        assert!(stream.is_silent(), "before message {n}");
        server.advance(STEP);
        probe.settle(&server);
        assert_eq!(stream.arrived(), [message(n)]);
    }
}

#[test]
fn one_test_stream_too_many_is_refused_until_one_closes() {
    let server = TestServer::with(|config| config.max_test_streams = 2);
    let first = server.open(TEST_STREAM);
    let second = server.open(TEST_STREAM);
    assert_eq!((first.status, second.status), (200, 200));
    let mut third = server.open(TEST_STREAM);
    assert_eq!(third.status, 503);
    assert!(third.header("retry-after").is_some());
    assert!(third.next().unwrap().contains("Server full"));
    // They do not count as connections of a user, so users can still connect.
    let _user = server.stream("42");
    drop(first);
    server.wait_for_metric("idlewild_connections{transport=\"test\"}", 1.0);
    assert_eq!(server.open(TEST_STREAM).status, 200);
}
