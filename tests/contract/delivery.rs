//! Delivery: recipients, order and framing.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use idlewild::event::EventId;
use serde_json::{Value, json};

use crate::support::{Client, NOTIFICATIONS, Probe, Stream, TestServer, heartbeat};

/// The id and the data of an event's frame.
#[track_caller]
fn parse(frame: &str) -> (EventId, String) {
    let field = |name: &str| frame.lines().find_map(|line| line.strip_prefix(name));
    let id = field("id: ").unwrap_or_else(|| panic!("no id in {frame:?}"));
    (id.parse().unwrap(), field("data: ").unwrap().to_owned())
}

fn batch(server: &TestServer, events: &[Value]) {
    let lines: Vec<String> = events.iter().map(Value::to_string).collect();
    let answer = server.admin("POST", "/v1/events/batch", &lines.join("\n"));
    let expected = json!({"accepted": events.len(), "errors": []});
    assert_eq!(answer.json(), expected);
}

/// The data of the next `count` events, whose ids have to rise.
fn take(stream: &mut Stream, count: usize) -> Vec<String> {
    let mut last = EventId::default();
    (0..count)
        .map(|_| {
            let (id, data) = parse(&stream.next().expect("another event"));
            assert!(id > last, "{id} after {last}");
            last = id;
            data
        })
        .collect()
}

#[test]
fn each_client_gets_its_events_in_the_order_of_publishing() {
    const CLIENTS: usize = 200;
    const EVENTS: usize = 5_000;
    let server = TestServer::start();
    let topic = |client: usize| format!("t/{}", client % 10);
    let mut streams: Vec<Stream> = (0..CLIENTS)
        .map(|n| server.stream_of(&server.token_with(&format!("u{n}"), None, &[&topic(n)])))
        .collect();
    let mut random = fastrand::Rng::with_seed(11);
    let mut expected: Vec<Vec<String>> = vec![Vec::new(); CLIENTS];
    let events: Vec<Value> = (0..EVENTS)
        .map(|event| {
            let client = random.usize(0..CLIENTS);
            let (to, reached): (Value, Vec<usize>) = match random.u8(0..20) {
                0 => (json!({"all": true}), (0..CLIENTS).collect()),
                1 | 2 => {
                    let group = (0..CLIENTS).filter(|n| n % 10 == client % 10).collect();
                    (json!({"topic": topic(client)}), group)
                }
                3 => {
                    let other = (client + 1) % CLIENTS;
                    let users = [format!("u{client}"), format!("u{other}")];
                    (json!({"users": users}), vec![client, other])
                }
                _ => (json!({"user": format!("u{client}")}), vec![client]),
            };
            for client in reached {
                expected[client].push(event.to_string());
            }
            json!({"to": to, "data": event})
        })
        .collect();
    batch(&server, &events);
    for (client, (stream, expected)) in streams.iter_mut().zip(&expected).enumerate() {
        assert_eq!(&take(stream, expected.len()), expected, "client {client}");
    }
    let mut probe = Probe::new(&server);
    probe.flush(&server);
    assert!(streams.iter_mut().all(Stream::is_silent));
    let total: usize = expected.iter().map(Vec::len).sum();
    let is = |name: &str, value: usize| {
        server.wait_for_metric(name, f64::from(u32::try_from(value).unwrap()));
    };
    is("idlewild_delivered_total", total + probe.len());
    is("idlewild_delivery_seconds_count", EVENTS + 1);
}

#[test]
fn a_client_that_joins_during_a_batch_gets_only_later_events() {
    let server = TestServer::start();
    let join =
        |user: usize| server.stream_of(&server.token_with(&format!("u{user}"), None, &["t"]));
    // Enough clients that the first batch is still being delivered when the late ones join. Broadcasts and
    // events for the topic alternate, so they are not combined.
    let mut early: Vec<Stream> = (0..200).map(join).collect();
    let events = |from: usize| -> Vec<Value> {
        (from..from + 100)
            .map(|n| match n % 2 {
                0 => json!({"to": {"all": true}, "data": n}),
                _ => json!({"to": {"topic": "t"}, "data": n}),
            })
            .collect()
    };
    batch(&server, &events(0));
    let mut late: Vec<Stream> = (200..208).map(join).collect();
    batch(&server, &events(100));
    let numbers =
        |range: std::ops::Range<usize>| -> Vec<String> { range.map(|n| n.to_string()).collect() };
    for stream in &mut late {
        assert_eq!(take(stream, 100), numbers(100..200));
    }
    for stream in &mut early {
        assert_eq!(take(stream, 200), numbers(0..200));
    }
}

