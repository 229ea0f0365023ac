//! The shared state of shards, without a server.

use std::sync::Arc;
use std::time::Duration;

use crate::clock::Clock;
use crate::config::{Compression, OnLimit};
use crate::engine::MemoryEngine;
use crate::event::EventId;
use crate::hub::directory::Directory;
use crate::hub::log::Log;
use crate::hub::{EventCompression, Hub, Limit, Limits, Parts};
use crate::metrics::Metrics;
use crate::shard::shared::{Settings, Shared};

/// Settings for shards with a hub over the memory engine and an empty log.
#[derive(Debug)]
pub struct Setup {
    /// The clock; by default it stands still.
    pub clock: Clock,
    /// Number of shards.
    pub shards: u16,
    /// Bytes that the log retains.
    pub history_bytes: usize,
    /// Time for which the log retains events.
    pub history_age: Duration,
    /// The id that the log begins at.
    pub origin: EventId,
    /// The connected users.
    pub directory: Directory,
    /// Streams of all shards, and slots and handshakes of each.
    pub capacity: usize,
    /// Streams per user.
    pub per_user: usize,
    /// Silence after which a stream gets a heartbeat.
    pub heartbeat: Duration,
    /// Longest time without progress of a client that has a backlog.
    pub stall_timeout: Duration,
    /// Largest backlog of a client.
    pub max_backlog_bytes: usize,
    /// Which events are compressed for clients with a compressed stream; by default none.
    pub compression: Compression,
}

impl Default for Setup {
    fn default() -> Self {
        Self {
            clock: Clock::manual(1_700_000_000_000),
            shards: 1,
            history_bytes: 1 << 20,
            history_age: Duration::from_secs(600),
            origin: EventId { ms: 1, seq: 0 },
            directory: Directory::default(),
            capacity: 64,
            per_user: 5,
            heartbeat: Duration::from_secs(30),
            stall_timeout: Duration::from_secs(30),
            max_backlog_bytes: 64 * 1_024,
            compression: Compression::default(),
        }
    }
}

impl Setup {
    /// Creates the state that the shards share.
    pub fn shared(self) -> Shared {
        let log = Arc::new(Log::new(self.history_bytes, self.history_age, self.origin));
        let hub = Hub::new(Parts {
            engine: Arc::new(MemoryEngine::new(Arc::clone(&log), self.clock.clone())),
            clock: self.clock,
            metrics: Arc::new(Metrics::new(self.shards.into())),
            log,
            directory: Arc::new(self.directory),
            limits: Limits {
                connections: self.capacity,
                test_streams: self.capacity,
                per_user: Limit {
                    connections: self.per_user,
                    on_limit: OnLimit::Reject,
                },
            },
            streams: Arc::default(),
            compression: EventCompression::of(&self.compression),
        });
        let settings = Settings {
            heartbeat: self.heartbeat,
            stall_timeout: self.stall_timeout,
            max_backlog_bytes: self.max_backlog_bytes,
            retry_ms: 2_000..=6_000,
            table_capacity: self.capacity,
            max_handshakes: self.capacity,
        };
        Shared::new(hub, settings)
    }
}
