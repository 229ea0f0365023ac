//! The log itself: what is appended, dispatched, retained and joined.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::Notify;

use super::entry::{Entry, Record};
use super::evicted::Evicted;
use super::replay::{JoinRequest, PieceLimit, Progress, Replay, chains};
use super::ring::Ring;
use crate::clock::millis;
use crate::event::{EventId, Position};

/// Entries that may wait for dispatch before publishing waits: several batches, so that shards
/// never idle, and few enough that a stuck shard is noticed by the publisher.
pub(crate) const MAX_UNDISPATCHED: u64 = 16_384;

/// Bytes of one batch, a single larger entry aside.
const MAX_BATCH_BYTES: usize = 1 << 20;

/// Entries that are dropped for their age while the log is locked: 50 µs or so.
const MAX_EVICTED: usize = 256;

/// The log of this process, shared by engines, shards and replays.
#[derive(Debug)]
pub struct Log {
    state: Mutex<State>,
    /// Position of the newest entry; written under the state's lock.
    head: AtomicU64,
    /// Position of the newest dispatched entry; written under the state's lock.
    dispatched: AtomicU64,
    appended: Notify,
    progressed: Notify,
    max_bytes: usize,
    max_age_ms: u64,
}

#[derive(Debug)]
struct State {
    ring: Ring,
    evicted: Evicted,
    /// What waits for dispatch; what is kept of it stands in the ring, too.
    pending: VecDeque<Arc<Entry>>,
    /// Of entries that are pending and not kept.
    fleeting_bytes: usize,
    last_id: EventId,
    dispatched_id: EventId,
    /// Of the newest dispatched entry that is kept; the log's origin before the first.
    dispatched_kept_id: EventId,
    /// Clients from before this one may have missed anything ([`Log::lose_before`]).
    lost_before: EventId,
}

/// How far a client has been served, in this process's numbers and as the client knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Cursor {
    /// What comes after it is still to come.
    pub(crate) position: Position,
    /// The newest id up to there that can be resumed from.
    pub(crate) id: EventId,
}

/// A client's place in the log, taken in the critical section that makes it a target.
#[derive(Debug)]
pub struct Joined {
    /// What comes after it is delivered live, once `replay` has caught up.
    pub(crate) position: Position,
    /// The id that the client resumes from if it is cut off before it gets anything: its own last
    /// one where that is known, the one right before what follows where there is a gap, or else
    /// the newest.
    pub(crate) id: EventId,
    /// Set where what the client missed is not all retained.
    pub(crate) gap: Option<Gap>,
    /// What it missed; nothing where there is nothing.
    pub replay: Option<Replay>,
}

/// The client's last id is not known to the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Gap {
    /// The oldest id that is.
    pub(crate) oldest: Option<EventId>,
}

