//! Compares the reader with tungstenite, with bytes split anywhere.

use std::io::{self, Cursor, Read, Write};

use proptest::collection::vec;
use proptest::prelude::*;
use tungstenite::error::ProtocolError;
use tungstenite::protocol::Role;
use tungstenite::{Error, Message, WebSocket};

use super::{Item, Opcode, Reader, Violation, unmasked};

/// A message or control frame of a server.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Said {
    Text(String),
    Ping(Vec<u8>),
    Pong,
    Close(Option<u16>, String),
}

/// Bytes to read. Writes are discarded.
struct Script(Cursor<Vec<u8>>);

impl Read for Script {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        self.0.read(into)
    }
}

impl Write for Script {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn by_tungstenite(bytes: &[u8]) -> Vec<Said> {
    let script = Script(Cursor::new(bytes.to_vec()));
    let mut socket = WebSocket::from_raw_socket(script, Role::Client, None);
    let mut said = Vec::new();
    loop {
        said.push(match socket.read() {
            Ok(Message::Text(text)) => Said::Text(text.to_string()),
            Ok(Message::Ping(payload)) => Said::Ping(payload.to_vec()),
            Ok(Message::Pong(_)) => Said::Pong,
            Ok(Message::Close(close)) => {
                let code = close.as_ref().map(|close| close.code.into());
                let reason = close.map(|close| close.reason.to_string());
                said.push(Said::Close(code, reason.unwrap_or_default()));
                return said;
            }
            Err(Error::Protocol(ProtocolError::ResetWithoutClosingHandshake)) => return said,
            other => panic!("not in the script: {other:?}"),
        });
    }
}

/// Reads `bytes` in pieces of these lengths, in rotation. Returns the items, and the violation at the end.
fn by_reader(bytes: &[u8], pieces: &[usize]) -> (Vec<Said>, Option<Violation>) {
    let (mut reader, mut said) = (Reader::default(), Vec::new());
    let mut rest = bytes;
    for &piece in pieces.iter().cycle() {
        if rest.is_empty() {
            break;
        }
        let (taken, left) = rest.split_at(piece.min(rest.len()));
        rest = left;
        // An error without a violation is the end after a close frame.
        let fed: Result<(), Option<Violation>> = reader.feed(taken, &mut |item| {
            said.push(match item {
                Item::Text(text) => Said::Text(text.to_owned()),
                Item::Ping(payload) => Said::Ping(payload.to_vec()),
                Item::Pong => Said::Pong,
                Item::Close(close) => {
                    said.push(Said::Close(close.code, close.reason));
                    return Err(None);
                }
            });
            Ok(())
        });
        if let Err(violation) = fed {
            return (said, violation);
        }
    }
    (said, None)
}

fn control() -> impl Strategy<Value = Vec<u8>> {
    let payload = vec(any::<u8>(), 0..126);
    (prop_oneof![Just(Opcode::Ping), Just(Opcode::Pong)], payload)
        .prop_map(|(opcode, payload)| unmasked(opcode, &payload))
}

/// A message in several frames, with control frames before each.
fn message() -> impl Strategy<Value = Vec<u8>> {
    let text = prop_oneof![
        8 => "[a-zé€😀]{0,40}",
        2 => "[a-z]{100,300}",
        1 => (65_000usize..66_000).prop_map(|length| "x".repeat(length)),
    ];
    let cuts = vec(any::<prop::sample::Index>(), 0..4);
    (text, cuts, vec(vec(control(), 0..2), 5)).prop_map(|(text, cuts, controls)| {
        let text = text.as_bytes();
        let mut at: Vec<usize> = cuts.iter().map(|cut| cut.index(text.len() + 1)).collect();
        at.extend([0, text.len()]);
        at.sort_unstable();
        let last = at.len() - 2;
        let mut bytes = Vec::new();
        for (index, pair) in at.windows(2).enumerate() {
            bytes.extend(controls[index].concat());
            let opcode = if index == 0 {
                Opcode::Text
            } else {
                Opcode::Continuation
            };
            let start = bytes.len();
            bytes.extend(unmasked(opcode, &text[pair[0]..pair[1]]));
            if index < last {
                bytes[start] &= 0x7f;
            }
        }
        bytes
    })
}

fn close() -> impl Strategy<Value = Vec<u8>> {
    let code = prop_oneof![
        Just(1000u16),
        Just(1001),
        Just(1013),
        Just(4001),
        Just(4029)
    ];
    let payload = (code, "[a-zé ]{0,20}")
        .prop_map(|(code, reason)| [&code.to_be_bytes()[..], reason.as_bytes()].concat());
    proptest::option::of(payload)
        .prop_map(|payload| unmasked(Opcode::Close, &payload.unwrap_or_default()))
}

proptest! {
    #[test]
    fn it_reads_the_same_as_tungstenite(
        messages in vec(message(), 0..6),
        close in proptest::option::of(close()),
        pieces in vec(1usize..300, 1..20),
    ) {
        let bytes = [messages.concat(), close.unwrap_or_default()].concat();
        let expected = by_tungstenite(&bytes);
        let (said, violation) = by_reader(&bytes, &pieces);
        prop_assert_eq!(violation, None);
        prop_assert_eq!(&said, &expected);
        prop_assert_eq!(by_reader(&bytes, &[1]).0, expected);
    }

    #[test]
    fn any_split_of_any_bytes_gives_the_same_result(
        start in message(),
        noise in vec(any::<u8>(), 0..200),
        pieces in vec(1usize..50, 1..20),
    ) {
        let bytes = [start, noise].concat();
        prop_assert_eq!(by_reader(&bytes, &pieces), by_reader(&bytes, &[usize::MAX]));
    }
}
