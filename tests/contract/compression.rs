//! Streams in gzip, for clients that ask for it. Most of the other tests run over compressed streams with
//! `IDLEWILD_CONTRACT=gzip`.

use std::time::Duration;

use serde_json::json;

use crate::support::{
    Address, BASE, NOTIFICATIONS, Stream, TestServer, heartbeat, request, varied_text,
};

/// The members of a list that compress well.
fn list(bytes: usize) -> String {
    let members: Vec<String> = (0..bytes / 32)
        .map(|n| format!("{{\"order\": {n:>6}, \"paid\": true}}"))
        .collect();
    members.join(",")
}

fn server() -> TestServer {
    server_with(|_| {})
}

fn server_with(change: impl FnOnce(&mut idlewild::config::Config)) -> TestServer {
    let server = TestServer::with(|config| {
        config.compression.enabled = true;
        config.compression.min_bytes = 512;
        change(config);
    });
    compressed(server.over_sse())
}

/// The same server, for clients that ask for gzip whatever the variant.
fn compressed(mut server: TestServer) -> TestServer {
    server.public = Address {
        is_gzip: true,
        ..server.public
    };
    server
}

#[track_caller]
fn assert_compressed(stream: &Stream) {
    assert_eq!(stream.header("content-encoding"), Some("gzip"));
}

/// The values of a header field, in order.
fn values<'a>(head: &'a str, name: &str) -> Vec<&'a str> {
    let fields = head.lines().filter_map(|line| line.split_once(": "));
    fields
        .filter(|(field, _)| field.eq_ignore_ascii_case(name))
        .map(|(_, value)| value)
        .collect()
}

#[test]
fn a_client_that_asks_gets_gzip_and_another_does_not() {
    let server = server();
    let path = format!("{NOTIFICATIONS}?token={}", server.token("42"));
    for (lines, is_gzip) in [
        ("Accept-Encoding: gzip, deflate, br\r\n", true),
        (
            "Accept-Encoding: br\r\nAccept-Encoding: gzip;q=0.5\r\n",
            true,
        ),
        ("Accept-Encoding: gzip;q=0, br\r\n", false),
        ("Accept-Encoding: identity\r\n", false),
        ("", false),
    ] {
        let mut client = server.connect();
        client.send(format!("GET {path} HTTP/1.1\r\nHost: test\r\n{lines}\r\n"));
        let mut stream = client.stream();
        let encoding = stream.header("content-encoding");
        assert_eq!(encoding, is_gzip.then_some("gzip"), "{lines}");
        assert_eq!(stream.header("vary"), Some("Accept-Encoding"));
        assert_eq!(stream.header("transfer-encoding"), Some("chunked"));
        stream.begin();
    }
}

#[test]
fn head_answers_with_the_head_of_get() {
    let server = server_with(|config| {
        config.cors.origins = vec!["https://app.example".parse().unwrap()];
    });
    for path in [
        format!("{NOTIFICATIONS}?token={}", server.token("42")),
        format!("{BASE}/sse/test/"),
    ] {
        let accepts = ("Accept-Encoding", "gzip");
        let head = request(server.public, "HEAD", &path, &[accepts], "").head;
        let get = server.open(&path).head;
        for name in ["content-encoding", "vary"] {
            let (mut head, mut get) = (values(&head, name), values(&get, name));
            head.sort_unstable();
            get.sort_unstable();
            assert_eq!(head, get, "{name} of {path}");
        }
        assert_eq!(values(&head, "content-encoding"), ["gzip"]);
        assert_eq!(values(&head, "vary").len(), 2);
    }
}

#[test]
fn nothing_is_compressed_unless_the_configuration_says_so() {
    let server =
        compressed(TestServer::with(|config| config.compression.enabled = false).over_sse());
    let mut stream = server.stream("42");
    assert_eq!(stream.header("content-encoding"), None);
    assert_eq!(stream.header("vary"), None);
    server.publish(&json!({"to": {"user": "42"}, "data": "plain"}));
    assert!(stream.next().unwrap().contains("data: plain\n"));
}

