//! Replay: a client that reconnects misses nothing and receives nothing twice.

use std::time::Duration;

use serde_json::{Value, json};

use crate::support::{NOTIFICATIONS, Probe, Stream, TestServer, eventually, request, varied_text};

const REPLAYED: &str = "idlewild_replayed_total";
const GAPS: &str = "idlewild_replay_gaps_total";
const SLOW: &str = "idlewild_disconnects_total{reason=\"slow\"}";

fn gap(position: &str, last: &str, oldest: &str) -> String {
    format!(
        "id: {position}\nevent: replay_gap\ndata: {{\"last_event_id\": {last}, \"oldest\": {oldest}}}\n\n"
    )
}

fn event(id: &str, data: &str) -> String {
    format!("id: {id}\nevent: message\ndata: {data}\n\n")
}

#[track_caller]
fn expect(stream: &mut Stream, events: &[(&str, &str)]) {
    for (id, data) in events {
        assert_eq!(stream.next().unwrap(), event(id, data));
    }
}

/// The number at the start of an event's data.
#[track_caller]
fn number(frame: &str) -> usize {
    let (_, data) = frame.split_once("data: ").unwrap();
    let end = data.find(|c: char| !c.is_ascii_digit()).unwrap();
    data[..end].parse().unwrap()
}

fn publish_batch(server: &TestServer, events: impl Iterator<Item = Value>) {
    let lines: Vec<String> = events.map(|event| event.to_string()).collect();
    let answer = server.admin("POST", "/v1/events/batch", &lines.join("\n"));
    assert_eq!(answer.json()["accepted"], json!(lines.len()));
}

/// A client that reads slowly and has this many events to catch up with, numbered from 0, 4,000 bytes
/// each. Also returns the id that it reconnected with.
fn catching_up(server: &TestServer, token: &str, events: usize) -> (String, Stream) {
    let first = server.publish(&json!({"to": {"user": "42"}, "data": "first"}));
    let data = varied_text(4_000);
    publish_batch(
        server,
        (0..events).map(|n| json!({"to": {"user": "42"}, "data": format!("{n} {data}")})),
    );
    let mut slow = server.connect_narrow().reconnect(token, &first);
    slow.begin();
    server.wait_for_metric("idlewild_backlogged_connections", 1.0);
    (first, slow)
}

#[test]
fn missed_events_come_first_and_once_and_then_live_events() {
    let server = TestServer::start();
    let token = server.token_with("42", None, &["news"]);
    let mut stream = server.stream_of(&token);
    let first = server.publish(&json!({"to": {"user": "42"}, "data": "first"}));
    expect(&mut stream, &[(&first, "first")]);
    drop(stream);
    let own = server.publish(&json!({"to": {"user": "42"}, "data": "own"}));
    let topic = server.publish(&json!({"to": {"topic": "news"}, "data": "topic"}));
    server.publish(&json!({"to": {"user": "43"}, "data": "another's"}));
    server.publish(&json!({"to": {"topic": "olds"}, "data": "another topic"}));
    let some = server.publish(&json!({"to": {"users": ["9", "42", "7"]}, "data": "some"}));
    let all = server.publish(&json!({"to": {"all": true}, "data": "all"}));
    let mut stream = server.reconnect(&token, &first);
    let missed = [
        (own.as_str(), "own"),
        (&topic, "topic"),
        (&some, "some"),
        (&all, "all"),
    ];
    expect(&mut stream, &missed);
    let live = server.publish(&json!({"to": {"user": "42"}, "data": "live"}));
    expect(&mut stream, &[(&live, "live")]);
    server.wait_for_metric(REPLAYED, 4.0);
    assert_eq!(server.metric(GAPS), Some(0.0));
    // A stream without the topic has not missed the topic's events.
    let token = server.token("42");
    let mut stream = server.reconnect(&token, &first);
    expect(
        &mut stream,
        &[missed[0], missed[2], missed[3], (&live, "live")],
    );
    let mut probe = Probe::new(&server);
    probe.flush(&server);
    assert!(stream.is_silent());
}

