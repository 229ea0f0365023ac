//! What happened, in order: the ring of events and session changes that engines append to and
//! that delivery reads.
//!
//! The log owns positions. An entry is appended once, dispatched once, and then retained while
//! it is young enough and the ring small enough. What is not yet dispatched is never evicted;
//! appending waits instead ([`Log::room`]).

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::clock::millis;
use crate::event::{EventId, SessionChange, Target};
use crate::frame::Frame;

/// Entries that may wait for dispatch before publishing waits: several batches, so that shards
/// never idle, and few enough that a stuck shard is noticed by the publisher.
pub const MAX_UNDISPATCHED: u64 = 16_384;

/// Bytes of entries that are in the shards' inboxes and not yet with all their clients. Beyond
/// it the dispatcher waits, so that what is undelivered stays in the ring, which is bounded; a
/// few batches, so that no shard waits for the dispatcher.
const MAX_IN_FLIGHT_BYTES: usize = 8 << 20;
/// Bytes of one batch, a single larger entry aside.
const MAX_BATCH_BYTES: usize = 1 << 20;

/// What an entry costs beside its frame: the entry, its reference counts, its place in the ring.
const ENTRY_OVERHEAD_BYTES: usize =
    size_of::<Entry>() + 2 * size_of::<usize>() + size_of::<usize>();

/// A place in this process's log; the first entry has 1. Connections remember the one they
/// joined at, so that they get what came after and nothing twice.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Position(pub u64);

/// One thing that happened.
#[derive(Debug)]
pub struct Entry {
    /// Its place in this log.
    pub position: Position,
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
    },
    /// A user's session changed; the others get the frame and their end.
    Session {
        /// The change.
        change: SessionChange,
        /// The `FORCE_LOGOUT` event.
        frame: Frame,
    },
}

impl Record {
    /// The bytes that clients get.
    pub fn frame(&self) -> &Frame {
        match self {
            Self::Event { frame, .. } | Self::Session { frame, .. } => frame,
        }
    }
}

impl Entry {
    fn cost_bytes(&self) -> usize {
        let named = match &self.record {
            Record::Event { to, .. } => to.heap_bytes(),
            Record::Session { change, .. } => {
                change.user.as_str().len() + change.keep.as_deref().map_or(0, str::len)
            }
        };
        self.record.frame().len() + named + ENTRY_OVERHEAD_BYTES
    }
}

/// The ring. See the module's text.
#[derive(Debug)]
pub struct Log {
    ring: Mutex<Ring>,
    /// Position of the newest entry; written under the ring's lock.
    head: AtomicU64,
    /// Position of the newest dispatched entry; written under the ring's lock.
    dispatched: AtomicU64,
    in_flight_bytes: AtomicUsize,
    appended: Notify,
    progressed: Notify,
    delivered: Notify,
    max_bytes: usize,
    max_age_ms: u64,
}

#[derive(Debug, Default)]
struct Ring {
    entries: VecDeque<Arc<Entry>>,
    bytes: usize,
    last_id: EventId,
    dispatched_id: EventId,
}

impl Log {
    /// An empty log that retains at most `max_bytes` and `max_age`.
    pub fn new(max_bytes: usize, max_age: Duration) -> Self {
        Self {
            ring: Mutex::default(),
            head: AtomicU64::new(0),
            dispatched: AtomicU64::new(0),
            in_flight_bytes: AtomicUsize::new(0),
            appended: Notify::new(),
            progressed: Notify::new(),
            delivered: Notify::new(),
            max_bytes,
            max_age_ms: millis(max_age),
        }
    }

    /// Appends what `record` makes of its id; ids rise strictly, whatever the machine's clock
    /// does. Both times are of now: the wall clock gives the id, the monotonic one the age.
    pub fn append(
        &self,
        unix_ms: u64,
        now_ms: u64,
        record: impl FnOnce(EventId) -> Record,
    ) -> EventId {
        let mut ring = self.ring.lock();
        let id = ring.last_id.next(unix_ms);
        let position = Position(self.head.load(Ordering::Relaxed) + 1);
        let entry = Arc::new(Entry {
            position,
            id,
            record: record(id),
            accepted_ms: now_ms,
            unfinished_shards: AtomicUsize::new(0),
        });
        ring.last_id = id;
        ring.bytes += entry.cost_bytes();
        ring.entries.push_back(entry);
        self.head.store(position.0, Ordering::Release);
        self.evict(&mut ring, now_ms);
        drop(ring);
        self.appended.notify_one();
        id
    }

