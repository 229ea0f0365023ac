//! The log itself: appending, dispatch, retention and joining, and the removal of entries that its store lost.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::Notify;

use super::entry::{Entry, Record};
use super::evicted::Evicted;
use super::replay::{JoinRequest, PieceLimit, Progress, Replay, chains};
use super::ring::{Generation, Ring};
use crate::clock::millis;
use crate::event::{EventId, Position};

/// Most entries that wait for dispatch before publishing waits: several batches, so that shards are never idle,
/// but few enough that the publisher notices a stuck shard.
pub(crate) const MAX_UNDISPATCHED: u64 = 16_384;

/// Most bytes of one batch, except for a single larger entry.
const MAX_BATCH_BYTES: usize = 1 << 20;

/// Most entries that are dropped for their age while the log is locked, for about 50 µs.
const MAX_EVICTED: usize = 256;

/// The log of this process, shared by engines, shards and replays.
#[derive(Debug)]
pub struct Log {
    pub(super) state: Mutex<LogState>,
    /// The position of the newest entry. Written under the state's lock.
    pub(super) head: AtomicU64,
    /// The position of the newest dispatched entry. Written under the state's lock.
    pub(super) dispatched: AtomicU64,
    appended: Notify,
    progressed: Notify,
    max_bytes: usize,
    pub(super) max_age_ms: u64,
}

#[derive(Debug)]
pub(super) struct LogState {
    pub(super) ring: Ring,
    pub(super) evicted: Evicted,
    /// Entries that wait for dispatch. Those that are kept are in the ring, too.
    pub(super) pending: VecDeque<Arc<Entry>>,
    /// Bytes of the pending entries that are not kept.
    fleeting_bytes: usize,
    pub(super) last_id: EventId,
    pub(super) dispatched_id: EventId,
    /// The id of the newest dispatched entry that is kept; the log's origin before the first.
    dispatched_kept_id: EventId,
    /// Clients whose last id is before this one may have missed anything ([`Log::lose_before`]).
    pub(super) lost_before: EventId,
}

/// How far a client has been served: the position in this process's log, and the id that the client knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Cursor {
    /// The client still gets everything after this position.
    pub(crate) position: Position,
    /// The newest id up to there that the client can resume from.
    pub(crate) id: EventId,
}

/// A client's place in the log, read in the critical section that makes the client a target.
#[derive(Debug)]
pub struct Joined {
    /// Everything after this position is delivered live, once `replay` has caught up.
    pub(crate) position: Position,
    /// The id that the client resumes from if it is cut off before it gets anything. This is its own last id if
    /// that is known. With a gap, it is the id right before what follows. Otherwise it is the newest id.
    pub(crate) id: EventId,
    /// Set if not everything that the client missed is retained.
    pub(crate) gap: Option<Gap>,
    /// What the client missed; `None` if nothing.
    pub replay: Option<Replay>,
}

/// An entry was not appended, because its id is not after the newest one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the id {id} is not after the log's newest id, {newest}")]
pub struct NotRising {
    id: EventId,
    newest: EventId,
}

/// The log does not know the client's last id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Gap {
    /// The oldest id that is retained.
    pub(crate) oldest: Option<EventId>,
}

impl Log {
    /// Creates an empty log that retains entries up to `max_bytes` and `max_age`. Its ids rise from `origin` on.
    pub fn new(max_bytes: usize, max_age: Duration, origin: EventId) -> Self {
        let state = LogState {
            ring: Ring::default(),
            evicted: Evicted::new(origin, max_bytes),
            pending: VecDeque::new(),
            fleeting_bytes: 0,
            last_id: origin,
            dispatched_id: origin,
            dispatched_kept_id: origin,
            lost_before: EventId::default(),
        };
        Self {
            state: Mutex::new(state),
            head: AtomicU64::new(0),
            dispatched: AtomicU64::new(0),
            appended: Notify::new(),
            progressed: Notify::new(),
            max_bytes,
            max_age_ms: millis(max_age),
        }
    }

