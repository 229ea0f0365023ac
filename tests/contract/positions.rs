//! Every client has a position from its first block on, so a client that is cut off at any moment can
//! reconnect and miss nothing.

use std::path::Path;
use std::time::Duration;

use idlewild::config::Config;
use rustix::process::Signal;
use serde_json::json;

use crate::support::process::{Process, token_signed_with};
use crate::support::{
    API_KEY, Address, Client, NOTIFICATIONS, Probe, SECRET, START_UNIX_MS, Stream, TestServer,
    heartbeat, request,
};

const GAPS: &str = "idlewild_replay_gaps_total";

fn event(id: &str, data: &str) -> String {
    format!("id: {id}\nevent: message\ndata: {data}\n\n")
}

fn publish(process: &Process, data: &str) -> String {
    let key = format!("Bearer {API_KEY}");
    let body = json!({"to": {"all": true}, "data": data}).to_string();
    let headers = [("Authorization", key.as_str())];
    let answer = request(process.admin(), "POST", "/v1/events", &headers, &body);
    assert_eq!(answer.status, 202, "{}", answer.body);
    answer.json()["id"].as_str().unwrap().to_owned()
}

#[test]
fn clients_that_a_restart_cuts_off_before_their_first_event_get_what_they_missed() {
    const CLIENTS: usize = 30;
    for (signal, has_history) in [
        (Signal::TERM, false),
        (Signal::TERM, true),
        (Signal::KILL, false),
    ] {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("history");
        let config = format!("history.path = \"{}\"", path.display());
        let mut process = Process::serve(&config);
        if has_history {
            publish(&process, "from before they came");
        }
        let tokens: Vec<String> = (0..CLIENTS)
            .map(|n| token_signed_with(SECRET, &n.to_string()))
            .collect();
        let open = |public: Address, n: usize| {
            let path = format!("{NOTIFICATIONS}?token={}", tokens[n]);
            let mut stream = Client::connect(public).open(&path);
            stream.begin();
            stream
        };
        let mut streams: Vec<Stream> = (0..CLIENTS).map(|n| open(process.public(), n)).collect();
        process.signal(signal);
        process.wait_with(&mut streams);
        let process = Process::serve(&config);
        let id = publish(&process, "sent in the first second");
        let mut received = 0;
        for (n, stream) in streams.iter().enumerate() {
            let client = Client::connect(process.public());
            let mut back = client.reconnect(&tokens[n], &stream.position);
            assert_eq!(back.begin().position, stream.position);
            let frame = back.next().unwrap();
            received += usize::from(frame == event(&id, "sent in the first second"));
        }
        assert_eq!(received, CLIENTS, "{signal:?}, {has_history}");
    }
}

#[test]
fn a_thousand_clients_that_idle_for_twice_the_retention_lose_nothing_in_a_restart() {
    const CLIENTS: usize = 1_000;
    const MAX_AGE: Duration = Duration::from_secs(60);
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("history");
    let configure = |path: &Path| {
        let path = path.to_owned();
        move |config: &mut Config| {
            config.history.path = Some(path);
            config.history.max_age = MAX_AGE;
        }
    };
    let server = TestServer::with(configure(&path));
    let user = |n: usize| format!("u{n}");
    let mut streams: Vec<Stream> = (0..CLIENTS).map(|n| server.stream(&user(n))).collect();
    let mut probe = Probe::new(&server);
    let first = server.publish(&json!({"to": {"all": true}, "data": "first"}));
    probe.flush(&server);
    // Events for other users, and none during the last interval.
    let mut last = String::new();
    for step in 0..120 {
        server.advance(Duration::from_secs(1));
        if step % 10 == 0 && step < 85 {
            last = server.publish(&json!({"to": {"user": "somebody"}, "data": step}));
            streams.iter_mut().for_each(Stream::respond);
        }
        probe.settle(&server);
    }
    for stream in &mut streams {
        let frames = stream.arrived();
        assert_eq!(frames[0], event(&first, "first"));
        let (id, _) = frames.last().unwrap()[4..].split_once('\n').unwrap();
        assert_eq!(*frames.last().unwrap(), heartbeat(id));
        id.clone_into(&mut stream.position);
    }
    assert!(streams.iter().all(|stream| stream.position >= last));
    let unix_ms = server.clock.unix_ms();
    server.close();
    let server = TestServer::at(unix_ms, configure(&path));
    let missed = server.publish(&json!({"to": {"all": true}, "data": "missed"}));
    let mut received = 0;
    for (n, stream) in streams.iter().enumerate() {
        let mut back = server.reconnect(&server.token(&user(n)), &stream.position);
        received += usize::from(back.next().unwrap() == event(&missed, "missed"));
    }
    assert_eq!(received, CLIENTS);
    assert_eq!(server.metric(GAPS), Some(0.0));
}

#[test]
fn with_an_empty_log_a_gap_is_reported_once() {
    let server = TestServer::start();
    let token = server.token("42");
    let origin = server.stream("43").position;
    assert_ne!(origin, "0-0");
    let mut stream = server.reconnect(&token, "1-1");
    assert_eq!(stream.position, "");
    assert_eq!(
        stream.next().unwrap(),
        format!(
            "id: {origin}\nevent: replay_gap\ndata: {{\"last_event_id\": \"1-1\", \"oldest\": null}}\n\n"
        )
    );
    for _ in 0..3 {
        assert_eq!(server.reconnect(&token, &origin).position, origin);
    }
    assert_eq!(server.metric(GAPS), Some(1.0));
    let id = server.publish(&json!({"to": {"user": "42"}, "data": "x"}));
    let mut back = server.reconnect(&token, &origin);
    assert_eq!(back.next().unwrap(), event(&id, "x"));
    // The log of another server begins elsewhere, even if it started in the same millisecond.
    let other = TestServer::start();
    let mut foreign = other.reconnect(&other.token("42"), &origin);
    assert!(foreign.next().unwrap().contains("event: replay_gap\n"));
}

