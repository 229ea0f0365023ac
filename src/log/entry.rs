//! One thing that happened, and what it costs to keep it.

use std::sync::atomic::{AtomicUsize, Ordering};

use crate::event::{EventId, EventName, Position, SessionChange, Target};
use crate::frame::Frame;

/// A place among the entries that are kept; the first one has 1. Events that are not kept have a
/// [`Position`] and no rank, so that the ring has no holes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Rank(pub(super) u64);

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
    pub position: Position,
    /// Its place among what is kept; `None` where it is delivered now or never.
    pub rank: Option<Rank>,
    /// Its id, the same on every node.
    pub id: EventId,
    /// What it is.
    pub record: Record,
    /// When the publisher's request was accepted, on the monotonic clock.
    pub accepted_ms: u64,
    /// Shards that have not finished with it; the last one measures the delivery.
    unfinished_shards: AtomicUsize,
}

/// What kind of thing happened.
#[derive(Debug)]
pub enum Record {
    /// An event for clients.
    Event {
        /// Who gets it.
        to: Target,
        /// Its bytes.
        frame: Frame,
        /// Whether it is kept for replay; if not, it is delivered now or never.
        persist: bool,
    },
    /// A user's session changed; the others get the frame and their end. Kept, so that its id is
    /// known, and never replayed: whoever may come back is not whom it was for. A client that
    /// catches up meets its end here.
    Session {
        /// The change.
        change: SessionChange,
        /// The `FORCE_LOGOUT` event.
        frame: Frame,
    },
}

impl Record {
    /// An event. One that is not kept has no `id:` line, so that no client comes back with an id
    /// that nobody remembers.
    pub fn event(id: EventId, to: Target, name: &EventName, data: &str, persist: bool) -> Self {
        Self::Event {
            to,
            frame: Frame::event(persist.then_some(id), name.as_str(), data),
            persist,
        }
    }

    /// A change of session; `data` is that of its `FORCE_LOGOUT` event.
    pub fn session(id: EventId, change: SessionChange, data: &str) -> Self {
        Self::Session {
            change,
            frame: Frame::event(Some(id), EventName::default().as_str(), data),
        }
    }

    /// The bytes that clients get.
    pub fn frame(&self) -> &Frame {
        match self {
            Self::Event { frame, .. } | Self::Session { frame, .. } => frame,
        }
    }

    /// Whether it ends a client of this session.
    pub(super) fn ends(&self, session: Option<&str>) -> bool {
        match self {
            Self::Event { .. } => false,
            Self::Session { change, .. } => {
                change.keep.is_none() || change.keep.as_deref() != session
            }
        }
    }

    /// Whether it stays in the log after it was dispatched.
    pub(super) fn is_kept(&self) -> bool {
        match self {
            Self::Event { persist, .. } => *persist,
            Self::Session { .. } => true,
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
            unfinished_shards: AtomicUsize::new(0),
        }
    }

    /// Whether it is delivered now or never.
    pub fn is_fleeting(&self) -> bool {
        self.rank.is_none()
    }

    /// Bytes of its allocation and of those it owns.
    pub(super) fn heap_bytes(&self) -> usize {
        // Beside the entry an `Arc` holds two counts.
        const OWN: usize = size_of::<Entry>() + 2 * size_of::<usize>();
        let named = match &self.record {
            Record::Event { to, .. } => to.heap_bytes(),
            Record::Session { change, .. } => change.heap_bytes(),
        };
        OWN + self.record.frame().len() + named
    }

    pub(super) fn expect_shards(&self, shards: usize) {
        self.unfinished_shards.store(shards, Ordering::Relaxed);
    }

    /// True for the last shard.
    pub(super) fn finish_shard(&self) -> bool {
        self.unfinished_shards.fetch_sub(1, Ordering::AcqRel) == 1
    }
}
