use std::io;

use proptest::prelude::*;
use serde::Deserialize;
use serde_json::value::RawValue;
use tungstenite::error::{Error, ProtocolError};
use tungstenite::protocol::{Role, WebSocket};

use super::*;
use crate::wire::Wire;

const ID: EventId = EventId { ms: 17, seq: 3 };

/// A client's socket, which accepts all writes.
struct Socket<'a>(&'a [u8]);

impl io::Read for Socket<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.read(buffer)
    }
}

impl io::Write for Socket<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The messages that a client reads.
fn read(bytes: &[u8]) -> Vec<String> {
    use tungstenite::Message;
    let mut socket = WebSocket::from_raw_socket(Socket(bytes), Role::Client, None);
    let mut read = Vec::new();
    loop {
        read.push(match socket.read() {
            Ok(Message::Text(text)) => text.to_string(),
            Ok(Message::Ping(payload)) => format!("ping {payload:?}"),
            Ok(Message::Close(Some(close))) => {
                format!("close {} {}", u16::from(close.code), close.reason)
            }
            Err(
                Error::ConnectionClosed
                | Error::Protocol(ProtocolError::ResetWithoutClosingHandshake),
            ) => return read,
            other => panic!("{other:?}"),
        });
    }
}

fn written(signal: &Signal<'_>) -> Vec<String> {
    let mut bytes = Vec::new();
    Wire::WebSocket.encode(signal, &mut bytes);
    // The other function, with the same result.
    assert_eq!(encode(signal), bytes);
    read(&bytes)
}

fn event(data: &str) -> Signal<'_> {
    Signal::Event(Event {
        id: Some(ID),
        name: "message",
        data,
    })
}

