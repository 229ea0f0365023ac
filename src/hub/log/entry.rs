//! One entry of the log, and the memory it takes.

use super::control::{Control, Receipt};
use crate::event::{Draft, EventId, EventName, Position, SessionChange, Target};
use crate::wire::{Event, Signal};

/// The number of an entry among those that are kept, from 1. Events that are not kept have a [`Position`] but no
/// rank, so that the ring has no holes. The ranks of removed entries are given again, in another
/// [`Generation`](super::Generation) of the log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Rank(pub(super) u64);

impl Rank {
    /// The rank before the first entry's. No entry has it.
    pub(super) const NONE: Self = Self(0);

    pub(super) fn next(self) -> Self {
        Self(self.0 + 1)
    }

    pub(super) fn previous(self) -> Self {
        Self(self.0.saturating_sub(1))
    }
}

/// A record in the log.
#[derive(Debug)]
pub struct Entry {
    /// Its number in this process's log.
    pub(crate) position: Position,
    /// Its number among the entries that are kept; `None` if it is delivered now or never.
    pub(crate) rank: Option<Rank>,
    /// Its id, the same on every node.
    pub(crate) id: EventId,
    /// The event, session change, mark or control entry.
    pub(crate) record: Record,
    /// When the publisher's request was accepted, on the monotonic clock.
    pub(crate) accepted_ms: u64,
}

/// Something that happened.
#[derive(Debug)]
pub enum Record {
    /// An event for clients.
    Event {
        /// Its recipients.
        to: Target,
        /// Its name.
        name: EventName,
        /// Its payload.
        data: Box<str>,
        /// True if it is kept for replay; otherwise it is delivered now or never.
        is_kept: bool,
    },
    /// A change of a user's session. Clients of other sessions get its data, and their streams end. It is kept, so
    /// that its id is known, but never replayed: it is not for clients that are admitted later. A client that is
    /// still catching up ends here if its session did.
    Session {
        /// The change.
        change: SessionChange,
        /// The payload of the `FORCE_LOGOUT` event.
        data: Box<str>,
    },
    /// A position that clients can resume from, such as the beginning of a shared history. No client receives it,
    /// but it is kept, so that its id is known.
    Mark,
    /// This node was away for longer than the store's log reaches back, so its clients have missed entries that it
    /// does not know. All streams end here. It is in no store, and is dropped after dispatch.
    Resync,
    /// A request to every node. No client receives it, and it is dropped after dispatch.
    Control {
        /// The request.
        control: Control,
        /// This node's answer.
        receipt: Receipt,
    },
}

impl Record {
    /// Returns true if it ends a client of this session.
    pub(super) fn ends(&self, session: Option<&str>) -> bool {
        match self {
            Self::Event { .. } | Self::Mark | Self::Resync | Self::Control { .. } => false,
            Self::Session { change, .. } => {
                change.keep.is_none() || change.keep.as_deref() != session
            }
        }
    }

    /// The data of a record that no publisher made. Separate, so that the path of events has only one comparison.
    #[cold]
    fn notice(&self) -> &str {
        match self {
            Self::Event { data, .. } | Self::Session { data, .. } => data,
            // No client receives one.
            Self::Mark | Self::Resync | Self::Control { .. } => "",
        }
    }

    /// What a record that no publisher made holds beside itself. Separate for the same reason.
    #[cold]
    fn other_heap_bytes(&self) -> usize {
        match self {
            Self::Session { change, data } => change.heap_bytes() + data.len(),
            Self::Control { control, .. } => control.heap_bytes(),
            Self::Event { .. } | Self::Mark | Self::Resync => 0,
        }
    }

    /// Returns true if it stays in the log after dispatch.
    pub(super) fn is_kept(&self) -> bool {
        match self {
            Self::Event { is_kept, .. } => *is_kept,
            record => matches!(record, Self::Session { .. } | Self::Mark),
        }
    }
}

impl From<Draft> for Record {
    fn from(draft: Draft) -> Self {
        Self::Event {
            to: draft.to,
            name: draft.name,
            data: draft.data.into(),
            is_kept: draft.is_kept,
        }
    }
}

impl Entry {
    pub(super) fn new(
        position: Position,
        rank: Option<Rank>,
        id: EventId,
        record: Record,
        accepted_ms: u64,
    ) -> Self {
        Self {
            position,
            rank,
            id,
            record,
            accepted_ms,
        }
    }

    /// The signal that clients get. An event that is not kept has no id, so that no client returns with an id
    /// that the log does not know.
    pub(crate) fn signal(&self) -> Signal<'_> {
        let (name, data) = match &self.record {
            Record::Event { name, data, .. } => (name.as_str(), &**data),
            record => (EventName::DEFAULT, record.notice()),
        };
        Signal::Event(Event {
            id: (!self.is_fleeting()).then_some(self.id),
            name,
            data,
        })
    }

    /// Returns true if it is delivered now or never.
    pub(crate) fn is_fleeting(&self) -> bool {
        self.rank.is_none()
    }

    /// The approximate number of bytes of one of its encodings.
    pub(crate) fn wire_bytes(&self) -> usize {
        // The field names, the id, and the framing.
        const FIELDS: usize = 64;
        let said = match &self.record {
            Record::Event { name, data, .. } => name.as_str().len() + data.len(),
            record => record.notice().len(),
        };
        FIELDS + said
    }

    /// Bytes of its allocation and of all allocations that it owns.
    pub(crate) fn heap_bytes(&self) -> usize {
        // An `Arc` also holds two counts.
        const OWN: usize = size_of::<Entry>() + 2 * size_of::<usize>();
        OWN + match &self.record {
            Record::Event { to, name, data, .. } => {
                to.heap_bytes() + name.heap_bytes() + data.len()
            }
            record => record.other_heap_bytes(),
        }
    }
}
