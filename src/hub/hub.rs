//! The hub and its parts.

use std::sync::Arc;

use arc_swap::ArcSwap;
use parking_lot::Mutex;

use super::compression::EventCompression;
use super::directory::{Directory, Rules};
use super::dispatcher::Dispatcher;
use super::ended::EndedByChanges;
use super::engine::{Engine, Register};
use super::inbox::Inbox;
use super::limits::Limits;
use super::log::Log;
use super::outgoing::InFlight;
use super::quota::Quota;
use super::tap::Tap;
use crate::clock::Clock;
use crate::metrics::Metrics;

/// The domain's state and verbs. Shared by both HTTP services and all shards.
pub struct Hub {
    /// The clock.
    pub(crate) clock: Clock,
    /// The metrics.
    pub(crate) metrics: Arc<Metrics>,
    pub(super) log: Arc<Log>,
    pub(super) directory: Arc<Directory>,
    pub(super) engine: Arc<dyn Engine>,
    pub(super) limits: ArcSwap<Limits>,
    pub(super) streams: Arc<Quota>,
    pub(super) test_streams: Arc<Quota>,
    pub(super) in_flight: InFlight,
    pub(super) ended: EndedByChanges,
    pub(super) tap: Tap,
    pub(super) dispatcher: Mutex<Dispatcher>,
    pub(super) inboxes: Box<[Inbox]>,
}

/// The parts that a hub is made of.
pub(crate) struct Parts {
    /// The clock.
    pub(crate) clock: Clock,
    /// The metrics, with a part for each shard.
    pub(crate) metrics: Arc<Metrics>,
    /// The log of what happened.
    pub log: Arc<Log>,
    /// The table of connected users.
    pub(crate) directory: Arc<Directory>,
    /// The store of events, which appends them to the log.
    pub(crate) engine: Arc<dyn Engine>,
    /// The limits on streams.
    pub(crate) limits: Limits,
    /// The quota of streams over all shards.
    pub(crate) streams: Arc<Quota>,
    /// Which events are compressed.
    pub(crate) compression: EventCompression,
}

impl Hub {
    /// Assembles a hub, with an inbox for each shard that has metrics.
    pub(crate) fn new(parts: Parts) -> Arc<Self> {
        let Parts {
            clock,
            metrics,
            log,
            directory,
            engine,
            limits,
            streams,
            compression,
        } = parts;
        let dispatcher = Mutex::new(Dispatcher::new(metrics.shards.len()));
        let inboxes = metrics.shards.iter().map(|_| Inbox::default()).collect();
        Arc::new(Self {
            clock,
            metrics,
            log,
            directory,
            engine,
            limits: ArcSwap::from_pointee(limits),
            streams,
            test_streams: Arc::default(),
            in_flight: InFlight::new(compression),
            ended: EndedByChanges::default(),
            tap: Tap::default(),
            dispatcher,
            inboxes,
        })
    }

    /// The log of what happened.
    pub fn log(&self) -> &Arc<Log> {
        &self.log
    }

    /// The table of connected users.
    pub(crate) fn directory(&self) -> &Directory {
        &self.directory
    }

    /// The store of events.
    pub(crate) fn engine(&self) -> &dyn Engine {
        &*self.engine
    }

    /// The state that all nodes share.
    pub(crate) fn register(&self) -> &dyn Register {
        self.engine.register()
    }

    /// The time that all nodes share, in Unix milliseconds. Session changes are dated with it. Tokens are compared
    /// with changes by their time of issue, so they are checked with it, too.
    pub fn unix_ms(&self) -> u64 {
        self.engine.unix_ms()
    }

    /// The entries on their way to clients.
    pub(crate) fn in_flight(&self) -> &InFlight {
        &self.in_flight
    }

    /// The shards' inboxes, by number.
    pub(crate) fn inboxes(&self) -> &[Inbox] {
        &self.inboxes
    }

    /// The inbox of a shard.
    #[allow(clippy::indexing_slicing)] // a shard has an inbox of its own number
    pub(crate) fn inbox(&self, shard: u16) -> &Inbox {
        &self.inboxes[usize::from(shard)]
    }

    /// The limits on streams.
    pub(crate) fn limits(&self) -> Limits {
        **self.limits.load()
    }

    /// Sets reloaded limits and rules. They apply from now on.
    pub(crate) fn reload(&self, limits: Limits, rules: Rules) {
        self.limits.store(Arc::new(limits));
        self.directory.set_rules(rules);
    }

    /// Which events are compressed.
    pub(crate) fn compression(&self) -> EventCompression {
        self.in_flight.compression()
    }

    /// The quota of streams over all shards, including those that are being opened.
    pub fn streams(&self) -> &Arc<Quota> {
        &self.streams
    }

    /// The quota of test streams, which count as streams, too.
    pub(crate) fn test_streams(&self) -> &Arc<Quota> {
        &self.test_streams
    }
}

impl std::fmt::Debug for Hub {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Hub").finish_non_exhaustive()
    }
}
