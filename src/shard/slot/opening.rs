//! The initial values of a slot, apart from its socket.

use std::net::IpAddr;

use crate::event::Position;
use crate::hub::directory::UserHandle;
use crate::topic::Topic;
use crate::wire::Wire;

/// The initial values of a slot.
#[derive(Debug)]
pub(crate) struct Opening {
    /// For the carrier. All other fields are for the stream.
    pub(crate) wire: Wire,
    pub(crate) user: UserHandle,
    pub(crate) kind: Kind,
    /// Unix seconds; `None` for never.
    pub(crate) expires_at_s: Option<u64>,
    pub(crate) topics: Box<[Topic]>,
    pub(crate) session: Option<Box<str>>,
    pub(crate) forwarded_for: Option<IpAddr>,
}

/// The kind of a stream.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Kind {
    /// It receives the events after this position of the log.
    Notifications { joined: Position },
    /// It receives numbered test messages.
    Test,
}