    /// Appends an entry that was accepted at `accepted_ms`, on the monotonic clock.
    ///
    /// # Errors
    /// [`NotRising`]; the log is unchanged then. Entries are found by their ids, so these must rise.
    pub fn append(&self, id: EventId, accepted_ms: u64, record: Record) -> Result<(), NotRising> {
        self.append_silently(id, accepted_ms, record)?;
        self.announce();
        Ok(())
    }

    /// The same without waking the dispatcher. [`Log::announce`] has to follow, whatever happens, unless the caller
    /// sees to it that the entry is dispatched.
    ///
    /// # Errors
    /// As [`Log::append`].
    pub(crate) fn append_silently(
        &self,
        id: EventId,
        accepted_ms: u64,
        record: Record,
    ) -> Result<(), NotRising> {
        let state = self.state.lock();
        let newest = state.last_id;
        if id <= newest {
            return Err(NotRising { id, newest });
        }
        self.push(state, id, accepted_ms, record);
        Ok(())
    }

    /// Wakes the dispatcher.
    pub(crate) fn announce(&self) {
        self.appended.notify_one();
    }

    /// Removes all entries after `id`, because the store lost them. Returns those that were kept, oldest first. Some
    /// may have reached clients, which cannot be undone; a client that returns with one of their ids gets a gap.
    ///
    /// Positions are not given again, but ranks are. So a new generation begins, and replays of earlier ones are
    /// lost. If `id` is before everything that is retained, nothing is in common with the store, and the engine uses
    /// [`Log::reset`]; here, the log would be empty at its old floor.
    pub(crate) fn truncate_after(&self, id: EventId) -> Vec<Arc<Entry>> {
        let mut state = self.state.lock();
        let removed = state.ring.truncate_after(id);
        let keeps = state.pending.partition_point(|entry| entry.id <= id);
        let dropped = state.pending.split_off(keeps);
        let fleeting = dropped.iter().filter(|entry| entry.is_fleeting());
        state.fleeting_bytes -= fleeting.map(|entry| entry.heap_bytes()).sum::<usize>();
        let floor = state.evicted.floor();
        state.last_id = state.last_id.min(id).max(floor);
        state.dispatched_id = state.dispatched_id.min(state.last_id);
        if state.dispatched_kept_id > state.last_id {
            // All that is left was dispatched.
            state.dispatched_kept_id = state.ring.newest_id().unwrap_or(floor);
        }
        self.settle_dispatched(&state);
        drop(state);
        self.progressed.notify_waiters();
        removed
    }

    /// Forgets everything, and begins again after `floor`, as [`Log::begin_at`] does at a start. What is to be known
    /// can be restored then. Positions go on rising, and a new generation begins.
    pub(crate) fn reset(&self, floor: EventId) {
        let mut state = self.state.lock();
        // The entries are freed after the log is unlocked.
        let removed = state.ring.truncate_after(EventId::default());
        let dropped = std::mem::take(&mut state.pending);
        state.fleeting_bytes = 0;
        state.lost_before = EventId::default();
        state.begin_at(floor);
        self.settle_dispatched(&state);
        drop(state);
        self.progressed.notify_waiters();
        drop((removed, dropped));
    }

    /// Counts everything up to `id`, the newest entry's, as gone: also an event that had this id itself. Called after
    /// [`Log::reset`] and a first entry that is no event.
    pub(crate) fn begin_after(&self, id: EventId) {
        let mut state = self.state.lock();
        debug_assert!(state.last_id == id);
        state.evicted.begin_at(id);
        state.dispatched_kept_id = id;
    }

    /// Continues from an id that an earlier process has reached. Everything before it is gone. Called before
    /// anything is restored or appended.
    pub(crate) fn begin_at(&self, id: EventId) {
        let mut state = self.state.lock();
        debug_assert!(self.head() == Position(0), "nothing was appended");
        state.begin_at(id);
    }

