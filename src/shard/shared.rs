//! What all shards share.

use std::sync::Arc;
use std::time::Duration;

use crate::clock::Clock;
use crate::hub::Hub;
use crate::metrics::Metrics;

/// What bounds a client that reads too slowly or not at all, and how often it hears from us.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    /// Silence after which a stream gets a heartbeat.
    pub(crate) heartbeat: Duration,
    /// Longest time without progress of a client that has a backlog.
    pub(crate) stall_timeout: Duration,
    /// Bytes kept for one client.
    pub(crate) max_backlog_bytes: usize,
    /// Reconnect delays for clients, in milliseconds.
    pub(crate) retry_ms: std::ops::RangeInclusive<u64>,
    /// Slots reserved in each shard's table.
    pub(crate) table_capacity: usize,
    /// Public connections of one shard that are not (yet) a stream.
    pub(crate) max_handshakes: usize,
}

/// The state that all shards share.
#[derive(Clone, Debug)]
pub struct Shared {
    /// The log, the directory and the inboxes.
    pub hub: Arc<Hub>,
    /// The hub's clock, without the way through the hub.
    pub clock: Clock,
    /// The hub's metrics.
    pub metrics: Arc<Metrics>,
    /// Bounds and intervals.
    pub(crate) settings: Arc<Settings>,
}

impl Shared {
    /// Shards of this hub.
    pub(crate) fn new(hub: Arc<Hub>, settings: Settings) -> Self {
        Self {
            clock: hub.clock.clone(),
            metrics: Arc::clone(&hub.metrics),
            hub,
            settings: Arc::new(settings),
        }
    }
}
