//! What the server says to a client, as values that know nothing about bytes.

use crate::event::EventId;

/// One message of the server to a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signal<'a> {
    /// The stream has begun.
    Opened {
        /// Where the client is in the log, unless a [`Signal::Gap`] says so next.
        position: Option<EventId>,
        /// When to come back after a cut.
        retry_ms: u64,
    },
    /// What somebody published.
    Event(Event<'a>),
    /// The stream is alive.
    Heartbeat {
        /// Where the client is in the log, if that is known.
        position: Option<EventId>,
    },
    /// Not all that the client missed is retained (API.md, "Replay").
    Gap {
        /// The id to go on from.
        position: EventId,
        /// The last id that the client knows.
        last_event_id: &'a str,
        /// The oldest id that is retained.
        oldest: Option<EventId>,
    },
    /// A line of a test stream.
    TestLine(&'a str),
    /// Nothing comes after this.
    End(End),
}

/// A published event, as clients get it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Event<'a> {
    /// Absent for one that is not kept: no client comes back with an id that nobody remembers.
    pub id: Option<EventId>,
    /// A name without line breaks.
    pub name: &'a str,
    /// Anything; what breaks lines is sent as several.
    pub data: &'a str,
}

/// Why a stream ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// The session is over. The event that says so came before.
    LoggedOut,
    /// The token has expired.
    Expired,
    /// A newer stream of the same user took its place.
    Evicted,
    /// An operator ended it; the client may come back.
    Disconnected,
    /// The server goes down, or the keys of TLS have sealed enough: the client is to come back.
    GoingAway {
        /// When.
        retry_ms: u64,
    },
}
