//! The parts of the hub, together.

use std::sync::Arc;

use arc_swap::ArcSwap;

use super::directory::{Directory, Rules};
use super::engine::{Engine, Register};
use super::inbox::Inbox;
use super::limits::Limits;
use super::log::Log;
use super::outgoing::InFlight;
use super::quota::Quota;
use crate::clock::Clock;
use crate::metrics::Metrics;

/// Who is connected, what happened, and who is notified; shared by the services and all shards.
pub struct Hub {
    /// The time.
    pub(crate) clock: Clock,
    /// What is counted.
    pub(crate) metrics: Arc<Metrics>,
    pub(super) log: Arc<Log>,
    pub(super) directory: Arc<Directory>,
    pub(super) engine: Arc<dyn Engine>,
    pub(super) limits: ArcSwap<Limits>,
    pub(super) streams: Arc<Quota>,
    pub(super) test_streams: Arc<Quota>,
    pub(super) in_flight: InFlight,
    pub(super) inboxes: Box<[Inbox]>,
}

/// What a hub is made of.
pub(crate) struct Parts {
    /// The time.
    pub(crate) clock: Clock,
    /// What is counted, by shard.
    pub(crate) metrics: Arc<Metrics>,
    /// What happened.
    pub log: Arc<Log>,
    /// Who is connected where.
    pub(crate) directory: Arc<Directory>,
    /// What stores events, and appends them to the log.
    pub(crate) engine: Arc<dyn Engine>,
    /// How many clients there may be.
    pub(crate) limits: Limits,
}

impl Hub {
    /// One over these parts, with an inbox for each shard that is counted for.
    pub(crate) fn new(parts: Parts) -> Arc<Self> {
        let Parts {
            clock,
            metrics,
            log,
            directory,
            engine,
            limits,
        } = parts;
        let inboxes = metrics.shards.iter().map(|_| Inbox::default()).collect();
        Arc::new(Self {
            clock,
            metrics,
            log,
            directory,
            engine,
            limits: ArcSwap::from_pointee(limits),
            streams: Arc::default(),
            test_streams: Arc::default(),
            in_flight: InFlight::default(),
            inboxes,
        })
    }

    /// What happened.
    pub fn log(&self) -> &Arc<Log> {
        &self.log
    }

    /// Who is connected where.
    pub(crate) fn directory(&self) -> &Directory {
        &self.directory
    }

    /// What stores events.
    pub(crate) fn engine(&self) -> &dyn Engine {
        &*self.engine
    }

    /// What must be one for all nodes.
    pub(crate) fn register(&self) -> &dyn Register {
        self.engine.register()
    }

    /// The time in Unix milliseconds that is the same on all nodes. Session changes are dated by it,
    /// so it is also the time of tokens: by when they were issued they are compared with changes.
    pub fn unix_ms(&self) -> u64 {
        self.engine.unix_ms()
    }

    /// What is on its way to clients.
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

    /// How many clients there may be.
    pub(crate) fn limits(&self) -> Limits {
        **self.limits.load()
    }

    /// Takes over reloaded limits and rules, for what comes from now on.
    pub(crate) fn reload(&self, limits: Limits, rules: Rules) {
        self.limits.store(Arc::new(limits));
        self.directory.set_rules(rules);
    }

    /// Streams held and being opened, over all shards.
    pub fn streams(&self) -> &Arc<Quota> {
        &self.streams
    }

    /// Test streams among them.
    pub(crate) fn test_streams(&self) -> &Arc<Quota> {
        &self.test_streams
    }
}

impl std::fmt::Debug for Hub {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Hub").finish_non_exhaustive()
    }
}