fn data_of(data: &str) -> String {
    let [message] = written(&event(data)).try_into().unwrap();
    let data = message.strip_prefix(r#"{"id": "17-3", "event": "message", "data": "#);
    data.unwrap().strip_suffix('}').unwrap().to_owned()
}

#[test]
fn an_event_has_its_id_its_name_and_its_data() {
    assert_eq!(
        written(&event(r#"{"a":1}"#)),
        [r#"{"id": "17-3", "event": "message", "data": {"a":1}}"#]
    );
}

#[test]
fn an_event_that_is_not_kept_has_no_id() {
    let fleeting = Signal::Event(Event {
        id: None,
        name: "a \"b\"",
        data: "x",
    });
    assert_eq!(written(&fleeting), [r#"{"event": "a \"b\"", "data": "x"}"#]);
}

#[test]
fn json_stays_as_it_was_published() {
    for json in [
        "{\"b\": 1, \"a\": 2, \"b\": 3}",
        "[1,\n 2,\r\n\t3]",
        " {} \n",
        "12345678901234567890123",
        "1.0",
        "-0",
        "1e999",
        "\"\\u00e9\\/\"",
        "\"\\ud800\"",
        "null",
    ] {
        assert_eq!(data_of(json), json);
    }
}

#[test]
fn what_is_no_json_is_a_string() {
    for (text, string) in [
        ("", r#""""#),
        ("hello", r#""hello""#),
        ("a\nb\r\u{1}\u{7f}", "\"a\\nb\\r\\u0001\u{7f}\""),
        ("say \"x\\y\"", r#""say \"x\\y\"""#),
        ("{'a': 1}", r#""{'a': 1}""#),
        ("007", r#""007""#),
        ("NaN", r#""NaN""#),
        ("{} {}", r#""{} {}""#),
        ("[1,]", r#""[1,]""#),
        ("\"a\nb\"", r#""\"a\nb\"""#),
        ("\u{feff}{}", "\"\u{feff}{}\""),
        ("größe", r#""größe""#),
    ] {
        assert_eq!(data_of(text), string);
    }
}

#[test]
fn deep_json_is_no_deep_recursion() {
    let deep = format!("{}{}", "[".repeat(30_000), "]".repeat(30_000));
    assert_eq!(data_of(&deep), deep);
}

#[test]
fn the_first_message_says_where_the_client_is_and_when_to_come_back() {
    let opened = |position| Signal::Opened {
        position,
        retry_ms: 2_000,
    };
    assert_eq!(
        written(&opened(Some(ID))),
        [r#"{"id": "17-3", "event": "open", "data": {"retry": 2000}}"#]
    );
    assert_eq!(
        written(&opened(None)),
        [r#"{"event": "open", "data": {"retry": 2000}}"#]
    );
}

#[test]
fn a_heartbeat_is_a_ping_and_a_message() {
    let heartbeat = |position| written(&Signal::Heartbeat { position });
    assert_eq!(
        heartbeat(Some(ID)),
        [
            "ping b\"\"",
            r#"{"id": "17-3", "event": "heartbeat", "data": {}}"#
        ]
    );
    assert_eq!(
        heartbeat(None),
        ["ping b\"\"", r#"{"event": "heartbeat", "data": {}}"#]
    );
}

#[test]
fn a_gap_names_both_ids() {
    let gap = |oldest| {
        written(&Signal::Gap {
            position: ID,
            last_event_id: "1-0\"",
            oldest,
        })
    };
    assert_eq!(
        gap(Some(ID)),
        [
            r#"{"id": "17-3", "event": "replay_gap", "data": {"last_event_id": "1-0\"", "oldest": "17-3"}}"#
        ]
    );
    assert_eq!(
        gap(None),
        [
            r#"{"id": "17-3", "event": "replay_gap", "data": {"last_event_id": "1-0\"", "oldest": null}}"#
        ]
    );
}

#[test]
fn a_line_of_a_test_stream_is_a_message() {
    assert_eq!(
        written(&Signal::TestLine("Test message 0 at 14:30:15")),
        [r#"{"event": "message", "data": "Test message 0 at 14:30:15"}"#]
    );
}

#[test]
fn an_end_says_what_sse_says_and_closes() {
    let ends = [
        (End::LoggedOut, None, "close 4003 Logged out"),
        (End::Disconnected, None, "close 1001 Disconnected"),
        (
            End::Expired,
            Some("token_expired"),
            "close 4001 Token expired",
        ),
        (End::Evicted, Some("evicted"), "close 4029 Evicted"),
        (
            End::GoingAway { retry_ms: 7 },
            None,
            "close 1001 Going away",
        ),
    ];
    for (end, name, close) in ends {
        let message = name.map(|name| format!(r#"{{"event": "{name}", "data": {{}}}}"#));
        let said: Vec<String> = message.into_iter().chain([close.to_owned()]).collect();
        assert_eq!(written(&Signal::End(end)), said);
    }
}

#[test]
fn each_code_of_the_server_is_one_that_a_client_takes() {
    for code in [
        CloseCode::GoingAway,
        CloseCode::Disconnected,
        CloseCode::ProtocolError,
        CloseCode::NotUtf8,
        CloseCode::TooManyMessages,
        CloseCode::MessageTooLong,
        CloseCode::ServerFull,
        CloseCode::ShuttingDown,
        CloseCode::AuthUnavailable,
        CloseCode::Unauthenticated,
        CloseCode::Expired,
        CloseCode::LoggedOut,
        CloseCode::TopicNotAllowed,
        CloseCode::TooManyConnections,
        CloseCode::Evicted,
        CloseCode::BadRequest("At most 32 topics"),
    ] {
        let mut frame = Vec::new();
        Close::from(code).push(&mut frame);
        let close = format!("close {} {}", code.number(), code.reason());
        assert_eq!(read(&frame), [close]);
    }
}

#[test]
fn an_encoding_has_an_allocation_of_its_size() {
    let long = "x".repeat(70_000);
    for data in ["{}", "a \"string\"", &long] {
        let mut bytes = Vec::new();
        push(&event(data), &mut bytes);
        assert_eq!(bytes.capacity(), bytes.len());
    }
    let mut bytes = Vec::new();
    push(&Signal::Heartbeat { position: Some(ID) }, &mut bytes);
    assert_eq!(bytes.capacity(), bytes.len());
}

#[derive(Deserialize)]
struct ReceivedFrames<'a> {
    id: Option<String>,
    event: String,
    #[serde(borrow)]
    data: &'a RawValue,
}

fn json() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![
        Just(serde_json::Value::Null),
        any::<bool>().prop_map(Into::into),
        any::<i64>().prop_map(Into::into),
        any::<f64>().prop_map(Into::into),
        "\\PC{0,8}".prop_map(Into::into),
    ];
    let value = leaf.prop_recursive(4, 32, 6, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..6).prop_map(Into::into),
            proptest::collection::btree_map("\\PC{0,4}", inner, 0..6)
                .prop_map(|map| serde_json::Value::Object(map.into_iter().collect())),
        ]
    });
    (value, any::<bool>()).prop_map(|(value, is_pretty)| {
        if is_pretty {
            format!("{value:#}")
        } else {
            value.to_string()
        }
    })
}

proptest! {
    #[test]
    fn a_client_reads_what_was_published(
        id in proptest::option::of((any::<u64>(), any::<u64>())),
        name in "\\PC{1,20}",
        data in prop_oneof![json(), "\\PC{0,300}", "[\\x00-\\x7f]{0,40}", "[\\[\\]{},:\"0-9 \\n]{0,8}", "x{0,70000}"],
    ) {
        let id = id.map(|(ms, seq)| EventId { ms, seq });
        let event = Signal::Event(Event { id, name: &name, data: &data });
        let [message] = written(&event).try_into().unwrap();
        let read: ReceivedFrames<'_> = serde_json::from_str(&message).unwrap();
        prop_assert_eq!(read.id, id.map(|id| id.to_string()));
        prop_assert_eq!(read.event, name);
        let json = data.trim_matches([' ', '\t', '\r', '\n']);
        if serde_json::from_str::<&RawValue>(&data).is_ok() {
            prop_assert_eq!(read.data.get(), json);
        } else {
            let text: String = serde_json::from_str(read.data.get()).unwrap();
            prop_assert_eq!(text, data);
        }
    }
}
