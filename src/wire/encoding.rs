//! The encodings of signals.

use super::signal::Signal;
use super::sse;

/// The encoding of a client's stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wire {
    /// Server-Sent Events over HTTP/1.1: one chunk (RFC 9112 §7.1) per signal.
    SseChunked,
    /// Server-Sent Events over HTTP/1.0: without chunks, until the connection closes.
    SseRaw,
}

impl Wire {
    /// The number of encodings.
    pub const COUNT: usize = 2;

    /// Appends the bytes of a signal.
    pub fn encode(self, signal: &Signal<'_>, bytes: &mut Vec<u8>) {
        match self {
            Self::SseChunked => sse::push_chunk(signal, bytes),
            Self::SseRaw => sse::push_text(signal, bytes),
        }
    }
}
