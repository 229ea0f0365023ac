//! Compares the reader with tungstenite on random scripts of valid frames, invalid frames and random
//! bytes, split at random.
//!
//! The two differ on purpose in a few cases, for which [`difference`] has the expected result:
//! - tungstenite accepts a length in any form; RFC 6455 §5.2 requires the shortest, without the top bit;
//! - tungstenite waits for a whole frame. The limit of a message is the same, but the reader detects an
//!   excess in the header;
//! - tungstenite rejects the close code 1014, which IANA registered after the RFC;
//! - if code and reason of a close are both invalid, tungstenite reports the reason.

use std::io::{self, Read, Write};

use fastrand::Rng;
use tungstenite::error::{Error, ProtocolError};
use tungstenite::protocol::{Message, Role, WebSocket, WebSocketConfig};

use super::*;

/// The default number of scripts. Each script's seed is its number.
const SCRIPTS: &str = "IDLEWILD_WEBSOCKET_SCRIPTS";
const DEFAULT_SCRIPTS: u64 = 100_000;
/// Longest payload that is sent whole. A frame with a longer length is a [`difference`].
const MAX_PAYLOAD_BYTES: u16 = 8 * 1024;
/// Bytes that complete any payload that has begun, and then are not a valid frame.
const PADDING: [u8; MAX_PAYLOAD_BYTES as usize + 32] = [0; _];
/// Characters of all lengths. A text begins with any of them.
const CHARACTERS: &str =
    "hello, wörld €uro 😀 {\"a\": 1} ÿ\u{7ff}\u{800}\u{ffff}\u{10000}\u{10ffff}\0";

/// What happened in a script. The test checks that the scripts cover everything.
#[derive(Debug, Default)]
struct Reached {
    messages: u64,
    pings: u64,
    pongs: u64,
    closes: u64,
    protocol_errors: u64,
    bad_texts: u64,
    long_messages: u64,
    pending: u64,
    differences: u64,
}

/// A client that sends a script.
struct Client<'a> {
    rng: &'a mut Rng,
    sent: Vec<u8>,
    /// Within a message: whether it is a text, and the position in the characters.
    message: Option<(bool, &'static [u8])>,
}