    /// Position of the newest entry.
    pub fn head(&self) -> Position {
        Position(self.head.load(Ordering::Acquire))
    }

    /// Waits until appending does not run ahead of dispatching: by [`MAX_UNDISPATCHED`] entries,
    /// or by so many bytes that the ring is over its size.
    pub async fn room(&self) {
        self.progress_until(|| {
            let ring = self.ring.lock();
            let waiting =
                self.head.load(Ordering::Relaxed) - self.dispatched.load(Ordering::Relaxed);
            waiting == 0 || (waiting < MAX_UNDISPATCHED && ring.bytes <= self.max_bytes)
        })
        .await;
    }

    /// Waits until the entry with this id has been handed to the shards.
    pub async fn dispatched(&self, id: EventId) {
        self.progress_until(|| self.ring.lock().dispatched_id >= id)
            .await;
    }

    /// Notes that so many shards will send the entry to their clients. Called once, before any of
    /// them sees it.
    pub fn expect_shards(&self, entry: &Entry, shards: usize) {
        entry.unfinished_shards.store(shards, Ordering::Relaxed);
        if shards > 0 {
            self.in_flight_bytes
                .fetch_add(entry.cost_bytes(), Ordering::Relaxed);
        }
    }

    /// A shard has sent the entry to all its clients; true for the last one.
    pub fn finish_shard(&self, entry: &Entry) -> bool {
        let is_last = entry.unfinished_shards.fetch_sub(1, Ordering::AcqRel) == 1;
        if is_last {
            self.in_flight_bytes
                .fetch_sub(entry.cost_bytes(), Ordering::Relaxed);
            self.delivered.notify_one();
        }
        is_last
    }

    /// Waits for entries after the last dispatched one, and until the shards have room for them;
    /// returns up to `max`. One reader only: the dispatcher.
    pub async fn next_batch(&self, max: usize) -> Vec<Arc<Entry>> {
        while self.in_flight_bytes.load(Ordering::Relaxed) > MAX_IN_FLIGHT_BYTES {
            // `notify_one` leaves a permit, so a delivery in between is not missed.
            self.delivered.notified().await;
        }
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
        let mut ring = self.ring.lock();
        self.dispatched.store(entry.position.0, Ordering::Release);
        ring.dispatched_id = entry.id;
        self.evict(&mut ring, now_ms);
        drop(ring);
        self.progressed.notify_waiters();
    }

    /// Drops what is too old at `now_ms`; called now and then, so that a quiet log shrinks.
    pub fn expire(&self, now_ms: u64) {
        self.evict(&mut self.ring.lock(), now_ms);
    }

    /// Bytes and entries retained.
    pub fn retained(&self) -> (usize, usize) {
        let ring = self.ring.lock();
        (ring.bytes, ring.entries.len())
    }

