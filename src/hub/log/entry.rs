//! One thing that happened, and what it costs to keep it.

use super::control::{Control, Receipt};
use crate::event::{Draft, EventId, EventName, Position, SessionChange, Target};
use crate::wire::{Event, Signal};

/// A place among the entries that are kept; the first one has 1. Events that are not kept have a
/// [`Position`] and no rank, so that the ring has no holes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Rank(pub(super) u64);

impl Rank {
    /// No entry's: before the first.
    pub(super) const NONE: Self = Self(0);

    pub(super) fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

/// One thing that happened.
#[derive(Debug)]
pub struct Entry {
    /// Its place in this log.
    pub(crate) position: Position,
    /// Its place among what is kept; `None` where it is delivered now or never.
    pub(crate) rank: Option<Rank>,
    /// Its id, the same on every node.
    pub(crate) id: EventId,
    /// What it is.
    pub(crate) record: Record,
    /// When the publisher's request was accepted, on the monotonic clock.
    pub(crate) accepted_ms: u64,
}

/// What kind of thing happened.
#[derive(Debug)]
pub enum Record {
    /// An event for clients.
    Event {
        /// Who gets it.
        to: Target,
        /// Its name.
        name: EventName,
        /// Its payload.
        data: Box<str>,
        /// Whether it is kept for replay; if not, it is delivered now or never.
        is_kept: bool,
    },
    /// A user's session changed; the others get its data and their end. Kept, so that its id is
    /// known, and never replayed: whoever may come back is not whom it was for. A client that
    /// catches up meets its end here.
    Session {
        /// The change.
        change: SessionChange,
        /// The payload of the `FORCE_LOGOUT` event.
        data: Box<str>,
    },
    /// Every node is asked something. It is for no client, and gone once it was dispatched.
    Control {
        /// What.
        control: Control,
        /// This node's answer.
        receipt: Receipt,
    },
}

impl Record {
    /// Whether it ends a client of this session.
    pub(super) fn ends(&self, session: Option<&str>) -> bool {
        match self {
            Self::Event { .. } | Self::Control { .. } => false,
            Self::Session { change, .. } => {
                change.keep.is_none() || change.keep.as_deref() != session
            }
        }
    }

    /// The data of a record that no publisher made. Apart from the events, so that the path of these has one
    /// comparison.
    #[cold]
    fn notice(&self) -> &str {
        match self {
            Self::Event { data, .. } | Self::Session { data, .. } => data,
            // No client receives one.
            Self::Control { .. } => "",
        }
    }

    /// Whether it stays in the log after it was dispatched.
    pub(super) fn is_kept(&self) -> bool {
        match self {
            Self::Event { is_kept, .. } => *is_kept,
            Self::Session { .. } => true,
            Self::Control { .. } => false,
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

    /// What clients get. An event that is not kept has no id, so that no client comes back with one
    /// that nobody remembers.
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

    /// Whether it is delivered now or never.
    pub(crate) fn is_fleeting(&self) -> bool {
        self.rank.is_none()
    }

    /// Bytes of one encoding of it, roughly.
    pub(crate) fn wire_bytes(&self) -> usize {
        // The names of fields, the id, and what frames it.
        const FIELDS: usize = 64;
        let said = match &self.record {
            Record::Event { name, data, .. } => name.as_str().len() + data.len(),
            Record::Session { data, .. } => data.len(),
            Record::Control { .. } => 0,
        };
        FIELDS + said
    }

    /// Bytes of its allocation and of those it owns.
    pub(crate) fn heap_bytes(&self) -> usize {
        // Beside the entry an `Arc` holds two counts.
        const OWN: usize = size_of::<Entry>() + 2 * size_of::<usize>();
        OWN + match &self.record {
            Record::Event { to, name, data, .. } => {
                to.heap_bytes() + name.heap_bytes() + data.len()
            }
            Record::Session { change, data } => change.heap_bytes() + data.len(),
            Record::Control { control, .. } => control.heap_bytes(),
        }
    }
}