#[test]
fn http_1_0_and_websocket_are_not_compressed() {
    let server = server();
    let token = server.token("42");
    let mut client = server.connect();
    client.send(format!(
        "GET {NOTIFICATIONS}?token={token} HTTP/1.0\r\nAccept-Encoding: gzip\r\n\r\n"
    ));
    let mut raw = client.stream();
    assert_eq!(raw.header("content-encoding"), None);
    raw.begin();
    let address = Address {
        is_websocket: true,
        ..server.public
    };
    let mut client = crate::support::Client::connect(address);
    client.get(
        &format!("{NOTIFICATIONS}?token={token}"),
        "Accept-Encoding: gzip\r\nSec-WebSocket-Extensions: permessage-deflate\r\n",
    );
    let mut websocket = client.stream();
    assert_eq!(websocket.header("content-encoding"), None);
    assert_eq!(websocket.header("sec-websocket-extensions"), None);
    websocket.begin();
    let data = list(2_000);
    let id = server.publish(&json!({"to": {"all": true}, "data": data}));
    let frame = format!("id: {id}\nevent: message\ndata: {data}\n\n");
    assert_eq!(raw.next().as_ref(), Some(&frame));
    assert_eq!(websocket.next(), Some(frame));
}

/// The bytes of a response as they arrive, up to the first that end with `end`.
fn raw_until(stream: &mut crate::support::Client, end: &[u8]) -> Vec<u8> {
    use std::io::Read;
    let mut bytes = Vec::new();
    let mut byte = [0];
    while !bytes.ends_with(end) {
        stream.socket.read_exact(&mut byte).unwrap();
        bytes.push(byte[0]);
    }
    bytes
}

#[test]
fn heartbeats_and_small_events_are_stored_and_large_ones_smaller() {
    use std::io::Read;
    let server = server();
    let mut client = server.connect();
    let path = format!("{NOTIFICATIONS}?token={}", server.token("42"));
    client.get(&path, "");
    raw_until(&mut client, b"\r\n\r\n");
    // The header is a chunk of its own.
    assert_eq!(raw_until(&mut client, b"\r\n"), b"a\r\n");
    let mut header = [0; 12];
    client.socket.read_exact(&mut header).unwrap();
    assert_eq!(header, *b"\x1f\x8b\x08\0\0\0\0\0\0\xff\r\n");
    // What is stored ends with an empty block, as a flush does: some decoders keep everything until they meet one.
    raw_until(&mut client, b"data: {}\n\n\0\0\0\xff\xff\r\n");
    let data = list(400);
    server.publish(&json!({"to": {"user": "42"}, "data": data}));
    let mut end = format!("\nevent: message\ndata: {data}\n\n").into_bytes();
    end.extend_from_slice(b"\0\0\0\xff\xff\r\n");
    let small = raw_until(&mut client, &end);
    assert!(small.len() > data.len());
    let data = list(4_096);
    server.publish(&json!({"to": {"user": "42"}, "data": data}));
    let large = raw_until(&mut client, b"\0\0\xff\xff\r\n");
    assert!(large.len() < data.len() / 3, "{} bytes", large.len());
}

#[test]
fn each_event_can_be_read_when_it_arrives_and_heartbeats_too() {
    let server = server();
    let mut stream = server.stream("42");
    assert_compressed(&stream);
    for bytes in [10, 500, 600, 5_000, 60_000] {
        for data in [list(bytes), varied_text(bytes)] {
            for to in [json!({"user": "42"}), json!({"all": true})] {
                let id = server.publish(&json!({"to": to, "data": data}));
                let frame = format!("id: {id}\nevent: message\ndata: {data}\n\n");
                assert!(stream.next() == Some(frame), "{bytes} bytes are broken");
            }
        }
    }
    let id = server.publish(&json!({"to": {"user": "42"}, "data": "last"}));
    assert!(stream.next().unwrap().contains("last"));
    server.advance(Duration::from_secs(31));
    assert_eq!(stream.next(), Some(heartbeat(&id)));
}

#[test]
fn plain_and_compressed_clients_get_the_same_broadcasts() {
    let mut server = server();
    let gzip = server.public;
    let mut streams = Vec::new();
    for n in 0..6 {
        server.public.is_gzip = n % 2 == 0;
        streams.push(server.stream(&format!("u{n}")));
    }
    server.public = gzip;
    let lines: Vec<String> = (0..40)
        .map(|n| {
            let data = format!("{n} {}", list(n * 50));
            json!({"to": {"all": true}, "data": data}).to_string()
        })
        .collect();
    let answer = server.admin("POST", "/v1/events/batch", &lines.join("\n"));
    assert_eq!(answer.json()["accepted"], 40);
    for stream in &mut streams {
        for n in 0..40 {
            let frame = stream.next().unwrap();
            assert!(frame.ends_with(&format!("data: {n} {}\n\n", list(n * 50))));
        }
    }
    for n in 0..6 {
        server.admin("POST", &format!("/v1/users/u{n}/logout"), "");
    }
    // The end checks each stream's trailer.
    for stream in &mut streams {
        assert!(stream.rest()[0].contains("FORCE_LOGOUT"));
    }
}