    fn undispatched(&self, max: usize) -> Vec<Arc<Entry>> {
        let ring = self.ring.lock();
        let dispatched = self.dispatched.load(Ordering::Relaxed);
        let waiting = self.head.load(Ordering::Relaxed) - dispatched;
        let first = ring.entries.len() - usize::try_from(waiting).unwrap_or(usize::MAX);
        let mut bytes = 0;
        ring.entries
            .iter()
            .skip(first)
            .take(max)
            .take_while(|entry| {
                let is_first = bytes == 0;
                bytes += entry.cost_bytes();
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

    fn evict(&self, ring: &mut Ring, now_ms: u64) {
        let dispatched = self.dispatched.load(Ordering::Relaxed);
        while let Some(oldest) = ring.entries.front() {
            let too_old = now_ms.saturating_sub(oldest.accepted_ms) > self.max_age_ms;
            if oldest.position.0 > dispatched || !(too_old || ring.bytes > self.max_bytes) {
                break;
            }
            ring.bytes -= oldest.cost_bytes();
            ring.entries.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn broadcast(data: &str) -> impl FnOnce(EventId) -> Record {
        move |id| Record::Event {
            to: Target::All,
            frame: Frame::event(Some(id), "message", data),
        }
    }

    #[tokio::test]
    async fn entries_come_out_once_and_in_order() {
        let log = Log::new(1 << 20, Duration::from_secs(600));
        for _ in 0..3 {
            log.append(1_000, 0, broadcast("x"));
        }
        let first = log.next_batch(2).await;
        log.mark_dispatched(&first[1], 0);
        let second = log.next_batch(2).await;
        let positions = |batch: &[Arc<Entry>]| -> Vec<u64> {
            batch.iter().map(|entry| entry.position.0).collect()
        };
        assert_eq!(positions(&first), [1, 2]);
        assert_eq!(positions(&second), [3]);
    }

    #[tokio::test]
    async fn what_is_not_dispatched_is_not_evicted() {
        let log = Log::new(1, Duration::ZERO);
        log.append(1_000, 0, broadcast("x"));
        log.append(1_000, 0, broadcast("y"));
        log.expire(10_000);
        assert_eq!(log.retained().1, 2);
        let batch = log.next_batch(10).await;
        log.mark_dispatched(&batch[0], 10_000);
        assert_eq!(log.retained().1, 1);
        log.mark_dispatched(&batch[1], 10_000);
        assert_eq!(log.retained(), (0, 0));
    }

    #[tokio::test]
    async fn the_reader_waits_while_too_much_is_on_its_way() {
        let log = Log::new(1 << 30, Duration::from_secs(600));
        let data = "d".repeat(MAX_BATCH_BYTES);
        let mut on_the_way = Vec::new();
        for _ in 0..MAX_IN_FLIGHT_BYTES / MAX_BATCH_BYTES {
            log.append(1_000, 0, broadcast(&data));
            let batch = log.next_batch(10).await;
            assert_eq!(batch.len(), 1, "a batch is bounded by its bytes");
            log.expect_shards(&batch[0], 2);
            log.mark_dispatched(&batch[0], 0);
            on_the_way.extend(batch);
        }
        log.append(1_000, 0, broadcast("x"));
        let mut next = Box::pin(log.next_batch(10));
        let mut waits = async || {
            tokio::select! {
                biased;
                _ = &mut next => false,
                () = tokio::task::yield_now() => true,
            }
        };
        assert!(waits().await);
        assert!(!log.finish_shard(&on_the_way[0]) && waits().await);
        assert!(log.finish_shard(&on_the_way[0]) && !waits().await);
    }

    proptest! {
        #[test]
        fn the_ring_agrees_with_a_naive_model(steps in prop::collection::vec((0u8..4, 0usize..400, 0u64..500), 1..80)) {
            let (max_bytes, max_age_ms) = (3_000, 1_000);
            let log = Log::new(max_bytes, Duration::from_millis(max_age_ms));
            // (position, cost, accepted) of all that was ever appended
            let mut model: VecDeque<(u64, usize, u64)> = VecDeque::new();
            let (mut head, mut dispatched, mut now_ms) = (0, 0, 0);
            for (step, size, wait_ms) in steps {
                now_ms += wait_ms;
                match step {
                    0 | 1 => {
                        let data = "d".repeat(size);
                        let id = log.append(5_000, now_ms, broadcast(&data));
                        head += 1;
                        let cost = Frame::event(Some(id), "message", &data).len() + ENTRY_OVERHEAD_BYTES;
                        model.push_back((head, cost, now_ms));
                    }
                    2 => {
                        let batch = log.undispatched(size % 7 + 1);
                        if let Some(last) = batch.last() {
                            prop_assert_eq!(batch[0].position.0, dispatched + 1);
                            dispatched = last.position.0;
                            log.mark_dispatched(last, now_ms);
                        }
                    }
                    _ => {}
                }
                log.expire(now_ms);
                while let Some(&(position, _, accepted)) = model.front() {
                    let bytes: usize = model.iter().map(|entry| entry.1).sum();
                    if position <= dispatched && (bytes > max_bytes || now_ms - accepted > max_age_ms) {
                        model.pop_front();
                    } else {
                        break;
                    }
                }
                let bytes: usize = model.iter().map(|entry| entry.1).sum();
                prop_assert_eq!(log.retained(), (bytes, model.len()));
                prop_assert_eq!(log.head(), Position(head));
            }
        }
    }
}
