//! Traces of evicted entries. They distinguish a client that missed something from one whose last event has merely
//! been evicted.
//!
//! The id of the newest evicted entry is the log's *floor*. A client at the floor has missed no evicted entry, and
//! gets all that is retained. For some evicted entries before the floor, a trace records the recipients. A client
//! at one of those gets no gap if no later evicted entry was for that client. Every other id is unknown, such as
//! one from another log or a wrong clock.

use std::collections::VecDeque;

use super::entry::Record;
use super::ring::{Chain, chains_of};
use crate::event::{EventId, Target};

/// Most traces, 128 KiB: some minutes of evictions on a busy server. A client that is online is never further
/// behind than one heartbeat.
const MAX_TRACES: usize = 4_096;
/// Traces may take `1 / MAX_SHARE` of the log's size, so that they do not fill a small log. The share is larger in
/// tests, whose logs are small.
const MAX_SHARE: usize = if cfg!(test) { 8 } else { 64 };
/// An event for more users than this counts as one for everybody. An unnecessary gap is harmless, and one event
/// must not push out all other traces.
const MAX_LISTED: usize = 64;

/// The floor, and traces of some evicted entries before it.
#[derive(Debug)]
pub(super) struct Evicted {
    floor: EventId,
    /// In the order of ids; the last one is the floor. An entry for several users has one trace per user. Empty if
    /// nothing before the floor is known.
    traces: VecDeque<Trace>,
    max_traces: usize,
    hasher: ahash::RandomState,
}

#[derive(Clone, Copy, Debug)]
struct Trace {
    id: EventId,
    /// A hash of the chain that the entry was on. A collision can cause an unnecessary gap, but never hide one.
    /// `None` if no client would get the entry by replay, or if nothing before it is known.
    chain: Option<u64>,
}

impl Evicted {
    /// Nothing is evicted yet; the log begins at `floor`.
    pub(super) fn new(floor: EventId, max_log_bytes: usize) -> Self {
        let affordable = max_log_bytes / MAX_SHARE / size_of::<Trace>();
        Self {
            floor,
            traces: VecDeque::new(),
            max_traces: affordable.min(MAX_TRACES),
            hasher: ahash::RandomState::default(),
        }
    }

    /// Forgets everything and begins at `floor`.
    pub(super) fn begin_at(&mut self, floor: EventId) {
        self.floor = floor;
        self.traces.clear();
    }

    /// The id right before what is retained.
    pub(super) fn floor(&self) -> EventId {
        self.floor
    }

    /// Notes that an entry was evicted. Ids must rise.
    pub(super) fn note(&mut self, id: EventId, record: &Record) {
        let before = std::mem::replace(&mut self.floor, id);
        let is_for_everybody = match record {
            Record::Session { .. } | Record::Mark | Record::Control { .. } => false,
            Record::Event { to, .. } => match to {
                Target::All => true,
                Target::Users(users) => users.as_slice().len() > MAX_LISTED,
                Target::User(_) | Target::Topic(_) => false,
            },
        };
        if is_for_everybody {
            // Every client before this entry has missed it, so older traces are not needed.
            self.traces = VecDeque::new();
            return;
        }
        if self.traces.is_empty() {
            self.trace(before, None);
        }
        // Session changes are never replayed, so no client misses them.
        let is_event = matches!(record, Record::Event { .. });
        let mut chains = chains_of(record).filter(|_| is_event).peekable();
        if chains.peek().is_none() {
            self.trace(id, None);
        }
        for chain in chains {
            self.trace(id, Some(self.hasher.hash_one(chain)));
        }
    }

    /// Returns true if `id` is known to be evicted, and no later evicted entry was on one of `chains`.
    pub(super) fn has_nothing_after<'a>(
        &self,
        id: EventId,
        chains: impl Iterator<Item = Chain<'a>>,
    ) -> bool {
        if id == self.floor {
            return true;
        }
        let after = self.traces.partition_point(|trace| trace.id <= id);
        let is_known = after
            .checked_sub(1)
            .is_some_and(|at| self.traces[at].id == id);
        if !is_known {
            return false;
        }
        let chains: Vec<u64> = chains.map(|chain| self.hasher.hash_one(chain)).collect();
        let mut later = self.traces.range(after..);
        !later.any(|trace| trace.chain.is_some_and(|chain| chains.contains(&chain)))
    }

    /// Bytes of the allocation.
    pub(super) fn bytes(&self) -> usize {
        self.traces.capacity() * size_of::<Trace>()
    }

    fn trace(&mut self, id: EventId, chain: Option<u64>) {
        if self.max_traces == 0 {
            return;
        }
        if self.traces.len() == self.max_traces {
            self.traces.pop_front();
        }
        self.traces.push_back(Trace { id, chain });
    }
}
