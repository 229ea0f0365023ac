//! Publishing: the form of an event, its recipients, and batches.

use std::time::Duration;

use serde_json::{Value, json};

use crate::support::{API_KEY, Answer, Client, Stream, TestServer, is_redis};

fn post(server: &TestServer, event: &Value) -> Answer {
    server.admin("POST", "/v1/events", &event.to_string())
}

/// The data lines of the next frame.
fn data(stream: &mut Stream) -> Vec<String> {
    let frame = stream.next().unwrap();
    frame
        .lines()
        .filter_map(|line| line.strip_prefix("data: ").map(str::to_owned))
        .collect()
}

#[test]
fn each_form_of_a_target_reaches_exactly_its_recipients() {
    let server = TestServer::start();
    let mut one = server.stream_of(&server.token_with("1", None, &["a/b"]));
    let mut two = server.stream_of(&server.token_with("2", None, &["a/c"]));
    let mut three = server.stream("3");
    for (to, reached) in [
        (json!({"user": "1"}), [true, false, false]),
        (json!({"user": 2}), [false, true, false]),
        (
            json!({"users": ["1", 3, "1", "nobody"]}),
            [true, false, true],
        ),
        (json!({"users": []}), [false, false, false]),
        (json!({"topic": "a/b"}), [true, false, false]),
        (json!({"topic": "a"}), [false, false, false]),
        (json!({"all": true}), [true, true, true]),
    ] {
        let id = server.publish(&json!({"to": to, "data": 1}));
        server.publish(&json!({"to": {"all": true}, "data": "after"}));
        for (stream, is_reached) in [&mut one, &mut two, &mut three].into_iter().zip(reached) {
            if is_reached {
                let frame = format!("id: {id}\nevent: message\ndata: 1\n\n");
                assert_eq!(stream.next().unwrap(), frame, "{to}");
            }
            assert_eq!(data(stream), ["after"], "{to}");
        }
    }
}

#[test]
fn an_integer_beyond_64_bits_is_a_user_id_by_its_digits() {
    let server = TestServer::start();
    for digits in [
        "9223372036854775808",
        "18446744073709551615",
        "18446744073709551617",
    ] {
        let mut stream = server.stream(digits);
        let body = format!("{{\"to\": {{\"user\": {digits}}}, \"data\": 1}}");
        let answer = server.admin("POST", "/v1/events", &body);
        assert_eq!(answer.status, 202, "{}", answer.body);
        assert_eq!(data(&mut stream), ["1"]);
    }
}

