//! The messages that the server sends to a client, as values that know nothing about bytes.

use crate::event::EventId;

/// One message from the server to a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signal<'a> {
    /// The stream has begun.
    Opened {
        /// The client's position in the log, unless a [`Signal::Gap`] with it comes next.
        position: Option<EventId>,
        /// The delay before the client reconnects after the connection is lost.
        retry_ms: u64,
    },
    /// A published event.
    Event(Event<'a>),
    /// The stream is alive.
    Heartbeat {
        /// The client's position in the log, if it is known.
        position: Option<EventId>,
    },
    /// Not everything that the client missed is retained (docs/history.md).
    Gap {
        /// The id that the client continues from.
        position: EventId,
        /// The last id that the client sent.
        last_event_id: &'a str,
        /// The oldest id that is retained.
        oldest: Option<EventId>,
    },
    /// A line of a test stream.
    TestLine(&'a str),
    /// The end of the stream. Nothing comes after it.
    End(End),
}

/// A published event, as clients get it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Event<'a> {
    /// `None` for an event that is not kept, so that no client returns with an id that the log does not know.
    pub id: Option<EventId>,
    /// The event's name, without line breaks.
    pub name: &'a str,
    /// The payload. It can be any text; each line is sent separately.
    pub data: &'a str,
}

/// The reason why a stream ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// The session is over. An event with the reason was sent before.
    LoggedOut,
    /// The token has expired.
    Expired,
    /// A newer stream of the same user has taken its place.
    Evicted,
    /// An operator has ended it. The client may come back.
    Disconnected,
    /// The client has missed events that this node does not know. It is to come back, and is then told of a gap.
    Resync {
        /// The delay before the client comes back.
        retry_ms: u64,
    },
    /// The server shuts down, or the TLS keys have reached their limit. The client is to come back.
    GoingAway {
        /// The delay before the client comes back.
        retry_ms: u64,
    },
}
