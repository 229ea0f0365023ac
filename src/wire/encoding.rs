//! The encodings of signals.

use serde::{Deserialize, Serialize};

use super::checksum::Checksum;
use super::signal::Signal;
use super::{gzip, sse, websocket};

/// The encoding of a client's stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Wire {
    /// Server-Sent Events over HTTP/1.1: one chunk (RFC 9112 §7.1) per signal.
    SseChunked,
    /// Server-Sent Events over HTTP/1.0: without chunks, until the connection closes.
    SseRaw,
    /// Server-Sent Events over HTTP/1.1, compressed with gzip.
    SseGzip,
    /// WebSocket: a message for each signal (RFC 6455).
    WebSocket,
}

impl Wire {
    /// Returns true if both sides say that they close before the connection is closed (RFC 6455 §7.1).
    pub(crate) fn has_closing_handshake(self) -> bool {
        self == Self::WebSocket
    }

    /// The number of encodings.
    pub const COUNT: usize = 4;

    /// Returns true if the bytes of an end depend on everything that was sent before.
    pub(crate) fn has_checksum(self) -> bool {
        self == Self::SseGzip
    }

    /// Appends what comes before the first signal.
    pub(crate) fn push_preamble(self, bytes: &mut Vec<u8>) {
        if self == Self::SseGzip {
            gzip::push_header(bytes);
        }
    }

    /// Appends the bytes of a signal that comes first, uncompressed.
    pub fn encode(self, signal: &Signal<'_>, bytes: &mut Vec<u8>) {
        self.append(signal, usize::MAX, &mut Checksum::default(), bytes);
    }

    /// Appends the bytes of a client's next signal. Only compressed streams use `sent`, the checksum of everything
    /// before, and compress events whose text has at least `compress_from` bytes.
    #[inline]
    pub(crate) fn append(
        self,
        signal: &Signal<'_>,
        compress_from: usize,
        sent: &mut Checksum,
        bytes: &mut Vec<u8>,
    ) {
        match self {
            Self::SseChunked => sse::push_chunk(signal, bytes),
            Self::SseRaw => sse::push_text(signal, bytes),
            Self::SseGzip => gzip::append(signal, compress_from, sent, bytes),
            Self::WebSocket => websocket::push(signal, bytes),
        }
    }
}
