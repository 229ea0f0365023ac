//! The dashboard's page and the live stream that it reads.

use std::time::Duration;

use serde_json::{Value, json};

use crate::support::description::Description;
use crate::support::page::assert_self_contained;
use crate::support::{
    API_KEY, Answer, Client, NOTIFICATIONS, Stream, TestServer, eventually, request,
};

/// Highest number of live streams.
const MAX_STREAMS: usize = 16;
const SECOND: Duration = Duration::from_secs(1);

/// An event of the live stream: its name and its data.
type Event = (String, Value);

fn ask_for_live(client: &mut Client, key: &str) {
    client.send(format!(
        "GET /v1/stats/live HTTP/1.1\r\nHost: test\r\nAuthorization: Bearer {key}\r\n\r\n"
    ));
}

fn open_with(server: &TestServer, key: &str) -> Stream {
    let mut client = Client::connect(server.admin);
    ask_for_live(&mut client, key);
    client.stream()
}

/// Opens a live stream and reads its first events.
#[track_caller]
fn live(server: &TestServer) -> Stream {
    let mut stream = open_with(server, API_KEY);
    assert_eq!(stream.status, 200, "{}", stream.head);
    let names = [(); 3].map(|()| next(&mut stream).unwrap().0);
    assert_eq!(names, ["history", "refusals", "stats"]);
    stream
}

fn next(stream: &mut Stream) -> Option<Event> {
    let frame = stream.next()?;
    let rest = frame.strip_prefix("event: ").unwrap();
    let (name, data) = rest.split_once("\ndata: ").unwrap();
    Some((name.to_owned(), serde_json::from_str(data).unwrap()))
}

/// The next event with this name.
#[track_caller]
fn next_named(stream: &mut Stream, name: &str) -> Value {
    loop {
        let (named, data) = next(stream).unwrap_or_else(|| panic!("ended before {name}"));
        if named == name {
            return data;
        }
    }
}

fn refusals(server: &TestServer) -> Vec<Value> {
    let answer = server.admin("GET", "/v1/refusals", "");
    assert_eq!(answer.status, 200);
    Description::of(server).covers("Refusals", &answer.json());
    answer.json()["refusals"].as_array().unwrap().clone()
}

#[test]
fn the_dashboard_loads_nothing_else_and_needs_no_key() {
    let server = TestServer::start();
    let page = request(server.admin, "GET", "/", &[], "");
    assert_self_contained(&page);
    let head = request(server.admin, "HEAD", "/?key=x", &[], "");
    assert_eq!((head.status, head.body.as_str()), (200, ""));
    assert_eq!(
        head.header("content-length"),
        Some(page.body.len().to_string().as_str())
    );
}

#[test]
fn a_live_stream_begins_with_the_current_state_and_continues_every_second() {
    let server = TestServer::start();
    let described = Description::of(&server);
    let mut stream = open_with(&server, API_KEY);
    assert_eq!(stream.header("content-type"), Some("text/event-stream"));
    assert_eq!(
        stream.header("cache-control"),
        Some("no-cache, no-store, no-transform")
    );
    for (name, schema) in [
        ("history", "History"),
        ("refusals", "Refusals"),
        ("stats", "Stats"),
    ] {
        let (named, data) = next(&mut stream).unwrap();
        assert_eq!(named, name);
        described.covers(schema, &data);
    }
    let _held = server.stream("42");
    for second in 1..=12 {
        server.advance(SECOND);
        let stats = next_named(&mut stream, "stats");
        described.covers("Stats", &stats);
        assert_eq!(stats["uptime_s"], second);
        assert_eq!(stats["connections"], 1);
        // The first second has a point, and then every fifth.
        if second % 5 == 1 {
            let (name, point) = next(&mut stream).unwrap();
            assert_eq!(
                (name.as_str(), &point["connections"]),
                ("point", &stats["connections"])
            );
            described.covers("Point", &point);
        }
    }
}

