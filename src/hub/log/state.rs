//! What the log's lock protects: the retained entries, those that wait for dispatch, and the ids that the log has
//! reached.
//!
//! Each change keeps these in agreement. Waiting, waking and positions are the log's.

use std::collections::VecDeque;
use std::sync::Arc;

use super::entry::{Entry, Record};
use super::evicted::Evicted;
use super::ring::Ring;
use crate::event::{EventId, Position};

/// Most entries that wait for dispatch before publishing waits: several batches, so that shards are never idle,
/// but few enough that the publisher notices a stuck shard.
pub(crate) const MAX_UNDISPATCHED: u64 = 16_384;

/// Most bytes of one batch, except for a single larger entry.
pub(super) const MAX_BATCH_BYTES: usize = 1 << 20;

/// Most entries that are dropped for their age while the log is locked, for about 50 µs.
pub(super) const MAX_EVICTED: usize = 256;

/// What the log's lock protects.
#[derive(Debug)]
pub(super) struct LogState {
    pub(super) ring: Ring,
    pub(super) evicted: Evicted,
    /// Entries that wait for dispatch, in order. Those that are kept are in the ring, too.
    pending: VecDeque<Arc<Entry>>,
    /// Bytes of the pending entries that are not kept.
    fleeting_bytes: usize,
    pub(super) last_id: EventId,
    pub(super) dispatched_id: EventId,
    /// The id of the newest dispatched entry that is kept; the log's origin before the first.
    dispatched_kept_id: EventId,
    /// Clients whose last id is before this one may have missed anything ([`Log::lose_before`](super::Log::lose_before)).
    pub(super) lost_before: EventId,
}

impl LogState {
    pub(super) fn new(max_bytes: usize, origin: EventId) -> Self {
        Self {
            ring: Ring::default(),
            evicted: Evicted::new(origin, max_bytes),
            pending: VecDeque::new(),
            fleeting_bytes: 0,
            last_id: origin,
            dispatched_id: origin,
            dispatched_kept_id: origin,
            lost_before: EventId::default(),
        }
    }

    /// Adds the newest entry, which waits for dispatch. If it is kept, it is retained until `expires_ms`.
    pub(super) fn push(
        &mut self,
        position: Position,
        id: EventId,
        accepted_ms: u64,
        expires_ms: u64,
        record: Record,
    ) {
        let rank = record.is_kept().then(|| self.ring.next_rank());
        let entry = Arc::new(Entry::new(position, rank, id, record, accepted_ms));
        self.last_id = id;
        if rank.is_some() {
            self.ring.push(&entry, expires_ms);
        } else {
            self.fleeting_bytes += entry.heap_bytes();
        }
        self.pending.push_back(entry);
    }

    /// Counts the entries up to `position` as dispatched.
    pub(super) fn mark_dispatched(&mut self, position: Position) {
        while let Some(first) = self.pending.front()
            && first.position <= position
        {
            let (bytes, id, is_fleeting) = (first.heap_bytes(), first.id, first.is_fleeting());
            self.dispatched_id = id;
            if is_fleeting {
                self.fleeting_bytes -= bytes;
            } else {
                self.dispatched_kept_id = id;
            }
            self.pending.pop_front();
        }
    }

    /// The entries that wait for dispatch, up to `max`.
    pub(super) fn undispatched(&self, max: usize) -> Vec<Arc<Entry>> {
        let mut bytes = 0;
        self.pending
            .iter()
            .take(max)
            .take_while(|entry| {
                let is_first = bytes == 0;
                bytes += entry.heap_bytes();
                is_first || bytes <= MAX_BATCH_BYTES
            })
            .cloned()
            .collect()
    }

    pub(super) fn has_undispatched(&self) -> bool {
        !self.pending.is_empty()
    }

    /// The position of the first entry that waits for dispatch.
    pub(super) fn next_undispatched(&self) -> Option<Position> {
        self.pending.front().map(|next| next.position)
    }

    /// The id of the newest dispatched entry that is kept; the log's origin before the first.
    pub(super) fn dispatched_kept_id(&self) -> EventId {
        self.dispatched_kept_id
    }