#[test]
fn the_last_id_may_be_in_the_query_and_the_header_takes_precedence() {
    let server = TestServer::start();
    let ids: Vec<String> = (0..4)
        .map(|n| server.publish(&json!({"to": {"user": "42"}, "data": n.to_string()})))
        .collect();
    let token = server.token("42");
    let asked = format!("{NOTIFICATIONS}?token={token}&last_event_id={}", ids[1]);
    let mut stream = server.open(&asked);
    stream.begin();
    expect(&mut stream, &[(&ids[2], "2"), (&ids[3], "3")]);
    for (header, first) in [(ids[2].as_str(), 3), ("", 2)] {
        let mut client = server.connect();
        client.get(&asked, &format!("Last-Event-ID: {header}\r\n"));
        let mut stream = client.stream();
        stream.next().unwrap();
        expect(&mut stream, &[(&ids[first], &first.to_string())]);
    }
    // A ticket can replace the token in all cases.
    let bearer = format!("Bearer {token}");
    let path = "/api/v1/auth/sse/ticket/";
    let answer = request(
        server.public,
        "POST",
        path,
        &[("Authorization", &bearer)],
        "",
    );
    let ticket = answer.json()["ticket"].as_str().unwrap().to_owned();
    let mut stream = server.open(&format!(
        "{NOTIFICATIONS}?ticket={ticket}&last_event_id={}",
        ids[2]
    ));
    stream.next().unwrap();
    expect(&mut stream, &[(&ids[3], "3")]);
}

#[test]
fn a_client_that_has_everything_gets_no_replay() {
    let server = TestServer::start();
    let token = server.token("42");
    server.publish(&json!({"to": {"user": "42"}, "data": "old"}));
    let last = server.publish(&json!({"to": {"user": "42"}, "data": "last"}));
    let mut with_id = server.reconnect(&token, &last);
    // A client that never received anything gets no replay, because it sends no id.
    let mut without = server.stream("42");
    let live = server.publish(&json!({"to": {"user": "42"}, "data": "live"}));
    for stream in [&mut with_id, &mut without] {
        expect(stream, &[(&live, "live")]);
    }
    assert_eq!(server.metric(REPLAYED), Some(0.0));
    // A test stream has no history, whatever id it sends.
    let mut test = server.open(&format!("/api/v1/auth/sse/test/?last_event_id={last}"));
    assert!(test.next().unwrap().starts_with("data: Test message 0"));
    assert_eq!(server.metric(GAPS), Some(0.0));
}

#[test]
fn an_id_that_is_not_retained_is_reported_as_a_gap() {
    let server = TestServer::with(|config| config.history.max_age = Duration::from_secs(60));
    let token = server.token("42");
    let origin = server.stream("43").position;
    let mut stream = server.reconnect(&token, "1-1");
    assert_eq!(stream.next().unwrap(), gap(&origin, "\"1-1\"", "null"));
    let older = server.publish(&json!({"to": {"user": "42"}, "data": "older"}));
    expect(&mut stream, &[(&older, "older")]);
    let old = server.publish(&json!({"to": {"user": "42"}, "data": "old"}));
    expect(&mut stream, &[(&old, "old")]);
    server.advance(Duration::from_secs(40));
    let foreign = server.publish(&json!({"to": {"user": "43"}, "data": "foreign"}));
    let own = server.publish(&json!({"to": {"user": "42"}, "data": "own"}));
    server.advance(Duration::from_secs(21));
    server.wait_for_metric("idlewild_history_events", 2.0);
    let oldest = format!("\"{foreign}\"");
    // Too old, never assigned, in the future, or malformed.
    let unknown = [
        older.as_str(),
        "5-5",
        "9999999999999-0",
        "a \"quoted\\ one",
        "\u{fc}",
    ];
    for last in unknown {
        let mut stream = server.reconnect(&token, last);
        let quoted = Value::from(last).to_string();
        assert_eq!(stream.position, "", "the first block has no id");
        assert_eq!(stream.next().unwrap(), gap(&old, &quoted, &oldest));
        expect(&mut stream, &[(&own, "own")]);
    }
    server.wait_for_metric(GAPS, 6.0);
    // Ids of other users' events are known as well, and so is the id right before the oldest event.
    for known in [&foreign, &old] {
        let mut stream = server.reconnect(&token, known);
        assert_eq!(stream.position, *known);
        expect(&mut stream, &[(&own, "own")]);
    }
    assert_eq!(server.metric(GAPS), Some(6.0));
}