#[test]
fn an_empty_history_keeps_its_position_across_restarts() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("history");
    let start = |after_s: u64| {
        let path = path.clone();
        TestServer::at(START_UNIX_MS + after_s * 1_000, |config| {
            config.history.path = Some(path);
            config.history.max_age = Duration::from_secs(60);
        })
    };
    let origin = start(0).stream("42").position;
    let server = start(3_600);
    assert_eq!(server.stream("42").position, origin);
    // The position also stays if events were stored and have expired.
    let id = server.publish(&json!({"to": {"user": "42"}, "data": "x"}));
    server.close();
    let server = start(9_999);
    assert_eq!(server.stream("42").position, id);
    server.reconnect(&server.token("42"), &id);
    // It is kept for one more retention, because a long pause cannot be distinguished from a wrong clock.
    let mut missed = server.reconnect(&server.token("42"), &origin);
    assert!(missed.next().unwrap().starts_with(&format!("id: {id}\n")));
    assert_eq!(server.metric(GAPS), Some(0.0));
    server.advance(Duration::from_secs(61));
    server.wait_for_metric("idlewild_history_events", 0.0);
    let mut missed = server.reconnect(&server.token("42"), &origin);
    assert!(missed.next().unwrap().contains("event: replay_gap\n"));
}

#[test]
fn a_client_that_missed_nothing_gets_no_gap_after_its_last_event_was_evicted() {
    let server = TestServer::with(|config| config.history.max_age = Duration::from_secs(60));
    let token = server.token("42");
    let own = server.publish(&json!({"to": {"user": "42"}, "data": "own"}));
    server.advance(Duration::from_secs(61));
    server.wait_for_metric("idlewild_history_events", 0.0);
    assert_eq!(server.reconnect(&token, &own).position, own);
    // The same applies after other users' events have been evicted.
    let others = server.publish(&json!({"to": {"user": "43"}, "data": "another's"}));
    server.advance(Duration::from_secs(61));
    server.wait_for_metric("idlewild_history_events", 0.0);
    assert_eq!(server.reconnect(&token, &own).position, own);
    assert_eq!(server.metric(GAPS), Some(0.0));
    let mut missed = server.reconnect(&server.token("43"), &own);
    assert!(
        missed
            .next()
            .unwrap()
            .starts_with(&format!("id: {others}\nevent: replay_gap\n"))
    );
    // An id that was never assigned is still unknown.
    let (ms, seq) = own.split_once('-').unwrap();
    let foreign = format!("{ms}-{}", seq.parse::<u64>().unwrap() + 1_000);
    let mut foreign = server.reconnect(&token, &foreign);
    assert!(foreign.next().unwrap().contains("event: replay_gap\n"));
}

#[test]
fn a_heartbeat_has_the_id_of_the_newest_event_of_any_user() {
    let server = TestServer::start();
    let mut probe = Probe::new(&server);
    let mut streams: Vec<Stream> = (0..8).map(|n| server.stream(&n.to_string())).collect();
    for (to, persist) in [
        (json!({"user": "3"}), true),
        (json!({"user": "nobody is there"}), true),
        (json!({"all": true}), true),
        (json!({"user": "5"}), false),
    ] {
        let id = server.publish(&json!({"to": to, "data": 1, "persist": persist}));
        probe.settle(&server);
        // An event that is not kept does not change the position.
        let position = if persist {
            id
        } else {
            server.stream("9").position
        };
        server.advance(Duration::from_secs(31));
        probe.settle(&server);
        for stream in &mut streams {
            let frames = stream.arrived();
            assert_eq!(*frames.last().unwrap(), heartbeat(&position), "{frames:?}");
        }
    }
    // A log-out has a position in the log, which its frame names. Other clients also receive that position.
    let answer = server.admin("POST", "/v1/users/7/logout", "");
    let change = answer.json()["id"].as_str().unwrap().to_owned();
    probe.settle(&server);
    server.advance(Duration::from_secs(31));
    probe.settle(&server);
    assert_eq!(*streams[0].arrived().last().unwrap(), heartbeat(&change));
    assert_eq!(
        server.reconnect(&server.token("0"), &change).position,
        change
    );
    assert_eq!(server.metric(GAPS), Some(0.0));
}

#[test]
fn polyfills_may_use_various_query_parameters_for_the_last_id() {
    let server = TestServer::start();
    let token = server.token("42");
    let position = server.stream("42").position;
    let id = server.publish(&json!({"to": {"user": "42"}, "data": "x"}));
    for name in [
        "last_event_id",
        "lastEventId",
        "lastEventID",
        "Last-Event-ID",
    ] {
        let path = format!("{NOTIFICATIONS}?{name}={position}&token={token}");
        let mut stream = server.open(&path);
        assert_eq!(stream.begin().position, position);
        assert_eq!(stream.next().unwrap(), event(&id, "x"), "{name}");
    }
}