    /// Returns true if there is room for another entry in a log of `max_bytes`.
    pub(super) fn has_room(&self, max_bytes: usize) -> bool {
        let waiting = self.pending.len() as u64;
        waiting == 0 || (waiting < MAX_UNDISPATCHED && self.bytes() <= max_bytes)
    }

    /// Drops entries until the log is within its size, and up to [`MAX_EVICTED`] entries that are too old. Keeps those
    /// after `dispatched`. Returns true if there may be more that are too old.
    pub(super) fn evict(&mut self, dispatched: Position, max_bytes: usize, now_ms: u64) -> bool {
        let mut evicted = 0;
        while let Some((oldest, expires_ms)) = self.ring.front() {
            let is_too_large = self.bytes() > max_bytes;
            let is_due = is_too_large || expires_ms < now_ms;
            if oldest.position > dispatched || !is_due {
                return false;
            }
            if evicted >= MAX_EVICTED && !is_too_large {
                return true;
            }
            if let Some(gone) = self.ring.pop() {
                self.evicted.note(gone.id, &gone.record);
            }
            evicted += 1;
        }
        false
    }

    /// Removes all entries after `id`. Returns those that were kept, oldest first.
    pub(super) fn truncate_after(&mut self, id: EventId) -> Vec<Arc<Entry>> {
        let removed = self.ring.truncate_after(id);
        let keeps = self.pending.partition_point(|entry| entry.id <= id);
        let dropped = self.pending.split_off(keeps);
        let fleeting = dropped.iter().filter(|entry| entry.is_fleeting());
        self.fleeting_bytes -= fleeting.map(|entry| entry.heap_bytes()).sum::<usize>();
        let floor = self.evicted.floor();
        self.last_id = self.last_id.min(id).max(floor);
        self.dispatched_id = self.dispatched_id.min(self.last_id);
        if self.dispatched_kept_id > self.last_id {
            // All that is left was dispatched.
            self.dispatched_kept_id = self.ring.newest_id().unwrap_or(floor);
        }
        removed
    }

    /// Forgets everything, and begins again after `floor`. Returns all entries, so that the caller can free them
    /// later.
    pub(super) fn reset(&mut self, floor: EventId) -> (Vec<Arc<Entry>>, VecDeque<Arc<Entry>>) {
        let removed = self.ring.truncate_after(EventId::default());
        let dropped = std::mem::take(&mut self.pending);
        self.fleeting_bytes = 0;
        self.lost_before = EventId::default();
        self.begin_at(floor);
        (removed, dropped)
    }

    /// Counts everything up to `floor` as gone. Nothing else is known yet.
    pub(super) fn begin_at(&mut self, floor: EventId) {
        self.evicted.begin_at(floor);
        self.note_restored(floor);
    }

    /// Counts everything up to the newest id as gone.
    pub(super) fn begin_after(&mut self, newest: EventId) {
        debug_assert!(self.last_id == newest);
        self.evicted.begin_at(newest);
        self.dispatched_kept_id = newest;
    }

    /// Counts everything up to a kept entry as dispatched, by an earlier process.
    pub(super) fn note_restored(&mut self, id: EventId) {
        self.continue_after(id);
        self.dispatched_kept_id = id;
    }

    /// Counts everything up to an entry as dispatched, by another process.
    pub(super) fn continue_after(&mut self, id: EventId) {
        debug_assert!(self.pending.is_empty(), "an entry waits for dispatch here");
        (self.last_id, self.dispatched_id) = (id, id);
    }

    /// The id of a client that gets everything that is retained. If entries were lost, it is an id that no
    /// event had, so that only clients which got the gap resume from it.
    pub(super) fn floor(&self) -> EventId {
        match self.ring.oldest_id() {
            Some(oldest) if oldest <= self.lost_before => oldest.unused_before(),
            _ => self.evicted.floor(),
        }
    }

    /// The bytes of all the log's allocations.
    pub(super) fn bytes(&self) -> usize {
        self.ring.bytes() + self.evicted.bytes() + self.fleeting_bytes
    }
}
