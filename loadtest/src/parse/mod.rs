//! The client's reading of a stream: bytes to response head, to body, to events.
//!
//! Each layer is incremental (any split of the bytes gives the same result), keeps a few bytes of state
//! while nothing is half-read, and bounds what it buffers. [`Decoder`] stacks them. The body of an answer is an event
//! stream ([`sse`]), or the frames of a WebSocket ([`messages`]).

pub(crate) mod chunked;
pub(crate) mod head;
pub(crate) mod messages;
pub(crate) mod sse;
mod upgrade;

#[cfg(test)]
mod model;

use std::fmt;

use chunked::Dechunker;
use head::{Head, HeadParser};
use messages::{Dialect, Messages};
use sse::{Block, Event, EventParser};
use upgrade::Upgrade;

use crate::websocket::{ACCEPT_BYTES, Close, Replies, Violation};

/// Reads one response from its first byte on.
#[derive(Debug)]
pub(crate) enum Decoder {
    /// The head is not complete.
    Head(HeadParser),
    /// A body that ends with the connection.
    Raw(EventParser),
    /// A chunked body.
    Chunked(Dechunker, EventParser),
    /// The answer to a WebSocket handshake is not complete. On the heap, since it is soon over.
    Upgrade(Box<Upgrade>, Dialect),
    /// The frames of a WebSocket.
    Messages(Messages),
}

/// What a call of [`Decoder::feed`] has reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reached {
    /// Still in the head, or before the message that begins a stream.
    Head,
    /// In the body.
    Body,
    /// Past the terminating chunk.
    End,
}

/// Why a response is not a stream of events that can be read on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Malformed {
    /// The bytes are not an HTTP/1 response head.
    Head,
    /// A status other than 200.
    Status(u16),
    /// 200, but not `text/event-stream`.
    ContentType,
    /// Broken chunk framing.
    Chunk,
    /// A head or an event longer than the bound.
    TooLong,
    /// 101, but no handshake of WebSocket, and why.
    Upgrade(&'static str),
    /// A frame that a server must not send.
    WebSocket(Violation),
    /// A message that is no event.
    Message,
    /// A first message other than `open`.
    Unopened,
    /// The server has closed the WebSocket.
    Closed(Close),
}

impl Decoder {
    /// A decoder in front of the status line.
    pub(crate) fn new() -> Self {
        Self::Head(HeadParser::default())
    }

    /// A decoder in front of the answer to a WebSocket handshake, which has to prove itself with `accept`.
    pub(crate) fn of_websocket(accept: [u8; ACCEPT_BYTES], dialect: Dialect) -> Self {
        Self::Upgrade(Box::new(Upgrade::new(accept)), dialect)
    }

    /// Takes the next bytes and hands every event they complete to `sink`. `scratch` is lent for events
    /// that lie whole within `input`, so that those allocate nothing; it is empty before and after. What a WebSocket
    /// is to be answered is noted in `replies`, even where this ends in an error.
    pub(crate) fn feed(
        &mut self,
        mut input: &[u8],
        scratch: &mut Block,
        replies: &mut Replies,
        sink: &mut impl FnMut(Event<'_>),
    ) -> Result<Reached, Malformed> {
        if let Self::Head(parser) = self {
            let Some(head) = parser.feed(&mut input)? else {
                return Ok(Reached::Head);
            };
            *self = Self::body(head)?;
        }
        if let Self::Upgrade(upgrade, dialect) = self
            && upgrade.feed(&mut input)?
        {
            *self = Self::Messages(Messages::new(*dialect));
        }
        match self {
            Self::Head(_) | Self::Upgrade(..) => Ok(Reached::Head),
            Self::Messages(messages) => messages.feed(input, replies, sink),
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

    /// Whether the stream of a WebSocket has begun: it may have ended in the same bytes.
    pub(crate) fn has_begun_messages(&self) -> bool {
        matches!(self, Self::Messages(messages) if messages.have_begun())
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
            Self::Upgrade(why) => write!(f, "101, but {why}"),
            Self::WebSocket(violation) => violation.fmt(f),
            Self::Message => f.write_str("a message that is not {\"id\", \"event\", \"data\"}"),
            Self::Unopened => f.write_str("a first message that is not `open`"),
            Self::Closed(close) => close.fmt(f),
        }
    }
}

impl From<Violation> for Malformed {
    fn from(violation: Violation) -> Self {
        Self::WebSocket(violation)
    }
}
