//! The state that all shards share.

use std::sync::Arc;
use std::time::Duration;

use crate::clock::Clock;
use crate::hub::Hub;
use crate::metrics::Metrics;

/// Limits for clients that read too slowly or not at all, heartbeats, and the sizes of tables.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    /// The time without a write after which a stream gets a heartbeat.
    pub(crate) heartbeat: Duration,
    /// The longest time for which a backlog may make no progress.
    pub(crate) stall_timeout: Duration,
    /// The largest backlog of one client.
    pub(crate) max_backlog_bytes: usize,
    /// The range of reconnect delays for clients, in milliseconds.
    pub(crate) retry_ms: std::ops::RangeInclusive<u64>,
    /// Slots reserved in each shard's table.
    pub(crate) table_capacity: usize,
    /// The most public connections of one shard that are not streams, or not yet.
    pub(crate) max_handshakes: usize,
}

/// The state that all shards share.
#[derive(Clone, Debug)]
pub struct Shared {
    /// The log, the directory and the inboxes.
    pub hub: Arc<Hub>,
    /// The hub's clock, for direct access.
    pub clock: Clock,
    /// The hub's metrics, for direct access.
    pub metrics: Arc<Metrics>,
    /// Limits and intervals.
    pub(crate) settings: Arc<Settings>,
}

impl Shared {
    /// Creates the state for the shards of this hub.
    pub(crate) fn new(hub: Arc<Hub>, settings: Settings) -> Self {
        Self {
            clock: hub.clock.clone(),
            metrics: Arc::clone(&hub.metrics),
            hub,
            settings: Arc::new(settings),
        }
    }
}