#[test]
fn a_replay_is_compressed_and_ends_in_the_live_stream() {
    let server = server();
    let token = server.token("42");
    let mut first = server.stream_of(&token);
    let position = first.position.clone();
    let mut expected = Vec::new();
    for n in 0..100 {
        let data = format!("{n} {}", list(n * 30));
        let to = if n % 2 == 0 {
            json!({"user": "42"})
        } else {
            json!({"all": true})
        };
        let id = server.publish(&json!({"to": to, "data": data}));
        expected.push(format!("id: {id}\nevent: message\ndata: {data}\n\n"));
    }
    let mut again = server.reconnect(&token, &position);
    let mut unknown = server.reconnect(&token, "1-1");
    assert!(unknown.next().unwrap().contains("event: replay_gap\n"));
    for stream in [&mut first, &mut again, &mut unknown] {
        assert_compressed(stream);
        for frame in &expected {
            assert_eq!(stream.next().as_ref(), Some(frame));
        }
    }
    server.publish(&json!({"to": {"user": "42"}, "data": "live"}));
    server.admin("POST", "/v1/users/42/logout", "");
    for mut stream in [first, again, unknown] {
        assert!(stream.next().unwrap().contains("live"));
        assert!(stream.rest()[0].contains("FORCE_LOGOUT"));
    }
}

#[test]
fn a_slow_reader_gets_its_backlog_and_a_valid_end() {
    for with_tls in [false, true] {
        let change = |config: &mut idlewild::config::Config| {
            config.compression.enabled = true;
            config.max_backlog_bytes = 1 << 20;
        };
        let server = if with_tls {
            TestServer::with_tls(change)
        } else {
            TestServer::with(change)
        };
        let server = compressed(server.over_sse());
        let path = format!("{NOTIFICATIONS}?token={}", server.token("42"));
        let mut slow = server.connect_narrow().open(&path);
        slow.begin();
        let data: Vec<String> = (1..=6).map(|n| varied_text(n * 10_000)).collect();
        for data in &data {
            server.publish(&json!({"to": {"user": "42"}, "data": data}));
        }
        server.wait_for_metric("idlewild_backlogged_connections", 1.0);
        server.admin("POST", "/v1/users/42/logout", "");
        let frames = slow.rest();
        assert_eq!(frames.len(), 7);
        for (frame, data) in frames.iter().zip(&data) {
            assert!(frame.ends_with(&format!("data: {data}\n\n")));
        }
        assert!(frames[6].contains("FORCE_LOGOUT"));
        server.wait_for_metric("idlewild_backlog_bytes", 0.0);
    }
}

#[test]
fn every_end_has_a_valid_trailer() {
    let mut server = server_with(|config| {
        config.max_connections_per_user = 1;
        config.on_limit = idlewild::config::OnLimit::EvictOldest;
    });
    // Evicted.
    let mut evicted = server.stream("42");
    let mut stream = server.stream("42");
    assert_eq!(evicted.rest(), ["event: evicted\ndata: {}\n\n"]);
    // Disconnected: only the trailer. The connection is an ordinary one again, without compression.
    server.admin("DELETE", "/v1/users/42/connections", "");
    assert!(stream.rest().is_empty());
    let answer = stream.ask("/healthz");
    assert_eq!(
        (answer.status, answer.header("content-encoding")),
        (200, None)
    );
    // Expired.
    let mut expired = server.stream("43");
    let mut test = server.open(&format!("{BASE}/sse/test/"));
    assert_compressed(&test);
    assert!(test.next().unwrap().starts_with("data: Test message 0 at "));
    server.advance(Duration::from_secs(2));
    assert!(test.next().unwrap().starts_with("data: Test message 1 at "));
    server.advance(Duration::from_secs(3_600));
    assert_eq!(
        expired.rest().last().map(String::as_str),
        Some("event: token_expired\ndata: {}\n\n")
    );
    // Drained.
    let mut drained = server.stream("44");
    let drain = server.drain();
    assert!(drained.last()[0].starts_with("retry: "));
    while !drain.is_finished() {
        server.advance(Duration::from_millis(250));
        test.arrived();
        std::thread::yield_now();
    }
    drain.join().unwrap();
    test.rest();
}