#[test]
fn the_history_covers_fifteen_minutes() {
    let server = TestServer::start();
    let mut stream = live(&server);
    let mut user = server.stream("42");
    for n in 0..200 {
        if n == 150 {
            server.publish(&serde_json::json!({"to": {"user": "42"}, "data": 1}));
            user.next().unwrap();
            server.wait_for_metric("idlewild_delivery_seconds_count", 1.0);
        }
        server.advance(Duration::from_secs(5));
        next_named(&mut stream, "point");
        user.respond();
    }
    let mut later = open_with(&server, API_KEY);
    let history = next_named(&mut later, "history");
    assert_eq!(history["interval_s"], 5);
    let points = history["points"].as_array().unwrap();
    assert_eq!(points.len(), 181);
    let uptimes = [&points[0], &points[180]].map(|point| point["uptime_ms"].as_u64().unwrap());
    assert_eq!(uptimes, [100_000, 1_000_000]);
    let published = |at: usize| (&points[at]["published"], &points[at]["delivery"][0]);
    assert_eq!(published(130), (&0.into(), &0.into()));
    assert_eq!(published(131), (&1.into(), &1.into()));
    assert!(points[180]["resident_bytes"].as_u64().unwrap() > 1_000_000);
    assert!(points[180]["cpu_seconds"].as_f64().unwrap() > 0.0);
    assert_eq!(points[180]["at"], "2023-11-14T22:30:00.000Z");
}

#[test]
fn a_seventeenth_live_stream_is_refused_until_one_closes() {
    let server = TestServer::start();
    let mut streams: Vec<Stream> = (0..MAX_STREAMS).map(|_| live(&server)).collect();
    let mut refused = open_with(&server, API_KEY);
    assert_eq!(refused.status, 503);
    assert_eq!(refused.header("retry-after"), Some("1"));
    let body: Value = serde_json::from_str(&refused.body()).unwrap();
    assert_eq!(body["error"]["code"], "unavailable");
    streams.pop();
    crate::support::eventually("there is room again", || {
        open_with(&server, API_KEY).status == 200
    });
}

#[test]
fn a_live_stream_ends_with_its_key() {
    let key = idlewild::config::ApiKey {
        name: "django".to_owned(),
        hash: idlewild::config::KeyHash::of("revoked soon"),
    };
    let server = TestServer::with(|config| config.admin.api_keys = vec![key]);
    let mut stays = live(&server);
    let mut ends = open_with(&server, "revoked soon");
    assert_eq!(ends.status, 200);
    let mut config = server.config.clone();
    config.admin.api_keys.clear();
    server.server.as_ref().unwrap().reload(&config).unwrap();
    server.advance(SECOND);
    // Reads the first events, and then the end.
    assert_eq!(ends.rest().len(), 3);
    next_named(&mut stays, "stats");
    assert_eq!(open_with(&server, "revoked soon").status, 401);
}

#[test]
fn stats_have_recent_rates_and_totals() {
    let server = TestServer::start();
    let mut live = live(&server);
    let mut stream = server.stream("42");
    let recent = || {
        let stats = server.admin("GET", "/v1/stats", "").json();
        stats["delivery"]["recent_p99_ms"].clone()
    };
    assert_eq!(recent(), Value::Null);
    // Sampled once per second, before the dashboards get their numbers, and kept for ten seconds.
    let mut second = || {
        server.advance(SECOND);
        next_named(&mut live, "stats");
    };
    second();
    server.publish(&json!({"to": {"user": "42"}, "data": 1}));
    stream.next().unwrap();
    server.wait_for_metric("idlewild_delivery_seconds_count", 1.0);
    assert_eq!(recent(), 1);
    eventually("it is no longer recent", || {
        second();
        recent() == Value::Null
    });
}

#[test]
fn a_live_stream_reports_the_drain_and_ends_with_it() {
    let mut server = TestServer::with(|config| {
        // Two streams end within the first second, and two are left.
        config.shards = 1;
        config.drain_rate = 1;
    });
    let mut stream = live(&server);
    let _held: Vec<Stream> = (0..4).map(|_| server.stream("42")).collect();
    let drain = server.drain();
    eventually("the drain has begun", || {
        server.admin("GET", "/readyz", "").status == 503
    });
    // Not a second more: the drain must not be over before the dashboard has its next numbers.
    server.advance(SECOND);
    loop {
        let (_, data) = next(&mut stream).expect("it ended without a word about the drain");
        if data["reason"] == "draining" && data["ready"] == false {
            break;
        }
    }
    server.advance(SECOND);
    while next(&mut stream).is_some() {
        server.advance(SECOND);
    }
    assert!(stream.is_complete);
    while !drain.is_finished() {
        server.advance(SECOND);
        std::thread::yield_now();
    }
    drain.join().unwrap();
}