    /// Restores an entry that an earlier process stored. It counts as dispatched, and is retained for `max_age`
    /// minus `age`. Called with the oldest entry first, before anything is appended, at a start or after
    /// [`Log::reset`].
    pub(crate) fn restore(&self, id: EventId, age: Duration, now_ms: u64, record: Record) {
        let mut state = self.state.lock();
        debug_assert!(state.pending.is_empty() && state.last_id < id);
        (state.last_id, state.dispatched_id) = (id, id);
        state.dispatched_kept_id = id;
        let left_ms = self.max_age_ms.saturating_sub(millis(age));
        if left_ms == 0 && state.ring.len() == 0 {
            state.evicted.note(id, &record);
            return;
        }
        let position = Position(self.head.load(Ordering::Relaxed) + 1);
        self.head.store(position.0, Ordering::Release);
        self.dispatched.store(position.0, Ordering::Release);
        let rank = Some(state.ring.next_rank());
        let entry = Entry::new(position, rank, id, record, now_ms);
        state.ring.push(&Arc::new(entry), now_ms + left_ms);
        self.evict(&mut state, now_ms);
    }

    /// Notes that unknown entries before `id`, the newest entry's, were lost. From then on no earlier id is
    /// known, so a client that resumes from one gets a gap.
    pub(crate) fn lose_before(&self, id: EventId) {
        self.state.lock().lost_before = id;
    }

    /// Lets a client join. Fixes the position after which it gets events live, and what it missed since its last
    /// event. Called in the critical section that makes the client a target.
    ///
    /// An id that the log does not know, in any form, is a gap. Then everything that is retained for the client
    /// counts as missed. The log knows the ids that are retained and the one right before them. It also knows
    /// an evicted id if no later entry for this client was evicted.
    pub fn join(&self, client: &JoinRequest<'_>) -> Joined {
        let state = self.state.lock();
        let newest = state.ring.newest_id();
        let head = Cursor {
            position: self.head(),
            id: newest.unwrap_or_else(|| state.floor()),
        };
        let Some(last_event_id) = client.last_event_id else {
            return Joined {
                position: head.position,
                id: head.id,
                gap: None,
                replay: None,
            };
        };
        let ring = &state.ring;
        let known = last_event_id.parse().ok().and_then(|id| {
            if id < state.lost_before {
                return (id == state.floor()).then(|| (id, ring.before_oldest()));
            }
            let gone = || {
                let mine = chains(client.user, client.topics);
                let past = &state.evicted;
                (past.has_nothing_after(id, mine)).then(|| ring.before_oldest())
            };
            Some((id, ring.find(id).or_else(gone)?))
        });
        let after = known.map_or_else(|| ring.before_oldest(), |(_, rank)| rank);
        let replay = Replay::begin(ring, client, after, known.is_none());
        Joined {
            position: head.position,
            id: match (known, &replay) {
                (Some((id, _)), _) => id,
                (None, Some(_)) => state.floor(),
                (None, None) => head.id,
            },
            gap: known.is_none().then(|| Gap {
                oldest: ring.oldest_id(),
            }),
            replay,
        }
    }

    /// Takes the next piece of what a client missed.
    pub fn replay(
        &self,
        replay: &mut Replay,
        limit: PieceLimit,
        piece: &mut Vec<Arc<Entry>>,
    ) -> Progress {
        let state = self.state.lock();
        replay.next_piece(&state.ring, self.head(), limit, piece)
    }

    /// The position of the newest entry.
    pub(crate) fn head(&self) -> Position {
        Position(self.head.load(Ordering::Acquire))
    }

    /// The position of the newest entry that was handed to the shards.
    pub(crate) fn dispatched_position(&self) -> Position {
        Position(self.dispatched.load(Ordering::Acquire))
    }