#[test]
fn an_event_that_is_not_kept_is_delivered_and_never_replayed() {
    let server = TestServer::start();
    let token = server.token("42");
    let mut stream = server.stream_of(&token);
    let kept = server.publish(&json!({"to": {"user": "42"}, "data": "kept"}));
    expect(&mut stream, &[(&kept, "kept")]);
    let fleeting = json!({"to": {"user": "42"}, "data": "fleeting", "persist": false});
    server.publish(&fleeting);
    assert_eq!(stream.next().unwrap(), "event: message\ndata: fleeting\n\n");
    let after = server.publish(&json!({"to": {"user": "42"}, "data": "after"}));
    expect(&mut stream, &[(&after, "after")]);
    let mut back = server.reconnect(&token, &kept);
    expect(&mut back, &[(&after, "after")]);
    server.wait_for_metric("idlewild_history_events", 2.0);
    // It takes no space from events that are kept.
    let bytes = server.metric("idlewild_history_bytes");
    for _ in 0..20 {
        server.publish(&fleeting);
    }
    let mut probe = Probe::new(&server);
    probe.flush(&server);
    assert_eq!(server.metric("idlewild_history_events"), Some(3.0));
    let grown = server.metric("idlewild_history_bytes").unwrap() - bytes.unwrap();
    assert!(grown < 1_000.0, "{grown} bytes for the probe's one event");
}

#[test]
fn a_replay_larger_than_any_buffer_arrives_whole_at_a_slow_reader_and_live_events_wait() {
    const EVENTS: usize = 2_000;
    let server = TestServer::start();
    let token = server.token("42");
    let first = server.publish(&json!({"to": {"user": "42"}, "data": "first"}));
    // About 8 MB, a hundred times the backlog limit. Some events are larger than one piece.
    let data = |n: usize| {
        let bytes = if n.is_multiple_of(100) { 50_000 } else { 4_000 };
        format!("{n} {}", varied_text(bytes))
    };
    let mut next = 0;
    while next < EVENTS {
        let end = (next + 100).min(EVENTS);
        let to = |n: usize| match n % 3 {
            0 => json!({"all": true}),
            _ => json!({"user": "42"}),
        };
        publish_batch(
            &server,
            (next..end).map(|n| json!({"to": to(n), "data": data(n)})),
        );
        next = end;
    }
    let mut slow = server.connect_narrow().reconnect(&token, &first);
    slow.begin();
    server.wait_for_metric("idlewild_backlogged_connections", 1.0);
    // Live events during the replay all wait in the log, none of them in the client's backlog.
    publish_batch(
        &server,
        (EVENTS..EVENTS + 100).map(|n| json!({"to": {"user": "42"}, "data": data(n)})),
    );
    for n in 0..EVENTS + 100 {
        let frame = slow.next().expect("another event");
        assert!(
            frame.ends_with(&format!("data: {}\n\n", data(n))),
            "event {n}"
        );
        if n.is_multiple_of(200) {
            let waiting = server.metric("idlewild_backlog_bytes").unwrap();
            assert!(waiting <= 64.0 * 1024.0, "{waiting} bytes wait");
        }
    }
    let live = server.publish(&json!({"to": {"user": "42"}, "data": "live"}));
    expect(&mut slow, &[(&live, "live")]);
    assert_eq!(server.metric(SLOW), Some(0.0));
    server.wait_for_metric("idlewild_backlog_bytes", 0.0);
}