#[test]
fn a_string_is_sent_unchanged_and_other_json_is_compacted() {
    let server = TestServer::start();
    let mut stream = server.stream("42");
    let mut sent = |json: &str| {
        let body = format!("{{\"to\": {{\"user\": \"42\"}}, \"data\": {json}}}");
        assert_eq!(server.admin("POST", "/v1/events", &body).status, 202);
        data(&mut stream)
    };
    assert_eq!(
        sent(r#""plain \"quoted\" ünï ☃""#),
        ["plain \"quoted\" ünï ☃"]
    );
    assert_eq!(sent(r#""{ \"a\": 1 }""#), ["{ \"a\": 1 }"]);
    assert_eq!(
        sent("{ \"b\" : 1.50,\n\t\"a\" : [ 1, \"x  y\" ] }"),
        [r#"{"b":1.50,"a":[1,"x  y"]}"#]
    );
    assert_eq!(sent("12345678901234567890.10"), ["12345678901234567890.10"]);
    assert_eq!(sent("null"), ["null"]);
    assert_eq!(sent("true"), ["true"]);
    assert_eq!(sent(r#""""#), [""]);
    // Escapes inside other JSON stay escapes, so a line feed cannot leave its string.
    assert_eq!(sent(r#"{"a":"x\ny"}"#), [r#"{"a":"x\ny"}"#]);
}

#[test]
fn every_line_of_a_string_has_its_own_line_of_data() {
    let server = TestServer::start();
    let mut stream = server.stream("42");
    server.publish(&json!({"to": {"user": "42"}, "data": "a\nb\r\nc\rd\n\nevent: e\n"}));
    assert_eq!(data(&mut stream), ["a", "b", "c", "d", "", "event: e", ""]);
}

#[test]
fn an_event_may_have_a_name_that_fits_on_a_line() {
    let server = TestServer::start();
    let mut stream = server.stream("42");
    let longest = "n".repeat(128);
    for name in ["order.paid", "mit Leerzeichen", &longest] {
        server.publish(&json!({"to": {"user": "42"}, "event": name, "data": 1}));
        assert!(
            stream
                .next()
                .unwrap()
                .contains(&format!("\nevent: {name}\n"))
        );
    }
    let longer = "n".repeat(129);
    for name in ["", "a\nb", "a\rb", "a\u{0}", "a\u{85}b", &longer] {
        let answer = post(
            &server,
            &json!({"to": {"all": true}, "event": name, "data": 1}),
        );
        assert_eq!(answer.status, 400, "{name:?}");
        assert_eq!(answer.json()["error"]["code"], "invalid_request");
    }
    assert!(stream.is_silent());
}

#[test]
fn an_invalid_target_or_id_is_refused() {
    let server = TestServer::start();
    for event in [
        json!({"data": 1}),
        json!({"to": {}, "data": 1}),
        json!({"to": {"all": false}, "data": 1}),
        json!({"to": {"user": "1", "all": true}, "data": 1}),
        json!({"to": {"user": ""}, "data": 1}),
        json!({"to": {"user": "a\nb"}, "data": 1}),
        json!({"to": {"user": 1.5}, "data": 1}),
        json!({"to": {"user": null, "all": true}, "data": 1}),
        // The fields in the order of their declaration in the source.
        json!({"to": ["1", null, null, null], "data": 1}),
        json!([{"all": true}, null, 1, null, null]),
        json!({"to": {"users": "1"}, "data": 1}),
        json!({"to": {"topic": "a//b"}, "data": 1}),
        json!({"to": {"topic": "a/*"}, "data": 1}),
        json!({"to": {"all": true}}),
        json!({"to": {"all": true}, "data": 1, "id": ""}),
        json!({"to": {"all": true}, "data": 1, "id": "x".repeat(257)}),
        json!({"to": {"all": true}, "data": 1, "persist": "no"}),
    ] {
        assert_eq!(post(&server, &event).status, 400, "{event}");
    }
    assert_eq!(server.metric("idlewild_history_events"), Some(0.0));
}

#[test]
fn an_event_with_the_same_source_id_is_delivered_once_in_ten_minutes() {
    let server = TestServer::start();
    let mut stream = server.stream("42");
    let event = |n: u32| json!({"to": {"user": "42"}, "data": n, "id": "order-1"});
    let first = server.publish(&event(1));
    assert_ne!(first, "order-1");
    assert_eq!(server.publish(&event(2)), first);
    // In a batch as well, and until shortly before the ten minutes have passed.
    server.advance(Duration::from_secs(599));
    let answer = server.admin("POST", "/v1/events/batch", &format!("{}\n", event(3)));
    assert_eq!(answer.json()["accepted"], 1);
    let other = json!({"to": {"user": "42"}, "data": "other", "id": "order-2"});
    assert_ne!(server.publish(&other), first);
    server.advance(Duration::from_secs(2));
    if is_redis() {
        // Redis forgets the id, by its own clock; src/engine/redis/tests.rs checks when.
        return;
    }
    let again = server.publish(&event(4));
    assert_ne!(again, first);
    let events: Vec<String> = std::iter::from_fn(|| stream.next())
        .filter(|frame| !frame.contains("heartbeat"))
        .take(3)
        .collect();
    assert!(events[0].contains("data: 1\n"), "{events:?}");
    assert!(events[1].contains("data: other\n"), "{events:?}");
    assert!(events[2].contains("data: 4\n"), "{events:?}");
}

#[test]
fn a_source_id_applies_to_its_target_only() {
    let server = TestServer::start();
    let mut streams = ["1", "2", "3"].map(|user| server.stream(user));
    let event = |to: &Value| server.publish(&json!({"to": to, "data": to, "id": "order-1"}));
    let users = ["1", "2", "3"].map(|user| json!({"user": user}));
    let ids: Vec<String> = users.iter().map(event).collect();
    for (stream, to) in streams.iter_mut().zip(&users) {
        assert_eq!(data(stream), [to.to_string()]);
    }
    // The order of the users in a list does not matter.
    let both = event(&json!({"users": ["1", "2"]}));
    assert_eq!(event(&json!({"users": [2, "1", "2"]})), both);
    assert!(!ids.contains(&both));
    let others = [
        json!({"all": true}),
        json!({"topic": "1"}),
        json!({"users": ["1"]}),
    ];
    for to in &others {
        let id = event(to);
        assert!(id != both && !ids.contains(&id), "{to}");
        assert_eq!(event(to), id);
    }
    let again: Vec<String> = users.iter().map(event).collect();
    assert_eq!(again, ids);
}

#[test]
fn a_byte_order_mark_is_skipped() {
    const MARK: &str = "\u{feff}";
    let server = TestServer::start();
    let mut stream = server.stream("42");
    let event = |n: u8| json!({"to": {"user": "42"}, "data": n}).to_string();
    let body = format!("{MARK}{}", event(1));
    assert_eq!(server.admin("POST", "/v1/events", &body).status, 202);
    assert_eq!(data(&mut stream), ["1"]);
    let body = format!("{MARK}{}\n{}\n", event(2), event(3));
    let answer = server.admin("POST", "/v1/events/batch", &body).json();
    assert_eq!(answer, json!({"accepted": 2, "errors": []}));
    assert_eq!(data(&mut stream), ["2"]);
    assert_eq!(data(&mut stream), ["3"]);
    // Only one, and only at the start.
    let body = format!("{MARK}{MARK}{}\n{MARK}{}\n{}", event(4), event(5), event(6));
    let answer = server.admin("POST", "/v1/events/batch", &body).json();
    assert_eq!(answer["accepted"], 1);
    assert_eq!(answer["errors"][0]["line"], 1);
    assert_eq!(answer["errors"][1]["line"], 2);
    let body = format!("{MARK}{}", json!({"session_id": "s"}));
    let answer = server.admin("PUT", "/v1/users/43/session", &body);
    assert_eq!(answer.status, 200, "{}", answer.body);
}

#[test]
fn publishers_cannot_use_reserved_event_names() {
    const OWN: [&str; 6] = [
        "heartbeat",
        "replay_gap",
        "token_expired",
        "evicted",
        "open",
        "error",
    ];
    let server = TestServer::start();
    let mut stream = server.stream("42");
    let event = |name: &str| json!({"to": {"user": "42"}, "event": name, "data": name});
    for name in OWN {
        let answer = post(&server, &event(name));
        assert_eq!(answer.status, 400, "{name}");
        let message = answer.json()["error"]["message"].to_string();
        assert!(message.contains(&format!("`{name}`")), "{message}");
    }
    let names = OWN.into_iter().chain(["opened"]);
    let lines: Vec<String> = names.map(|name| event(name).to_string()).collect();
    let lines = lines.join("\n");
    let answer = server.admin("POST", "/v1/events/batch", &lines).json();
    assert_eq!(answer["accepted"], 1);
    for (n, name) in OWN.into_iter().enumerate() {
        assert_eq!(answer["errors"][n]["line"], n + 1);
        let message = answer["errors"][n]["message"].as_str().unwrap();
        assert!(message.contains(&format!("`{name}`")), "{message}");
    }
    assert_eq!(data(&mut stream), ["opened"]);
}

#[test]
fn an_event_that_is_not_kept_has_no_id_line() {
    let server = TestServer::start();
    let mut stream = server.stream("42");
    let id = server.publish(&json!({"to": {"user": "42"}, "data": 1, "persist": false}));
    assert!(id.contains('-'));
    assert_eq!(stream.next().unwrap(), "event: message\ndata: 1\n\n");
}

#[test]
fn an_event_over_the_limit_is_413() {
    let server = TestServer::with(|config| config.max_publish_bytes = 4 * 1024);
    let mut stream = server.stream("42");
    let event = |data: &str| json!({"to": {"user": "42"}, "data": data});
    server.publish(&event(&"x".repeat(4_096)));
    assert_eq!(data(&mut stream)[0].len(), 4_096);
    // Twice as many bytes in the request, but within the limit after unescaping.
    server.publish(&event(&"\"".repeat(4_096)));
    assert_eq!(data(&mut stream)[0].len(), 4_096);
    for size in [4_097, 20_000, 100_000, 400_000] {
        let answer = post(&server, &event(&"x".repeat(size)));
        assert_eq!(answer.status, 413, "{size}");
        assert_eq!(answer.json()["error"]["code"], "too_large");
    }
    assert!(stream.is_silent());
}

#[test]
fn a_batch_keeps_its_order_and_lists_invalid_lines() {
    let server = TestServer::with(|config| config.max_publish_bytes = 1_024);
    let mut stream = server.stream("42");
    let good = |n: usize| json!({"to": {"user": "42"}, "data": n}).to_string();
    let long = json!({"to": {"user": "42"}, "data": "x".repeat(1_025)}).to_string();
    let longer = json!({"to": {"user": "42"}, "data": "x".repeat(200_000)}).to_string();
    let lines = [
        good(1),
        "nonsense".into(),
        good(2),
        String::new(),
        "   ".into(),
        long,
        longer,
        good(3) + "\r",
        json!({"to": {"user": "42"}, "data": 1, "more": 1}).to_string(),
        good(4), // without a newline at the end
    ];
    let answer = server.admin("POST", "/v1/events/batch", &lines.join("\n"));
    assert_eq!(answer.status, 202);
    let answer = answer.json();
    assert_eq!(answer["accepted"], 4);
    let errors = answer["errors"].as_array().unwrap();
    let wrong: Vec<u64> = errors
        .iter()
        .map(|error| error["line"].as_u64().unwrap())
        .collect();
    assert_eq!(wrong, [2, 6, 7, 9], "{answer}");
    assert!(errors.iter().all(|error| error["message"].is_string()));
    for n in 1..=4 {
        assert_eq!(data(&mut stream), [n.to_string()]);
    }
}

#[test]
fn a_batch_ends_at_ten_thousand_lines() {
    let server = TestServer::start();
    let line = json!({"to": {"user": "nobody"}, "data": 1}).to_string() + "\n";
    let answer = server.admin("POST", "/v1/events/batch", &line.repeat(10_000));
    assert_eq!(answer.json(), json!({"accepted": 10_000, "errors": []}));
    let answer = server
        .admin("POST", "/v1/events/batch", &line.repeat(10_003))
        .json();
    assert_eq!(answer["accepted"], 10_000);
    let wrong: Vec<&Value> = answer["errors"]
        .as_array()
        .unwrap()
        .iter()
        .map(|error| &error["line"])
        .collect();
    assert_eq!(wrong, [10_001, 10_002, 10_003]);
}

#[test]
fn an_empty_batch_accepts_nothing() {
    let server = TestServer::start();
    for body in ["", "\n", "\n\n"] {
        let answer = server.admin("POST", "/v1/events/batch", body).json();
        assert_eq!(answer, json!({"accepted": 0, "errors": []}), "{body:?}");
    }
}

#[test]
fn a_batch_that_is_written_line_by_line_is_published_line_by_line() {
    let server = TestServer::start();
    let mut stream = server.stream("42");
    let mut publisher = Client::connect(server.admin);
    publisher.send(format!(
        "POST /v1/events/batch HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\
         Authorization: Bearer {API_KEY}\r\nTransfer-Encoding: chunked\r\n\r\n"
    ));
    for n in 0..3 {
        let line = json!({"to": {"user": "42"}, "data": n}).to_string() + "\n";
        publisher.send(format!("{:x}\r\n{line}\r\n", line.len()));
        // Before the batch has ended.
        assert!(stream.next().unwrap().contains(&format!("data: {n}\n")));
    }
    publisher.send("0\r\n\r\n");
    let answer = String::from_utf8(publisher.read_to_end()).unwrap();
    assert!(
        answer.ends_with(r#"{"accepted":3,"errors":[]}"#),
        "{answer}"
    );
}
