//! Entries on their way to clients: encoded once for all clients, and bounded.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};

use tokio::sync::Notify;

use super::compression::EventCompression;
use crate::hub::log::Entry;
use crate::wire::{Encoded, Piece, Wire};

/// Most bytes of entries in the shards' inboxes that have not been sent to all their clients. Beyond this, the
/// dispatcher waits, so that undelivered entries stay in the log, which is bounded. It is a few batches, so
/// that no shard waits for the dispatcher.
const MAX_IN_FLIGHT_BYTES: usize = 8 << 20;

/// An entry on its way to clients of some shards, and the bytes that they get. The bytes are dropped when the last
/// shard has finished with the entry. The log does not keep them.
#[derive(Debug)]
pub(crate) struct Outgoing {
    entry: Arc<Entry>,
    encoded: Encoded,
    /// The number of shards that have not finished with the entry. The last one measures the delivery.
    unfinished_shards: AtomicU32,
    compression: EventCompression,
}

impl Outgoing {
    fn new(entry: &Arc<Entry>, shards: usize, compression: EventCompression) -> Arc<Self> {
        // There are fewer shards than `config` allows, which is some hundreds.
        let shards = u32::try_from(shards).unwrap_or(u32::MAX);
        Arc::new(Self {
            entry: Arc::clone(entry),
            encoded: Encoded::default(),
            unfinished_shards: AtomicU32::new(shards),
            compression,
        })
    }

    /// The entry.
    pub(crate) fn entry(&self) -> &Arc<Entry> {
        &self.entry
    }

    /// The bytes that clients of this wire get.
    pub(crate) fn piece(&self, wire: Wire) -> Piece<'_> {
        let compress_from = self.compression.min_bytes();
        self.encoded
            .get_compressed(wire, compress_from, || self.entry.signal())
    }

    /// Bytes that [`Outgoing::piece`] would still have to compress for its first client with a compressed stream.
    pub(crate) fn uncompressed_bytes(&self) -> usize {
        let bytes = self.entry.wire_bytes();
        if bytes < self.compression.min_bytes() || self.encoded.is_compressed() {
            return 0;
        }
        bytes
    }

    /// Bytes of the entry and of its encodings, if some clients use SSE, some WebSocket, and some compressed SSE.
    fn bytes(&self) -> usize {
        let encodings = 2 + usize::from(self.compression.is_offered());
        self.entry.heap_bytes() + encodings * self.entry.wire_bytes()
    }
}

/// Counts the bytes that are on their way.
#[derive(Debug)]
pub(crate) struct InFlight {
    bytes: AtomicUsize,
    finished: Notify,
    compression: EventCompression,
}

impl InFlight {
    /// Nothing is on its way yet.
    pub(crate) fn new(compression: EventCompression) -> Self {
        Self {
            bytes: AtomicUsize::new(0),
            finished: Notify::new(),
            compression,
        }
    }

    /// Which events are compressed.
    pub(crate) fn compression(&self) -> EventCompression {
        self.compression
    }

    /// Sends an entry on its way to at least one shard. Each of the shards must call [`InFlight::finish`] for it.
    pub(crate) fn begin(&self, entry: &Arc<Entry>, shards: usize) -> Arc<Outgoing> {
        let outgoing = Outgoing::new(entry, shards, self.compression);
        self.bytes.fetch_add(outgoing.bytes(), Ordering::Relaxed);
        outgoing
    }

    /// Notes that a shard has sent the entry to all its clients. Returns true for the last shard.
    pub(crate) fn finish(&self, outgoing: &Outgoing) -> bool {
        let is_last = outgoing.unfinished_shards.fetch_sub(1, Ordering::AcqRel) == 1;
        if is_last {
            self.bytes.fetch_sub(outgoing.bytes(), Ordering::Relaxed);
            self.finished.notify_one();
        }
        is_last
    }

    /// Returns true if the shards have room for more.
    pub(crate) fn has_room(&self) -> bool {
        self.bytes.load(Ordering::Relaxed) <= MAX_IN_FLIGHT_BYTES
    }

    /// Waits until the shards have room for more. Only the dispatcher's task calls this.
    pub(crate) async fn room(&self) {
        while !self.has_room() {
            // `notify_one` leaves a permit, so an entry that finishes in between is not missed.
            self.finished.notified().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::config::Compression;
    use crate::event::{EventId, EventName, Target};
    use crate::hub::log::{Log, Record};

    /// The log's only entry, with a text of as many bytes.
    async fn entry(bytes: usize) -> Arc<Entry> {
        let log = Log::new(1 << 30, Duration::from_secs(600), EventId::origin(1));
        log.append(
            log.newest_id().next(1_000),
            0,
            Record::Event {
                to: Target::All,
                name: EventName::default(),
                data: "d".repeat(bytes).into(),
                is_kept: true,
            },
        )
        .unwrap();
        log.next_batch(1).await.remove(0)
    }

    #[tokio::test]
    async fn an_entry_is_compressed_once_and_only_if_it_is_large() {
        let compression = EventCompression::of(&Compression {
            enabled: true,
            min_bytes: 300,
        });
        let large = Outgoing::new(&entry(1_000).await, 2, compression);
        large.piece(Wire::SseChunked);
        assert_eq!(large.uncompressed_bytes(), large.entry().wire_bytes());
        large.piece(Wire::SseGzip);
        assert_eq!(large.uncompressed_bytes(), 0);
        let small = Outgoing::new(&entry(100).await, 2, compression);
        assert_eq!(small.uncompressed_bytes(), 0);
        let unoffered = Outgoing::new(&entry(1_000).await, 2, EventCompression::OFF);
        assert_eq!(unoffered.uncompressed_bytes(), 0);
    }

    #[tokio::test]
    async fn the_dispatcher_waits_while_too_many_bytes_are_in_flight() {
        const BYTES: usize = 1 << 20;
        let entry = &entry(BYTES).await;
        let in_flight = InFlight::new(EventCompression::OFF);
        let outgoing: Vec<_> = (0..MAX_IN_FLIGHT_BYTES.div_ceil(3 * BYTES))
            .map(|_| in_flight.begin(entry, 2))
            .collect();
        let mut room = Box::pin(in_flight.room());
        let mut waits = async || {
            tokio::select! {
                biased;
                () = &mut room => false,
                () = tokio::task::yield_now() => true,
            }
        };
        assert!(waits().await);
        assert!(!in_flight.finish(&outgoing[0]) && waits().await);
        assert!(in_flight.finish(&outgoing[0]) && !waits().await);
        for outgoing in &outgoing[1..] {
            assert!(!in_flight.finish(outgoing) && in_flight.finish(outgoing));
        }
        assert_eq!(in_flight.bytes.load(Ordering::Relaxed), 0);
    }
}