#[test]
fn clients_that_reconnect_during_publishing_get_each_event_once_and_in_order() {
    const CLIENTS: usize = 8;
    let server = TestServer::start();
    let start = server.publish(&json!({"to": {"all": true}, "data": "0"}));
    let reconnects = std::thread::scope(|scope| {
        let clients: Vec<_> = (0..CLIENTS)
            .map(|client| {
                let (server, start) = (&server, start.clone());
                scope.spawn(move || {
                    let token = server.token_with(&format!("u{client}"), None, &["t"]);
                    let mut random = fastrand::Rng::with_seed(client as u64);
                    let (mut last, mut seen, mut reconnects) = (start, 0, 0);
                    loop {
                        let mut stream = server.reconnect(&token, &last);
                        reconnects += 1;
                        // It leaves again after a few events, at an arbitrary moment.
                        for _ in 0..random.usize(1..400) {
                            let frame = stream.next().unwrap();
                            assert_eq!(number(&frame), seen + 1, "client {client}");
                            seen += 1;
                            let (id, _) = frame[4..].split_once('\n').unwrap();
                            id.clone_into(&mut last);
                            if frame.contains(" end\n") {
                                return reconnects;
                            }
                        }
                    }
                })
            })
            .collect();
        let mut n = 0;
        for _ in 0..150 {
            let events: Vec<Value> = (0..20)
                .map(|_| {
                    n += 1;
                    match n % 2 {
                        0 => json!({"to": {"all": true}, "data": n.to_string()}),
                        _ => json!({"to": {"topic": "t"}, "data": n.to_string()}),
                    }
                })
                .collect();
            publish_batch(&server, events.into_iter());
        }
        server.publish(&json!({"to": {"all": true}, "data": format!("{} end", n + 1)}));
        clients
            .into_iter()
            .map(|client| client.join().unwrap())
            .sum::<usize>()
    });
    assert!(reconnects > 5 * CLIENTS, "{reconnects} reconnects");
    assert_eq!(server.metric(GAPS), Some(0.0));
}