    /// The cursor of a client that has received everything that was handed to the shards.
    pub(crate) fn dispatched_cursor(&self) -> Cursor {
        let state = self.state.lock();
        Cursor {
            position: self.dispatched_position(),
            id: state.dispatched_kept_id,
        }
    }

    /// Most bytes of retained entries.
    pub(crate) fn max_bytes(&self) -> usize {
        self.max_bytes
    }

    /// The newest id so far, retained or not.
    pub fn newest_id(&self) -> EventId {
        self.state.lock().last_id
    }

    /// The ids of all retained entries, in order.
    pub(crate) fn retained_ids(&self) -> Vec<EventId> {
        self.state.lock().ring.ids().collect()
    }

    /// Waits until there is room for another entry: fewer than [`MAX_UNDISPATCHED`] entries wait for dispatch,
    /// and the log is within its size. There is always room if nothing waits.
    pub(crate) async fn room(&self) {
        self.progress_until(|| self.has_room().then_some(())).await;
    }

    /// Returns true if there is room for another entry.
    pub(crate) fn has_room(&self) -> bool {
        let state = self.state.lock();
        let waiting = state.pending.len() as u64;
        waiting == 0 || (waiting < MAX_UNDISPATCHED && state.bytes() <= self.max_bytes)
    }

    /// Waits until the log has reached this id, whether the entry is still retained or not.
    pub(crate) async fn read_up_to(&self, id: EventId) {
        self.progress_until(|| (self.state.lock().last_id >= id).then_some(()))
            .await;
    }

    /// The present generation.
    pub(crate) fn generation(&self) -> Generation {
        self.state.lock().ring.generation()
    }

    /// Waits until the entry with this id has been handed to the shards. `since` is the generation in which the
    /// entry was requested. Returns false if the log was truncated or reset since then and does not have the entry:
    /// it was removed, or may never come.
    pub(crate) async fn dispatched(&self, id: EventId, since: Generation) -> bool {
        self.progress_until(|| {
            let state = self.state.lock();
            if state.ring.generation() == since {
                return (state.dispatched_id >= id).then_some(true);
            }
            let Some(rank) = state.ring.find(id) else {
                return Some(false);
            };
            let is_dispatched = state.ring.entry(rank).position <= self.dispatched_position();
            is_dispatched.then_some(true)
        })
        .await
    }

    /// Waits for entries after the last dispatched one, and returns up to `max`. Only a dispatcher that is alone calls
    /// this.
    pub async fn next_batch(&self, max: usize) -> Vec<Arc<Entry>> {
        self.until_undispatched().await;
        self.undispatched(max)
    }

    /// Waits until there are entries after the last dispatched one. Only one task calls this.
    pub(crate) async fn until_undispatched(&self) {
        while !self.has_undispatched() {
            // `notify_one` leaves a permit, so an append between the check and the wait is not missed.
            self.appended.notified().await;
        }
    }

    /// Returns true if there are entries after the last dispatched one.
    pub(crate) fn has_undispatched(&self) -> bool {
        !self.state.lock().pending.is_empty()
    }

    /// Notes that all entries up to `entry` are in the shards' inboxes. The entry may have been removed meanwhile.
    pub fn mark_dispatched(&self, entry: &Entry, now_ms: u64) {
        let mut state = self.state.lock();
        while let Some(first) = state.pending.front()
            && first.position <= entry.position
        {
            let (bytes, id, is_fleeting) = (first.heap_bytes(), first.id, first.is_fleeting());
            state.dispatched_id = id;
            if is_fleeting {
                state.fleeting_bytes -= bytes;
            } else {
                state.dispatched_kept_id = id;
            }
            state.pending.pop_front();
        }
        self.settle_dispatched(&state);
        self.evict(&mut state, now_ms);
        drop(state);
        self.progressed.notify_waiters();
    }

