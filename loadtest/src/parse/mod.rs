//! Reads a stream: from bytes to response head, body and events.
//!
//! Each layer is incremental, so any split of the bytes gives the same result. It keeps a few bytes of state
//! while nothing is incomplete, and limits what it buffers. [`Decoder`] combines the layers.

pub(crate) mod chunked;
pub(crate) mod head;
pub(crate) mod sse;

#[cfg(test)]
mod model;

use std::fmt;

use chunked::Dechunker;
use head::{Head, HeadParser};
use sse::{Block, Event, EventParser};

/// Reads a response from its first byte.
#[derive(Debug)]
pub(crate) enum Decoder {
    /// The head is incomplete.
    Head(HeadParser),
    /// A body that ends when the connection closes.
    Raw(EventParser),
    /// A chunked body.
    Chunked(Dechunker, EventParser),
}

/// The state after a call of [`Decoder::feed`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reached {
    /// Still in the head.
    Head,
    /// In the body.
    Body,
    /// After the last chunk.
    End,
}

/// Why a response is not a readable event stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Malformed {
    /// Not an HTTP/1 response head.
    Head,
    /// A status other than 200.
    Status(u16),
    /// 200, but not `text/event-stream`.
    ContentType,
    /// Invalid chunk framing.
    Chunk,
    /// A head or an event over the limit.
    TooLong,
}

impl Decoder {
    /// A decoder before the status line.
    pub(crate) fn new() -> Self {
        Self::Head(HeadParser::default())
    }

    /// Takes the next bytes, and passes every event that they complete to `sink`. `scratch` is used for
    /// events that are completely within `input`, which need no allocation. It is empty before and after.
    pub(crate) fn feed(
        &mut self,
        mut input: &[u8],
        scratch: &mut Block,
        sink: &mut impl FnMut(Event<'_>),
    ) -> Result<Reached, Malformed> {
        if let Self::Head(parser) = self {
            let Some(head) = parser.feed(&mut input)? else {
                return Ok(Reached::Head);
            };
            *self = Self::body(head)?;
        }
        match self {
            Self::Head(_) => Ok(Reached::Head),
            Self::Raw(events) => events.feed(input, scratch, sink).map(|()| Reached::Body),
            Self::Chunked(chunks, events) => {
                while let Some(bytes) = chunks.next(&mut input)? {
                    events.feed(bytes, scratch, sink)?;
                }
                Ok(if chunks.ended() {
                    Reached::End
                } else {
                    Reached::Body
                })
            }
        }
    }

    fn body(head: Head) -> Result<Self, Malformed> {
        if head.status != 200 {
            return Err(Malformed::Status(head.status));
        }
        if !head.event_stream {
            return Err(Malformed::ContentType);
        }
        Ok(if head.chunked {
            Self::Chunked(Dechunker::default(), EventParser::default())
        } else {
            Self::Raw(EventParser::default())
        })
    }
}

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Head => f.write_str("not an HTTP/1 response head"),
            Self::Status(status) => write!(f, "status {status}"),
            Self::ContentType => f.write_str("200, but not text/event-stream"),
            Self::Chunk => f.write_str("broken chunk framing"),
            Self::TooLong => f.write_str("a head or event beyond the client's bound"),
        }
    }
}
