//! The log itself: its operations, each under the lock, and who waits for what.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::Notify;

use super::entry::{Entry, Record};
use super::join::Joined;
use super::replay::{JoinRequest, PieceLimit, Progress, Replay};
use super::ring::Generation;
use super::state::LogState;
use crate::clock::millis;
use crate::event::{EventId, Position};

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

/// How far a client has been served: the position in this process's log, and the id that the client knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Cursor {
    /// The client still gets everything after this position.
    pub(crate) position: Position,
    /// The newest id up to there that the client can resume from.
    pub(crate) id: EventId,
}

/// An entry was not appended, because its id is not after the newest one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the id {id} is not after the log's newest id, {newest}")]
pub struct NotRising {
    id: EventId,
    newest: EventId,
}

impl Log {
    /// Creates an empty log that retains entries up to `max_bytes` and `max_age`. Its ids rise from `origin` on.
    pub fn new(max_bytes: usize, max_age: Duration, origin: EventId) -> Self {
        Self {
            state: Mutex::new(LogState::new(max_bytes, origin)),
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
        let mut state = self.state.lock();
        let newest = state.last_id;
        if id <= newest {
            return Err(NotRising { id, newest });
        }
        let position = Position(self.head.load(Ordering::Relaxed) + 1);
        let expires_ms = accepted_ms.saturating_add(self.max_age_ms);
        state.push(position, id, accepted_ms, expires_ms, record);
        self.head.store(position.0, Ordering::Release);
        self.evict(&mut state, accepted_ms);
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
        let removed = state.truncate_after(id);
        self.settle_dispatched(&state);
        drop(state);
        self.progressed.notify_waiters();
        removed
    }

    /// Forgets everything, and begins again after `floor`, as [`Log::begin_at`] does at a start. What is to be known
    /// can be restored then. Positions go on rising, and a new generation begins.
    pub(crate) fn reset(&self, floor: EventId) {
        let mut state = self.state.lock();
        let removed = state.reset(floor);
        self.settle_dispatched(&state);
        drop(state);
        self.progressed.notify_waiters();
        // Freed after the log is unlocked.
        drop(removed);
    }

    /// Counts everything up to `id`, the newest entry's, as gone: also an event that had this id itself. Called after
    /// [`Log::reset`] and a first entry that is no event.
    pub(crate) fn begin_after(&self, id: EventId) {
        self.state.lock().begin_after(id);
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
        debug_assert!(state.last_id < id);
        state.note_restored(id);
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
        state.join(client, self.head())
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
            id: state.dispatched_kept_id(),
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

    /// Waits until there is room for another entry: fewer than [`MAX_UNDISPATCHED`](super::state::MAX_UNDISPATCHED) entries wait for dispatch,
    /// and the log is within its size. There is always room if nothing waits.
    pub(crate) async fn room(&self) {
        self.progress_until(|| self.has_room().then_some(())).await;
    }

    /// Returns true if there is room for another entry.
    pub(crate) fn has_room(&self) -> bool {
        self.state.lock().has_room(self.max_bytes)
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
        self.state.lock().has_undispatched()
    }

    /// Notes that all entries up to `entry` are in the shards' inboxes. The entry may have been removed meanwhile.
    pub fn mark_dispatched(&self, entry: &Entry, now_ms: u64) {
        let mut state = self.state.lock();
        state.mark_dispatched(entry.position);
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

    /// The entries after the last dispatched one, up to `max`. Only who dispatches them calls this.
    pub(crate) fn undispatched(&self, max: usize) -> Vec<Arc<Entry>> {
        self.state.lock().undispatched(max)
    }

    /// Updates the position of the newest dispatched entry. No entry has a position between it and that of the next
    /// one to be dispatched: those were removed.
    fn settle_dispatched(&self, state: &LogState) {
        let next = state.next_undispatched();
        let dispatched = next.map_or_else(|| self.head().0, |next| next.0 - 1);
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

    /// Drops entries until the log is within its size, and some that are too old. Returns true if there may be more of
    /// those.
    fn evict(&self, state: &mut LogState, now_ms: u64) -> bool {
        let dispatched = Position(self.dispatched.load(Ordering::Relaxed));
        state.evict(dispatched, self.max_bytes, now_ms)
    }
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
