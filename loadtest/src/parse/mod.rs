//! Reads a stream: from bytes to response head, body and events.
//!
//! Each layer is incremental, so any split of the bytes gives the same result. It keeps a few bytes of state
//! while nothing is incomplete, and limits what it buffers. [`Decoder`] combines the layers. The body is an
//! event stream ([`sse`]) or the frames of a WebSocket ([`messages`]).

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

/// Reads a response from its first byte.
#[derive(Debug)]
pub(crate) enum Decoder {
    /// The head is incomplete.
    Head(HeadParser),
    /// A body that ends when the connection closes.
    Raw(EventParser),
    /// A chunked body.
    Chunked(Dechunker, EventParser),
    /// The response to a WebSocket handshake is incomplete. Boxed, since it is short-lived and large.
    Upgrade(Box<Upgrade>, Dialect),
    /// The frames of a WebSocket.
    Messages(Messages),
}

/// The state after a call of [`Decoder::feed`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reached {
    /// In the head, or before the message that begins a stream.
    Head,
    /// In the body.
    Body,
    /// After the last chunk.
    End,
}

/// Why a response is not a readable stream of events.
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
    /// 101, but not a valid WebSocket handshake, with the reason.
    Upgrade(&'static str),
    /// A frame that servers must not send.
    WebSocket(Violation),
    /// A message that is not an event.
    Message,
    /// A first message other than `open`.
    Unopened,
    /// The server closed the WebSocket.
    Closed(Close),
}

impl Decoder {
    /// A decoder before the status line.
    pub(crate) fn new() -> Self {
        Self::Head(HeadParser::default())
    }

    /// A decoder for the response to a WebSocket handshake, which must contain `accept`.
    pub(crate) fn of_websocket(accept: [u8; ACCEPT_BYTES], dialect: Dialect) -> Self {
        Self::Upgrade(Box::new(Upgrade::new(accept)), dialect)
    }

    /// Takes the next bytes, and passes every event that they complete to `sink`. `scratch` is used for
    /// events that are completely within `input`, which need no allocation. It is empty before and after.
    /// The replies that a WebSocket requires are added to `replies`, even if this returns an error.
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

    /// Returns true if a WebSocket stream has begun, even if the same bytes ended it.
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