#[test]
fn clients_that_join_a_busy_server_miss_and_repeat_nothing() {
    const JOINS: usize = 40;
    let server = TestServer::with(|config| {
        // No client reads before all have joined. So the backlog is large enough for all events, and the kernel, which
        // has a clock of its own, does not end connections that take nothing for a while.
        config.max_backlog_bytes = 64 * 1024 * 1024;
        config.stall_timeout = Duration::from_secs(24 * 3_600);
    });
    let has_joined = AtomicBool::new(false);
    let mut streams: Vec<(usize, Stream)> = Vec::new();
    let mut published = 0;
    std::thread::scope(|scope| {
        let joining = scope.spawn(|| {
            let streams: Vec<Stream> = (0..JOINS)
                .map(|n| server.stream(&format!("u{n}")))
                .collect();
            has_joined.store(true, Ordering::Relaxed);
            streams
        });
        while !has_joined.load(Ordering::Relaxed) {
            let events: Vec<Value> = (published..published + 20)
                .map(|n| json!({"to": {"all": true}, "data": n}))
                .collect();
            batch(&server, &events);
            published += events.len();
        }
        streams.extend(joining.join().unwrap().into_iter().enumerate());
    });
    server.publish(&json!({"to": {"all": true}, "data": published}));
    for (client, stream) in &mut streams {
        let mut numbers = Vec::new();
        while numbers.last() != Some(&published) {
            numbers.push(parse(&stream.next().unwrap()).1.parse::<usize>().unwrap());
        }
        let first = numbers[0];
        let run: Vec<usize> = (first..=published).collect();
        assert_eq!(numbers, run, "client {client}");
    }
}

#[test]
fn events_that_are_sent_together_have_a_chunk_each() {
    let server = TestServer::start().over_sse();
    let mut client = server.connect();
    let token = server.token("42");
    client.send(format!(
        "GET {NOTIFICATIONS}?token={token} HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n"
    ));
    server.wait_for_metric(&server.series("idlewild_connections"), 1.0);
    let data = |n: usize| format!("{n} {}", "ü☃\n".repeat(n % 40));
    let events: Vec<Value> = (0..300)
        .map(|n| json!({"to": {"user": "42"}, "data": data(n)}))
        .collect();
    batch(&server, &events);
    // This command is in the same queue, after the events.
    server.admin("DELETE", "/v1/users/42/connections", "");
    let bytes = client.read_to_end();
    let text = String::from_utf8(bytes).unwrap();
    let (_, mut body) = text.split_once("\r\n\r\n").unwrap();
    let mut chunks = Vec::new();
    loop {
        let (size, rest) = body.split_once("\r\n").unwrap();
        let size = usize::from_str_radix(size, 16).unwrap();
        let chunk = &rest[..size];
        body = rest[size..].strip_prefix("\r\n").unwrap();
        if size == 0 {
            break;
        }
        assert_eq!(
            chunk.find("\n\n"),
            Some(size - 2),
            "one whole frame: {chunk:?}"
        );
        chunks.push(chunk);
    }
    assert_eq!(body, "");
    assert_eq!(chunks.len(), 1 + events.len());
    for (n, chunk) in chunks[1..].iter().enumerate() {
        let lines: Vec<&str> = chunk
            .lines()
            .filter_map(|line| line.strip_prefix("data: "))
            .collect();
        assert_eq!(lines.join("\n"), data(n));
    }
}

#[test]
fn a_topic_reaches_clients_that_subscribed_and_are_allowed_to() {
    let server = TestServer::start();
    let token = server.token_with("42", None, &["orders/*", "shop/**", "news"]);
    let with = |query: &str| {
        let mut stream = server.open(&format!("{NOTIFICATIONS}?token={token}{query}"));
        assert_eq!(stream.status, 200, "{query}");
        stream.next().unwrap();
        stream
    };
    let mut streams = HashMap::from([
        ("", with("")),
        ("one", with("&topic=orders/1")),
        (
            "two",
            with("&topic=orders/1&topic=shop/eu/7/paid&topic=news"),
        ),
        ("rest", with("&topic=shop")),
    ]);
    // Events for the user arrive regardless of topics.
    for (topic, reached) in [
        ("news", vec!["", "two"]),
        ("orders/1", vec!["one", "two"]),
        ("orders/2", vec![]),
        ("orders", vec![]),
        ("shop/eu/7/paid", vec!["two"]),
        ("shop/eu/7", vec![]),
        ("shop", vec!["rest"]),
    ] {
        server.publish(&json!({"to": {"topic": topic}, "data": topic}));
        server.publish(&json!({"to": {"user": "42"}, "data": "after"}));
        for (name, stream) in &mut streams {
            if reached.contains(name) {
                assert_eq!(parse(&stream.next().unwrap()).1, topic, "{name}");
            }
            assert_eq!(parse(&stream.next().unwrap()).1, "after", "{name}, {topic}");
        }
    }
    for topic in ["orders/1/2", "orders", "secrets", "new"] {
        let mut refused = server.open(&format!("{NOTIFICATIONS}?token={token}&topic={topic}"));
        assert_eq!(refused.status, 403, "{topic}");
        assert!(refused.next().unwrap().contains("Topic not allowed"));
    }
}