impl Log {
    /// An empty log that retains at most `max_bytes` and `max_age`; its ids rise from `origin` on.
    pub fn new(max_bytes: usize, max_age: Duration, origin: EventId) -> Self {
        let state = State {
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

    /// Appends an entry that was accepted at `now_ms`, on the monotonic clock. Ids have to rise.
    pub fn append(&self, id: EventId, now_ms: u64, record: Record) {
        let state = self.state.lock();
        debug_assert!(state.last_id < id, "ids rise");
        self.push(state, id, now_ms, record);
    }

    /// Begins again at an id that an earlier process has come to, before anything is restored or
    /// appended: what was before that is gone.
    pub(crate) fn begin_at(&self, id: EventId) {
        let mut state = self.state.lock();
        debug_assert!(self.head() == Position(0), "nothing was appended");
        state.evicted.begin_at(id);
        (state.last_id, state.dispatched_id) = (id, id);
        state.dispatched_kept_id = id;
    }

    /// Puts back what an earlier process stored, as dispatched long ago; it stays for
    /// `max_age` less `age`. Oldest first, before anything is appended.
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

    /// Some of what was before `id`, the newest entry's, is lost, and nobody knows what. No id before
    /// it is known from then on: a client that comes with one gets a gap.
    pub(crate) fn lose_before(&self, id: EventId) {
        self.state.lock().lost_before = id;
    }

    /// Lets a client join: fixes the position from which on it gets events live, and what it
    /// missed since its last one. Called in the critical section that makes it a target.
    ///
    /// An id that the log does not know, of whatever form, is a gap: then all that is retained for
    /// the client counts as missed. It knows those that are retained, the one right before them, and
    /// of those that are gone the ones after which nothing for this client has gone.
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

    /// Position of the newest entry.
    pub(crate) fn head(&self) -> Position {
        Position(self.head.load(Ordering::Acquire))
    }

    /// Position of the newest entry that was handed to the shards.
    pub(crate) fn dispatched_position(&self) -> Position {
        Position(self.dispatched.load(Ordering::Acquire))
    }

    /// Where a client is that got everything for it that was handed to the shards.
    pub(crate) fn dispatched_cursor(&self) -> Cursor {
        let state = self.state.lock();
        Cursor {
            position: self.dispatched_position(),
            id: state.dispatched_kept_id,
        }
    }

    /// The newest id there was, retained or not.
    pub fn newest_id(&self) -> EventId {
        self.state.lock().last_id
    }

    /// Waits until appending does not run ahead of dispatching: by [`MAX_UNDISPATCHED`] entries,
    /// or by so many bytes that the log is over its size.
    pub(crate) async fn room(&self) {
        self.progress_until(|| {
            let state = self.state.lock();
            let waiting = state.pending.len() as u64;
            waiting == 0 || (waiting < MAX_UNDISPATCHED && state.bytes() <= self.max_bytes)
        })
        .await;
    }

    /// Waits until the entry with this id has been handed to the shards.
    pub(crate) async fn dispatched(&self, id: EventId) {
        self.progress_until(|| self.state.lock().dispatched_id >= id)
            .await;
    }

    /// Waits for entries after the last dispatched one, and returns up to `max`. One reader only:
    /// the dispatcher.
    pub async fn next_batch(&self, max: usize) -> Vec<Arc<Entry>> {
        loop {
            let batch = self.undispatched(max);
            if !batch.is_empty() {
                return batch;
            }
            // `notify_one` leaves a permit, so an append between the look and the wait is seen.
            self.appended.notified().await;
        }
    }

    /// Notes that everything up to `entry` is in the shards' inboxes.
    pub fn mark_dispatched(&self, entry: &Entry, now_ms: u64) {
        let mut state = self.state.lock();
        self.dispatched.store(entry.position.0, Ordering::Release);
        state.dispatched_id = entry.id;
        while let Some(first) = state.pending.front()
            && first.position <= entry.position
        {
            let (bytes, id) = (first.heap_bytes(), first.id);
            if first.is_fleeting() {
                state.fleeting_bytes -= bytes;
            } else {
                state.dispatched_kept_id = id;
            }
            state.pending.pop_front();
        }
        self.evict(&mut state, now_ms);
        drop(state);
        self.progressed.notify_waiters();
    }

    /// Drops what is too old at `now_ms`; called now and then, so that a quiet log shrinks.
    pub fn expire(&self, now_ms: u64) {
        // What was published together is too old together: the log is given free in between.
        while self.evict(&mut self.state.lock(), now_ms) {}
        self.state.lock().ring.shrink();
    }

    /// Bytes of the whole log, to the allocation, and entries retained.
    pub fn retained(&self) -> (usize, usize) {
        let state = self.state.lock();
        (state.bytes(), state.ring.len())
    }

    fn push(
        &self,
        mut state: parking_lot::MutexGuard<'_, State>,
        id: EventId,
        now_ms: u64,
        record: Record,
    ) {
        let position = Position(self.head.load(Ordering::Relaxed) + 1);
        let rank = record.is_kept().then(|| state.ring.next_rank());
        let entry = Arc::new(Entry::new(position, rank, id, record, now_ms));
        state.last_id = id;
        if rank.is_some() {
            let expires_ms = now_ms.saturating_add(self.max_age_ms);
            state.ring.push(&entry, expires_ms);
        } else {
            state.fleeting_bytes += entry.heap_bytes();
        }
        state.pending.push_back(entry);
        self.head.store(position.0, Ordering::Release);
        self.evict(&mut state, now_ms);
        drop(state);
        self.appended.notify_one();
    }

    fn undispatched(&self, max: usize) -> Vec<Arc<Entry>> {
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

    async fn progress_until(&self, done: impl Fn() -> bool) {
        loop {
            let progressed = self.progressed.notified();
            tokio::pin!(progressed);
            // Registered before the look, so that progress in between is not missed.
            progressed.as_mut().enable();
            if done() {
                return;
            }
            progressed.await;
        }
    }

    /// Drops what makes the log too large, and of what is too old [`MAX_EVICTED`] at the most; true
    /// where there may be more.
    fn evict(&self, state: &mut State, now_ms: u64) -> bool {
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

impl State {
    /// The id of a client that gets all that is retained. Among what is partly lost it is one that
    /// no event had, so that nobody comes with it who was not told.
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