#[test]
fn a_stalled_subscriber_is_disconnected_and_delays_no_other() {
    let server = TestServer::start();
    let mut reads = live(&server);
    let mut stalls = Client::connect(server.admin);
    ask_for_live(&mut stalls, API_KEY);
    // About 3 KB per second: after ten minutes, 2 MB do not fit into the buffers.
    for _ in 0..600 {
        server.advance(SECOND);
        next_named(&mut reads, "stats");
    }
    let received = stalls.read_to_end();
    assert!(!received.ends_with(b"0\r\n\r\n"), "ended, not cut off");
    assert!(received.len() < 1_000_000, "{} bytes", received.len());
}

#[test]
fn refusals_are_listed_with_user_and_reason() {
    let server = TestServer::with(|config| config.max_connections_per_user = 1);
    assert!(refusals(&server).is_empty());
    let token = server.token_with("42", None, &["news"]);
    let _held = server.stream_of(&token);
    assert_eq!(
        server
            .get(&format!("{NOTIFICATIONS}?token=nonsense"))
            .status,
        401
    );
    server.advance(SECOND);
    let path = format!("{NOTIFICATIONS}?token={token}");
    assert_eq!(server.get(&path).status, 429);
    server.advance(SECOND);
    let forwarded = [("X-Forwarded-For", "203.0.113.9")];
    let asked = request(
        server.public,
        "GET",
        &format!("{path}&topic=other"),
        &forwarded,
        "",
    );
    assert_eq!(asked.status, 403);
    server.advance(SECOND);
    // The earlier streams count until they are closed.
    server.wait_for_metric("idlewild_handshakes_in_flight", 0.0);
    let mut silent = server.connect();
    silent.send("GET");
    server.wait_for_metric("idlewild_handshakes_in_flight", 1.0);
    server.advance(server.config.handshake_timeout);
    silent.read_to_end();
    server.wait_for_metric("idlewild_refused_total{reason=\"handshake\"}", 1.0);
    let listed: Vec<String> = refusals(&server)
        .iter()
        .map(|one| {
            let part = |name: &str| one[name].to_string().replace('"', "");
            ["at", "reason", "text", "status", "remote", "user"]
                .map(part)
                .join(" | ")
        })
        .collect();
    assert_eq!(
        listed,
        [
            "2023-11-14T22:13:33.000Z | handshake | No request in time | null | 127.0.0.1 | null",
            "2023-11-14T22:13:22.000Z | topic | Topic not allowed | 403 | 203.0.113.9 | 42",
            "2023-11-14T22:13:21.000Z | limit | Too many connections | 429 | 127.0.0.1 | 42",
            "2023-11-14T22:13:20.000Z | auth | Authentication required | 401 | 127.0.0.1 | null",
        ]
    );
}

#[test]
fn further_refusals_in_a_second_are_only_counted() {
    let server = TestServer::start();
    for _ in 0..10 {
        assert_eq!(server.get(NOTIFICATIONS).status, 401);
    }
    let more: Vec<Value> = refusals(&server)
        .iter()
        .map(|one| one["more"].clone())
        .collect();
    assert_eq!(more, [6, 0, 0, 0]);
}

#[test]
fn a_refused_ticket_request_is_listed() {
    let server = TestServer::start();
    let path = format!("{}/sse/ticket/", crate::support::BASE);
    let refused: Answer = request(server.public, "POST", &path, &[], "");
    assert_eq!(refused.status, 401);
    assert_eq!(refusals(&server)[0]["reason"], "auth");
}

#[test]
fn a_live_stream_sends_new_refusals_once() {
    let server = TestServer::start();
    let mut stream = live(&server);
    // The refusals of the second before.
    let mut before = || {
        server.advance(SECOND);
        let events = std::iter::from_fn(|| next(&mut stream));
        let events: Vec<Event> = events.take_while(|(name, _)| name != "stats").collect();
        events
    };
    assert_eq!(before(), []);
    assert_eq!(before()[0].0, "point");
    assert_eq!(server.get(NOTIFICATIONS).status, 401);
    assert_eq!(before(), []);
    let told = before();
    assert_eq!((told.len(), told[0].0.as_str()), (1, "refusals"));
    assert_eq!(told[0].1["refusals"][0]["reason"], "auth");
    assert_eq!(before(), []);
}
