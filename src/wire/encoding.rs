//! The encodings of signals.

use serde::{Deserialize, Serialize};

use super::signal::Signal;
use super::{sse, websocket};

/// The encoding of a client's stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Wire {
    /// Server-Sent Events over HTTP/1.1: one chunk (RFC 9112 §7.1) per signal.
    SseChunked,
    /// Server-Sent Events over HTTP/1.0: without chunks, until the connection closes.
    SseRaw,
    /// WebSocket: a message for each signal (RFC 6455).
    WebSocket,
}

impl Wire {
    /// Returns true if both sides say that they close before the connection is closed (RFC 6455 §7.1).
    pub(crate) fn has_closing_handshake(self) -> bool {
        self == Self::WebSocket
    }

    /// The number of encodings.
    pub const COUNT: usize = 3;

    /// Appends the bytes of a signal.
    pub fn encode(self, signal: &Signal<'_>, bytes: &mut Vec<u8>) {
        match self {
            Self::SseChunked => sse::push_chunk(signal, bytes),
            Self::SseRaw => sse::push_text(signal, bytes),
            Self::WebSocket => websocket::push(signal, bytes),
        }
    }
}