impl Client<'_> {
    fn one_in(&mut self, chances: u32) -> bool {
        self.rng.u32(..chances) == 0
    }

    fn script(rng: &mut Rng) -> Vec<u8> {
        let mut client = Client {
            rng,
            sent: Vec::new(),
            message: None,
        };
        for _ in 0..client.rng.u32(1..8) {
            match client.rng.u32(..16) {
                0..=9 => client.send_part(),
                10..=12 => client.send_control(PING),
                13 => client.send_control(PONG),
                14 => client.send_close(),
                _ => client.send_garbage(),
            }
        }
        let mut sent = client.sent;
        if rng.u32(..4) == 0 {
            sent.truncate(rng.usize(..=sent.len()));
        }
        sent
    }

    fn send_part(&mut self) {
        let is_lost = self.one_in(40);
        let (opcode, is_text, rest) = match self.message {
            Some((is_text, rest)) if !is_lost => (CONTINUATION, is_text, rest),
            None if is_lost => (CONTINUATION, true, CHARACTERS.as_bytes()),
            _ => {
                let is_text = self.rng.u32(..4) > 0;
                let mut start = self.rng.usize(..CHARACTERS.len());
                while !CHARACTERS.is_char_boundary(start) {
                    start -= 1;
                }
                let rest = &CHARACTERS.as_bytes()[start..];
                (if is_text { TEXT } else { BINARY }, is_text, rest)
            }
        };
        let is_last = self.rng.bool();
        let mut bytes = match self.rng.u32(..64) {
            0..=55 => self.rng.usize(..12),
            56..=61 => self.rng.usize(120..132),
            62 => self.rng.usize(1_000..4_100),
            _ => self.rng.usize(4_080..4_110),
        };
        // The next part continues where this one ends.
        let mut payload: Vec<u8> = Vec::with_capacity(bytes);
        let mut next = rest;
        while bytes > 0 {
            if next.is_empty() {
                next = CHARACTERS.as_bytes();
            }
            let (part, after) = next.split_at(bytes.min(next.len()));
            payload.extend(part);
            bytes -= part.len();
            next = after;
        }
        if is_last && is_text && !self.one_in(8) {
            while next.first().is_some_and(|byte| byte & 0xc0 == 0x80) {
                payload.push(next[0]);
                next = &next[1..];
            }
        }
        if !payload.is_empty() && self.one_in(30) {
            let at = self.rng.usize(..payload.len());
            payload[at] = self.rng.u8(..);
        }
        self.message = (!is_last).then_some((is_text, next));
        self.send(if is_last { FIN } else { 0 } | opcode, &payload);
    }

    fn send_control(&mut self, opcode: u8) {
        let bytes = match self.rng.u32(..16) {
            0 => self.rng.usize(120..=125),
            1 if self.one_in(4) => self.rng.usize(126..140),
            _ => self.rng.usize(..8),
        };
        let payload: Vec<u8> = (0..bytes).map(|_| self.rng.u8(..)).collect();
        let fin = if self.one_in(40) { 0 } else { FIN };
        self.send(fin | opcode, &payload);
    }

    fn send_close(&mut self) {
        let code = match self.rng.u32(..8) {
            0..=2 => self.rng.u16(998..1_020),
            3 => *self
                .rng
                .choice(&[2_999, 3_000, 3_999, 4_000, 4_999, 5_000])
                .unwrap(),
            4 => self.rng.u16(..),
            _ => 1000,
        };
        let mut payload = code.to_be_bytes().to_vec();
        let reason = CHARACTERS.as_bytes();
        payload.extend(&reason[..self.rng.usize(..20)]);
        if self.one_in(4) {
            payload.truncate(self.rng.usize(..4));
        }
        self.send(FIN | CLOSE, &payload);
    }

    fn send_garbage(&mut self) {
        if self.rng.bool() {
            let bytes = self.rng.usize(1..20);
            self.sent.extend((0..bytes).map(|_| self.rng.u8(..)));
        } else {
            // The header of a frame without its payload. The bytes that follow are read as payload.
            let first = *self
                .rng
                .choice(&[FIN | TEXT, BINARY, FIN, FIN | PING])
                .unwrap();
            self.sent.push(first);
            let bits = self.rng.u32(..64);
            let length = (1 << bits) | self.rng.u64(..1 << bits);
            match self.rng.u32(..3) {
                0 => self
                    .sent
                    .push(MASKED | u8::try_from(length & 0x7f).unwrap()),
                1 => {
                    self.sent.push(MASKED | TWO_BYTES);
                    self.sent
                        .extend(u16::try_from(length & 0xffff).unwrap().to_be_bytes());
                }
                _ => {
                    self.sent.push(MASKED | EIGHT_BYTES);
                    self.sent.extend(length.to_be_bytes());
                }
            }
            self.sent.extend(MASK);
        }
    }

    /// Sends a frame, possibly with a fault.
    fn send(&mut self, mut first: u8, payload: &[u8]) {
        match self.rng.u32(..200) {
            0 => first ^= 1 << self.rng.u32(4..7),
            1 => first ^= 1 << self.rng.u32(..4),
            _ => {}
        }
        let mask = self.rng.u32(..).to_be_bytes();
        match (self.rng.u32(..200), u8::try_from(payload.len())) {
            (0, Ok(length @ ..126)) => {
                self.sent.extend([first, length]);
                self.sent.extend(payload);
            }
            (1, Ok(length @ ..126)) => {
                self.sent.extend([first, MASKED | TWO_BYTES, 0, length]);
                self.sent.extend(mask);
                self.sent.extend(unmasked(payload, mask));
            }
            (2, _) => {
                self.sent.extend([first, MASKED | EIGHT_BYTES]);
                self.sent.extend((payload.len() as u64).to_be_bytes());
                self.sent.extend(mask);
                self.sent.extend(unmasked(payload, mask));
            }
            _ => self.sent.extend(masked(first, mask, payload)),
        }
    }
}