#[test]
fn a_client_that_catches_up_gets_the_log_out_after_what_it_missed() {
    let server = TestServer::start();
    let old = server.token_with("42", Some("old"), &[]);
    let (first, mut slow) = catching_up(&server, &old, 100);
    let answer = server.admin("PUT", "/v1/users/42/session", r#"{"session_id": "new"}"#);
    let change = answer.json()["id"].as_str().unwrap().to_owned();
    // The log-out is in force at once, although the client has not received it yet.
    let presence = server.admin("GET", "/v1/users/42", "").json();
    assert_eq!(presence["online"], false);
    assert_eq!(
        server.open(&format!("{NOTIFICATIONS}?token={old}")).status,
        401
    );
    // For the other device, and not for clients that are being logged out.
    server.publish(&json!({"to": {"user": "42"}, "data": "secret"}));
    server.publish(&json!({"to": {"all": true}, "data": "for all"}));
    server.publish(&json!({"to": {"all": true}, "data": "fleeting", "persist": false}));
    let frames = slow.rest();
    assert_eq!(frames.len(), 101);
    for (n, frame) in frames[..100].iter().enumerate() {
        assert_eq!(number(frame), n);
    }
    assert!(frames[100].starts_with(&format!("id: {change}\nevent: message\n")));
    assert!(frames[100].contains("FORCE_LOGOUT"));
    // The new session's client, which was at the first event, is not logged out.
    let new = server.token_with("42", Some("new"), &[]);
    let mut stream = server.reconnect(&new, &first);
    for n in 0..100 {
        assert_eq!(number(&stream.next().unwrap()), n);
    }
    assert!(stream.next().unwrap().contains("secret"));
    assert!(stream.next().unwrap().contains("for all"));
    // The id of the change can be resumed from.
    let mut stream = server.reconnect(&new, &change);
    assert!(stream.next().unwrap().contains("secret"));
    assert_eq!(server.metric(GAPS), Some(0.0));
    server.wait_for_metric("idlewild_disconnects_total{reason=\"logged_out\"}", 1.0);
}

#[test]
fn a_client_that_reads_more_slowly_than_events_expire_is_cut_off_and_gets_a_gap() {
    let server = TestServer::with(|config| config.history.max_age = Duration::from_secs(60));
    let token = server.token("42");
    let (_, mut slow) = catching_up(&server, &token, 500);
    // It reads fast enough not to count as stalled. What it has read may already be all that its socket holds, so the
    // last id is kept from here on.
    let mut seen = 0;
    let mut last = String::new();
    let mut note = |frame: String| {
        assert_eq!(number(&frame), seen);
        seen += 1;
        let (id, _) = frame[4..].split_once('\n').unwrap();
        id.clone_into(&mut last);
    };
    for _ in 0..2 {
        server.advance(Duration::from_secs(25));
        for _ in 0..40 {
            note(slow.next().unwrap());
        }
    }
    server.advance(Duration::from_secs(11));
    server.wait_for_metric("idlewild_history_events", 0.0);
    while let Some(frame) = slow.next() {
        note(frame);
    }
    assert!(!slow.is_complete && seen < 500, "after {seen} events");
    server.wait_for_metric(SLOW, 1.0);
    let mut back = server.reconnect(&token, &last);
    assert!(back.next().unwrap().contains("\nevent: replay_gap\n"));
}

#[test]
fn an_http_1_0_client_gets_its_replay_in_raw_frames() {
    let server = TestServer::start().over_sse();
    let ids: Vec<String> = (0..200)
        .map(|n| server.publish(&json!({"to": {"user": "42"}, "data": n.to_string()})))
        .collect();
    let token = server.token("42");
    let mut client = server.connect();
    client.send(format!(
        "GET {NOTIFICATIONS}?token={token} HTTP/1.0\r\nLast-Event-ID: {}\r\n\r\n",
        ids[0]
    ));
    let mut stream = client.stream();
    stream.begin();
    for (n, id) in ids.iter().enumerate().skip(1) {
        assert_eq!(stream.next().unwrap(), event(id, &n.to_string()));
    }
}

#[test]
fn an_event_that_is_not_kept_reaches_a_client_during_its_replay() {
    let server = TestServer::start();
    let token = server.token("42");
    let (_, mut slow) = catching_up(&server, &token, 300);
    server.publish(&json!({"to": {"user": "42"}, "data": "fleeting", "persist": false}));
    let frames: Vec<String> = (0..301).map(|_| slow.next().unwrap()).collect();
    let at = frames.iter().position(|frame| frame.contains("fleeting"));
    assert!(at.is_some_and(|at| at < 300), "{at:?}");
    let numbered = frames.iter().filter(|frame| !frame.contains("fleeting"));
    assert!(numbered.map(|frame| number(frame)).eq(0..300));
}

#[test]
fn a_client_that_catches_up_is_drained_like_any_other() {
    let mut server = TestServer::start();
    let token = server.token("42");
    let (_, mut slow) = catching_up(&server, &token, 300);
    let drained = server.drain();
    // The client continues reading only after its end has been decided.
    server.wait_for_metric("idlewild_disconnects_total{reason=\"drained\"}", 1.0);
    let frames = slow.rest();
    let (last, events) = frames.split_last().unwrap();
    assert!(last.starts_with("retry: "), "{last}");
    assert!(events.len() < 300);
    assert!(events.iter().map(|frame| number(frame)).eq(0..events.len()));
    eventually("the drain ends", || drained.is_finished());
}
