//! What a WebSocket client of the model sends, and what it may receive for it.

use super::frames::{PING, PONG, TEXT, close, frame};

/// Most bytes of messages that the server ignores for certain.
const MAX_MESSAGE_BYTES: usize = 8 * 1_024;
const TOO_MANY_MESSAGES: u16 = 1008;
/// What no client may send, and the code that it receives for it.
const INVALID: [(&[u8], u16); 4] = [
    (&[0xff, 0xff], 1002),
    // Not masked.
    (&[TEXT, 0], 1002),
    // Longer than a message may be.
    (&[TEXT, 0xfe, 0x20, 0, 0, 0, 0, 0], 1009),
    // No UTF-8.
    (&[TEXT, 0x81, 0, 0, 0, 0, 0xc0], 1007),
];

#[derive(Clone, Copy, Debug)]
pub(super) enum Input {
    Ping,
    Message(usize),
    Close,
    Invalid(usize),
}

/// A WebSocket client, beside what it receives of its stream.
#[derive(Debug)]
pub(super) struct Speaker {
    pub(super) answers_pings: bool,
    /// It does not close when the server has closed, nor its side of the connection.
    pub(super) is_mute: bool,
    /// The rest of a frame that it has sent a part of.
    rest: Vec<u8>,
    /// Pings that it has sent are numbered; the last number.
    pings: u64,
    /// Of the last pong.
    pong: u64,
    message_bytes: usize,
    /// The code for the first thing that it sent after which nothing counts.
    end: Option<u16>,
}

impl Speaker {
    pub(super) fn new(answers_pings: bool, is_mute: bool) -> Self {
        Self {
            answers_pings,
            is_mute,
            rest: Vec::new(),
            pings: 0,
            pong: 0,
            message_bytes: 0,
            end: None,
        }
    }

    /// The bytes to send; with `is_half` not all of them yet.
    pub(super) fn say(&mut self, input: Input, is_half: bool) -> Vec<u8> {
        let counts = self.end.is_none();
        let frame = match input {
            Input::Ping => {
                self.pings += u64::from(counts);
                frame(PING, self.pings.to_string())
            }
            Input::Message(bytes) => {
                let message = frame(TEXT, vec![b'x'; bytes]);
                self.message_bytes += message.len();
                message
            }
            Input::Close => {
                self.end.get_or_insert(1000);
                close(1000)
            }
            Input::Invalid(n) => {
                let (bytes, code) = INVALID[n % INVALID.len()];
                self.end.get_or_insert(code);
                bytes.to_vec()
            }
        };
        let mut bytes = std::mem::take(&mut self.rest);
        let (start, rest) = frame.split_at(frame.len() / if is_half { 2 } else { 1 });
        bytes.extend(start);
        self.rest = rest.to_vec();
        bytes
    }

    /// The bytes of a pong.
    pub(super) fn answer(&mut self) -> Vec<u8> {
        let mut bytes = std::mem::take(&mut self.rest);
        bytes.extend(frame(PONG, ""));
        bytes
    }

    /// It is sent back after this, with this code.
    pub(super) fn end_with(&mut self, code: u16) {
        self.end.get_or_insert(code);
    }

    /// It receives a pong.
    pub(super) fn check_pong(&mut self, payload: &str) {
        let number = payload.parse().unwrap();
        let numbers = self.pong + 1..=self.pings;
        assert!(numbers.contains(&number), "{number} is not in {numbers:?}");
        self.pong = number;
    }

    /// Returns true if something that it sent may be the reason for this close code.
    pub(super) fn has_caused(&self, code: u16) -> bool {
        let is_too_much = self.message_bytes > MAX_MESSAGE_BYTES;
        self.end == Some(code) || (is_too_much && code == TOO_MANY_MESSAGES)
    }

    pub(super) fn has_half_a_frame(&self) -> bool {
        !self.rest.is_empty()
    }

    /// At rest, with all read on both sides.
    pub(super) fn check(&self, is_complete: bool) {
        if self.has_half_a_frame() || is_complete {
            return;
        }
        assert_eq!(self.end, None, "its end is not answered");
        assert_eq!(self.pong, self.pings, "a ping is not answered");
    }
}