    /// Drops entries that are too old at `now_ms`. Called regularly, so that a quiet log shrinks.
    pub fn expire(&self, now_ms: u64) {
        // Entries that were published together expire together. So the log is unlocked between slices.
        while self.evict(&mut self.state.lock(), now_ms) {}
        self.state.lock().ring.shrink();
    }

    /// The bytes of all the log's allocations, and the number of retained entries.
    pub fn retained(&self) -> (usize, usize) {
        let state = self.state.lock();
        (state.bytes(), state.ring.len())
    }

    fn push(
        &self,
        mut state: parking_lot::MutexGuard<'_, LogState>,
        id: EventId,
        accepted_ms: u64,
        record: Record,
    ) {
        let position = Position(self.head.load(Ordering::Relaxed) + 1);
        let rank = record.is_kept().then(|| state.ring.next_rank());
        let entry = Arc::new(Entry::new(position, rank, id, record, accepted_ms));
        state.last_id = id;
        if rank.is_some() {
            let expires_ms = accepted_ms.saturating_add(self.max_age_ms);
            state.ring.push(&entry, expires_ms);
        } else {
            state.fleeting_bytes += entry.heap_bytes();
        }
        state.pending.push_back(entry);
        self.head.store(position.0, Ordering::Release);
        self.evict(&mut state, accepted_ms);
    }

    /// The entries after the last dispatched one, up to `max`. Only who dispatches them calls this.
    pub(crate) fn undispatched(&self, max: usize) -> Vec<Arc<Entry>> {
        let state = self.state.lock();
        let mut bytes = 0;
        state
            .pending
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

    /// Updates the position of the newest dispatched entry. No entry has a position between it and that of the next
    /// one to be dispatched: those were removed.
    fn settle_dispatched(&self, state: &LogState) {
        let next = state.pending.front().map(|next| next.position.0);
        let dispatched = next.map_or_else(|| self.head().0, |next| next - 1);
        self.dispatched.store(dispatched, Ordering::Release);
    }

    pub(super) async fn progress_until<T>(&self, done: impl Fn() -> Option<T>) -> T {
        loop {
            let progressed = self.progressed.notified();
            tokio::pin!(progressed);
            // Registered before the check, so that progress in between is not missed.
            progressed.as_mut().enable();
            if let Some(done) = done() {
                return done;
            }
            progressed.await;
        }
    }

    /// Drops entries until the log is within its size, and up to [`MAX_EVICTED`] entries that are too old. Returns
    /// true if there may be more of those.
    fn evict(&self, state: &mut LogState, now_ms: u64) -> bool {
        let dispatched = Position(self.dispatched.load(Ordering::Relaxed));
        let mut evicted = 0;
        while let Some((oldest, expires_ms)) = state.ring.front() {
            let is_too_large = state.bytes() > self.max_bytes;
            let is_due = is_too_large || expires_ms < now_ms;
            if oldest.position > dispatched || !is_due {
                return false;
            }
            if evicted >= MAX_EVICTED && !is_too_large {
                return true;
            }
            if let Some(gone) = state.ring.pop() {
                state.evicted.note(gone.id, &gone.record);
            }
            evicted += 1;
        }
        false
    }
}

impl LogState {
    fn begin_at(&mut self, floor: EventId) {
        self.evicted.begin_at(floor);
        (self.last_id, self.dispatched_id) = (floor, floor);
        self.dispatched_kept_id = floor;
    }

    /// The id of a client that gets everything that is retained. If entries were lost, it is an id that no
    /// event had, so that only clients which got the gap resume from it.
    fn floor(&self) -> EventId {
        match self.ring.oldest_id() {
            Some(oldest) if oldest <= self.lost_before => oldest.unused_before(),
            _ => self.evicted.floor(),
        }
    }

    fn bytes(&self) -> usize {
        self.ring.bytes() + self.evicted.bytes() + self.fleeting_bytes
    }
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