/// The expected result if the reader differs from tungstenite on purpose. Frames after one that both reject
/// are ignored.
fn difference(script: &[u8]) -> Option<(usize, Did)> {
    let (mut at, mut is_open) = (0, false);
    loop {
        let (first, second) = (*script.get(at)?, *script.get(at + 1)?);
        let (opcode, is_final, is_masked) = (first & 0x0f, first & FIN != 0, second & MASKED != 0);
        let (length, shortest, follow) = match second & !MASKED {
            TWO_BYTES => {
                let length = script.get(at + 2..)?.first_chunk()?;
                (u16::from_be_bytes(*length).into(), 126, 2)
            }
            EIGHT_BYTES => {
                let length = script.get(at + 2..)?.first_chunk()?;
                (u64::from_be_bytes(*length), 65_536, 8)
            }
            length => (length.into(), 0, 0),
        };
        let is_control = opcode >= CLOSE;
        let is_sound = first & 0x70 == 0
            && is_masked
            && (matches!(opcode, CLOSE | PING | PONG) || opcode <= BINARY)
            && (!is_control || (is_final && length <= 125))
            && (is_control || (opcode == CONTINUATION) == is_open)
            && length >= shortest
            && length < 1 << 63;
        if length < shortest || length > MAX_PAYLOAD_BYTES.into() {
            let code = if is_sound {
                CloseCode::MessageTooLong
            } else {
                CloseCode::ProtocolError
            };
            return Some((at, Did::Fail(code)));
        }
        let payload_at = at + 2 + follow + if is_masked { 4 } else { 0 };
        let end = payload_at + usize::try_from(length).unwrap();
        if opcode == CLOSE && is_sound {
            let mask = *script.get(payload_at - 4..)?.first_chunk()?;
            let payload: Vec<u8> = unmasked(script.get(payload_at..end)?, mask).collect();
            if let Some((code, reason)) = payload.split_first_chunk() {
                let (code, is_text) = (u16::from_be_bytes(*code), str::from_utf8(reason).is_ok());
                let is_valid = matches!(code, 1000..=1003 | 1007..=1014 | 3000..=4999);
                if code == 1014 && is_text {
                    return Some((at, Did::Close(Some(code))));
                } else if !is_valid && !is_text {
                    return Some((at, Did::Fail(CloseCode::ProtocolError)));
                }
            }
        }
        if !is_control {
            is_open = !is_final;
        }
        at = end;
    }
}

/// A socket that returns a script, and accepts all writes.
struct Pieces<'a, T: Iterator<Item = &'a [u8]>> {
    rest: &'a [u8],
    others: T,
}

impl<'a, T: Iterator<Item = &'a [u8]>> Read for Pieces<'a, T> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.rest.is_empty() {
            match self.others.next() {
                Some(piece) => self.rest = piece,
                None => return Ok(0),
            }
        }
        self.rest.read(buffer)
    }
}

impl<'a, T: Iterator<Item = &'a [u8]>> Write for Pieces<'a, T> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The client's actions as tungstenite sees them, and whether more may follow.
fn tungstenite<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> (Vec<Did>, bool) {
    let config = WebSocketConfig::default()
        .read_buffer_size(512)
        .max_frame_size(None)
        .max_message_size(Some(MAX_MESSAGE_BYTES.into()));
    let socket = Pieces {
        rest: &[],
        others: pieces.into_iter(),
    };
    let mut socket = WebSocket::from_raw_socket(socket, Role::Server, Some(config));
    let mut all = Vec::new();
    loop {
        let did = match socket.read() {
            Ok(Message::Text(_) | Message::Binary(_)) => Did::Message,
            Ok(Message::Ping(payload)) => Did::Ping(payload.to_vec()),
            Ok(Message::Pong(_)) => Did::Pong,
            Ok(Message::Close(None)) => Did::Close(None),
            // This is how tungstenite reports an invalid code.
            Ok(Message::Close(Some(close))) if close.reason.as_str() == "Protocol violation" => {
                Did::Fail(CloseCode::ProtocolError)
            }
            Ok(Message::Close(Some(close))) => Did::Close(Some(close.code.into())),
            Err(Error::Protocol(ProtocolError::ResetWithoutClosingHandshake)) => {
                return (all, true);
            }
            Err(Error::Protocol(_)) => Did::Fail(CloseCode::ProtocolError),
            Err(Error::Capacity(_)) => Did::Fail(CloseCode::MessageTooLong),
            Err(Error::Utf8(_)) => Did::Fail(CloseCode::NotUtf8),
            other => panic!("{other:?}"),
        };
        let is_end = matches!(did, Did::Close(_) | Did::Fail(_));
        all.push(did);
        if is_end {
            return (all, false);
        }
    }
}