#[test]
fn a_topic_without_subscribers_reaches_nobody() {
    let server = TestServer::start();
    let token = server.token_with("42", None, &["news"]);
    drop(server.stream_of(&token));
    server.wait_for_metric(&server.series("idlewild_connections"), 0.0);
    // Another client, without the topic, gets the slot that became free.
    let mut other = server.stream("43");
    server.publish(&json!({"to": {"topic": "news"}, "data": 1}));
    server.publish(&json!({"to": {"user": "43"}, "data": 2}));
    assert_eq!(parse(&other.next().unwrap()).1, "2");
}

#[test]
fn an_http_1_0_client_gets_raw_frames_until_the_close() {
    let server = TestServer::start().over_sse();
    let token = server.token("42");
    let mut client = Client::connect(server.public);
    client.send(format!(
        "GET {NOTIFICATIONS}?token={token} HTTP/1.0\r\n\r\n"
    ));
    let mut stream = client.stream();
    assert!(stream.head.starts_with("HTTP/1.0 200"), "{}", stream.head);
    assert_eq!(stream.header("connection"), Some("close"));
    assert_eq!(stream.header("transfer-encoding"), None);
    stream.begin();
    let events: Vec<Value> = (0..100)
        .map(|n| json!({"to": {"all": true}, "data": format!("{n}\nline")}))
        .collect();
    batch(&server, &events);
    let mut last = String::new();
    for n in 0..100 {
        let frame = stream.next().unwrap();
        assert!(
            frame.ends_with(&format!("\nevent: message\ndata: {n}\ndata: line\n\n")),
            "{frame}"
        );
        let (id, _) = frame[4..].split_once('\n').unwrap();
        id.clone_into(&mut last);
    }
    server.advance(Duration::from_secs(31));
    assert_eq!(stream.next().unwrap(), heartbeat(&last));
    server.admin("DELETE", "/v1/users/42/connections", "");
    assert!(stream.rest().is_empty());
}

#[test]
fn a_stream_has_up_to_32_topics_of_up_to_256_bytes() {
    let server = TestServer::start();
    let token = server.token_with("42", None, &["**"]);
    let ask = |topics: &[String]| {
        let query = topics.join("&topic=");
        server.open(&format!("{NOTIFICATIONS}?token={token}&topic={query}"))
    };
    let numbered = |count: usize| -> Vec<String> { (0..count).map(|n| format!("t{n}")).collect() };
    let mut refused = ask(&numbered(33));
    assert_eq!(refused.status, 400);
    assert!(refused.next().unwrap().contains("At most 32 topics"));
    assert_eq!(ask(&["x".repeat(257)]).status, 400);
    let mut topics = numbered(31);
    topics.push("x".repeat(256));
    // A topic that is named twice counts once.
    topics.push("t0".to_owned());
    let mut stream = ask(&topics);
    assert_eq!(stream.status, 200, "{}", stream.head);
    stream.next().unwrap();
    for topic in [&topics[0], &topics[30], &topics[31]] {
        server.publish(&json!({"to": {"topic": topic}, "data": 1}));
        parse(&stream.next().unwrap());
    }
    let presence = server.admin("GET", "/v1/users/42", "").json();
    let named = presence["connections"][0]["topics"].as_array().unwrap();
    assert_eq!(named.len(), 32);
    // Without topics in the request, all topics that the token names count, and 32 is the limit as well.
    let many = numbered(33);
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    let with = |topics: &[&str]| {
        let token = server.token_with("43", None, topics);
        server
            .open(&format!("{NOTIFICATIONS}?token={token}"))
            .status
    };
    assert_eq!((with(&many), with(&many[1..])), (400, 200));
}
