//! What is no longer retained, as far as it is remembered: enough to tell a client that missed
//! something from one whose last event has merely been evicted.
//!
//! The id of the newest entry that is gone is the log's *floor*: a client that is there has missed
//! nothing of what is gone, and gets all that is retained. For some evicted entries before it, a
//! trace says whom each was for. A client at one of those is not told of a gap if nothing after it
//! was for that client. Every other id, another log's or a wrong clock's, stays unknown.

use std::collections::VecDeque;

use super::entry::Record;
use super::ring::{Chain, chains_of};
use crate::event::{EventId, Target};

/// Most traces, 128 KiB: some minutes of evictions on a busy server, while a client that is online
/// is never further back than a heartbeat.
const MAX_TRACES: usize = 4_096;
/// Part of the log's size that traces may take, so that a small log is not full of them. Larger in
/// tests, so that their small logs remember something.
const MAX_SHARE: usize = if cfg!(test) { 8 } else { 64 };
/// A list of more users than this counts as for everybody: one gap too many is harmless, and one
/// event does not push all other traces out.
const MAX_LISTED: usize = 64;

/// What is known of evicted entries: the floor, and traces of some entries before it.
#[derive(Debug)]
pub(super) struct Evicted {
    floor: EventId,
    /// In the order of ids, the floor the last of them; an entry for several users has a trace for
    /// each. None where nothing before the floor is known.
    traces: VecDeque<Trace>,
    max_traces: usize,
    hasher: ahash::RandomState,
}

#[derive(Clone, Copy, Debug)]
struct Trace {
    id: EventId,
    /// Whose chain it was on, hashed: two that are taken for one make one gap too many, never one
    /// too few. Nobody's where nobody would get it by replay, or nothing before it is known.
    chain: Option<u64>,
}

impl Evicted {
    /// Nothing is gone yet; the log begins at `floor`.
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

    /// Takes note of an entry that is gone; ids rise.
    pub(super) fn note(&mut self, id: EventId, record: &Record) {
        let before = std::mem::replace(&mut self.floor, id);
        let is_for_everybody = match record {
            Record::Session { .. } | Record::Control { .. } => false,
            Record::Event { to, .. } => match to {
                Target::All => true,
                Target::Users(users) => users.as_slice().len() > MAX_LISTED,
                Target::User(_) | Target::Topic(_) => false,
            },
        };
        if is_for_everybody {
            // Whoever is before it has missed it: what is before it need not be known.
            self.traces = VecDeque::new();
            return;
        }
        if self.traces.is_empty() {
            self.trace(before, None);
        }
        // Changes of session are never replayed, so nobody misses them.
        let is_event = matches!(record, Record::Event { .. });
        let mut chains = chains_of(record).filter(|_| is_event).peekable();
        if chains.peek().is_none() {
            self.trace(id, None);
        }
        for chain in chains {
            self.trace(id, Some(self.hasher.hash_one(chain)));
        }
    }

    /// Whether `id` is one that is gone, and nothing that went after it was on one of `chains`.
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

    /// Bytes of its allocation.
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