/// The actions that the reader should see, and whether more may follow.
fn expected(script: &[u8], rng: &mut Rng, reached: &mut Reached) -> (Vec<Did>, bool) {
    let difference = difference(script);
    let alike = difference.as_ref().map_or(script, |(at, _)| &script[..*at]);
    let (mut did, goes_on) = tungstenite(cut(alike, rng));
    match difference {
        Some((_, end)) if goes_on => {
            reached.differences += 1;
            did.push(end);
            (did, false)
        }
        _ => (did, goes_on),
    }
}

/// A script in random pieces.
fn cut<'a>(script: &'a [u8], rng: &mut Rng) -> Vec<&'a [u8]> {
    if rng.u32(..4) == 0 {
        return vec![script];
    }
    // Tiny pieces of a long script would almost all be within payloads.
    let longest = if rng.bool() && script.len() < 400 {
        8
    } else {
        1_000
    };
    let (mut pieces, mut rest) = (Vec::new(), script);
    while !rest.is_empty() {
        let (piece, after) = rest.split_at(rng.usize(1..=longest).min(rest.len()));
        pieces.push(piece);
        rest = after;
    }
    pieces
}

fn check(seed: u64, reached: &mut Reached) {
    let mut rng = Rng::with_seed(seed);
    let script = Client::script(&mut rng);
    let seen = Seen::by_frame(cut(&script, &mut rng));
    seen.check_reads(cut(&script, &mut rng));
    let (did, goes_on) = expected(&script, &mut rng, reached);
    let fails = matches!(seen.did.last(), Some(Did::Fail(_)));
    if fails && goes_on {
        // tungstenite waits for the rest of the frame, and must then see the same.
        let padded = [script.as_slice(), &PADDING].concat();
        let (did, goes_on) = expected(&padded, &mut rng, reached);
        assert_eq!(
            (&seen.did, goes_on),
            (&did, false),
            "script {seed}: {script:x?}"
        );
    } else {
        assert_eq!(seen.did, did, "script {seed}: {script:x?}");
    }
    reached.pending += u64::from(seen.is_pending);
    for did in &seen.did {
        *match did {
            Did::Message => &mut reached.messages,
            Did::Ping(_) => &mut reached.pings,
            Did::Pong => &mut reached.pongs,
            Did::Close(_) => &mut reached.closes,
            Did::Fail(CloseCode::NotUtf8) => &mut reached.bad_texts,
            Did::Fail(CloseCode::MessageTooLong) => &mut reached.long_messages,
            Did::Fail(_) => &mut reached.protocol_errors,
        } += 1;
    }
}

/// With `IDLEWILD_WEBSOCKET_SCRIPTS=10000000`, in release, it takes minutes.
#[test]
fn a_client_does_what_tungstenite_sees_it_do() {
    let scripts = std::env::var(SCRIPTS).map_or(DEFAULT_SCRIPTS, |it| it.parse().unwrap());
    let mut reached = Reached::default();
    for seed in 0..scripts {
        check(seed, &mut reached);
    }
    println!("{scripts} scripts: {reached:?}");
    let Reached {
        messages,
        pings,
        pongs,
        closes,
        protocol_errors,
        bad_texts,
        long_messages,
        pending,
        differences,
    } = reached;
    let rarest = [
        messages,
        pings,
        pongs,
        closes,
        protocol_errors,
        bad_texts,
        long_messages,
        pending,
        differences,
    ]
    .into_iter()
    .min();
    assert!(rarest > Some(scripts / 200), "they do not reach everything");
}
