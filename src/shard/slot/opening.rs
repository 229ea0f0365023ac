//! What a slot begins with, besides its socket.

use std::net::IpAddr;

use crate::event::Position;
use crate::hub::directory::UserHandle;
use crate::topic::Topic;
use crate::wire::Wire;

/// What a slot begins with.
#[derive(Debug)]
pub(crate) struct Opening {
    /// The carrier's; all else is the stream's.
    pub(crate) wire: Wire,
    pub(crate) user: UserHandle,
    pub(crate) kind: Kind,
    /// Unix seconds; `None` for never.
    pub(crate) expires_at_s: Option<u64>,
    pub(crate) topics: Box<[Topic]>,
    pub(crate) session: Option<Box<str>>,
    pub(crate) forwarded_for: Option<IpAddr>,
}

/// Which stream it is.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Kind {
    /// Events after this position of the log.
    Notifications { joined: Position },
    /// Numbered test messages.
    Test,
}
