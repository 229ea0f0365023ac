//! The admin listener: publish, users, health, metrics, the dashboard. An ordinary hyper service on
//! the control runtime; nothing here holds bytes per client.

#![warn(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

mod acceptor;
mod answer;
mod body;
mod connection;
mod dashboard;
mod events;
mod health;
mod line;
mod live;
mod metrics;
mod moment;
mod openapi;
mod past;
mod places;
mod process;
mod rates;
mod recent_refusals;
mod refusals;
mod routes;
mod span;
mod stats;
mod users;
mod wrong_keys;

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;

use crate::auth::api_key::ApiKeys;
use crate::config::{Config, SPARE_ADMIN_CONNECTIONS};
use crate::hub::Hub;
use crate::refusals::RecentRefusals;
use crate::shutdown::Shutdown;
pub use acceptor::serve;
use line::Line;
use live::Live;
use places::Places;
use rates::Rates;
use refusals::Refusals;
use wrong_keys::WrongKeys;

/// A connection's buffer: the largest head it may send, and what waits for a slow reader in it.
const BUFFER_BYTES: usize = 64 * 1024;

/// Says why the public side lets nobody in; `None` where it does.
pub type NotReady = Box<dyn Fn() -> Option<String> + Send + Sync>;

/// The admin service.
pub struct Admin {
    hub: Arc<Hub>,
    public_not_ready: NotReady,
    keys: ArcSwap<ApiKeys>,
    wrong_keys: WrongKeys,
    places: Arc<Places>,
    limits: ArcSwap<Limits>,
    max_handshakes: usize,
    max_history_bytes: usize,
    max_history_age: Duration,
    shutdown: Shutdown,
    rates: Rates,
    live: Live,
    refusals: Refusals,
    recent_refusals: Arc<RecentRefusals>,
    /// When the process started, in Unix seconds.
    started_unix_s: u64,
}

/// What SIGHUP may change, beside the keys.
struct Limits {
    publish_bytes: usize,
    connections: usize,
    connections_per_user: usize,
}

impl Limits {
    fn new(config: &Config) -> Self {
        Self {
            publish_bytes: config.max_publish_bytes,
            connections: config.max_connections,
            connections_per_user: config.max_connections_per_user,
        }
    }
}

impl Admin {
    /// The service of `config` over this hub; `recent_refusals` are the public
    /// side's, and so is what it waits for (`public_not_ready`).
    pub fn new(
        config: &Config,
        hub: Arc<Hub>,
        recent_refusals: Arc<RecentRefusals>,
        public_not_ready: NotReady,
        shutdown: Shutdown,
    ) -> Self {
        Self {
            // Not now: the history was read first.
            started_unix_s: (hub.clock.unix_ms() - hub.clock.now_ms()) / 1_000,
            places: Arc::new(Places::new(
                hub.clock.clone(),
                config.admin_max_connections,
                SPARE_ADMIN_CONNECTIONS,
            )),
            wrong_keys: WrongKeys::default(),
            hub,
            public_not_ready,
            keys: ArcSwap::from_pointee(ApiKeys::new(&config.admin)),
            limits: ArcSwap::from_pointee(Limits::new(config)),
            max_handshakes: config.max_handshakes,
            max_history_bytes: config.history.max_bytes,
            max_history_age: config.history.max_age,
            shutdown,
            rates: Rates::default(),
            live: Live::default(),
            refusals: Refusals::default(),
            recent_refusals,
        }
    }

    /// Takes over reloaded keys and limits.
    pub fn reload(&self, config: &Config) {
        self.keys.store(Arc::new(ApiKeys::new(&config.admin)));
        self.limits.store(Arc::new(Limits::new(config)));
    }

    /// Samples the counters that `/v1/stats` makes rates of, and tells the dashboards; called once
    /// a second.
    pub fn tick(&self) {
        self.rates
            .sample(self.hub.clock.now_ms(), &self.hub.metrics);
        self.live.tick(self);
    }

    /// Ends the dashboards' streams, once the server has stopped: there is nothing more to tell.
    pub fn finish(&self) {
        self.live.finish();
    }

    fn max_publish_bytes(&self) -> usize {
        self.limits.load().publish_bytes
    }

    /// Why no client should be sent here; `None` where one may be.
    fn not_ready(&self) -> Option<String> {
        if self.shutdown.is_draining() {
            return Some("draining".to_owned());
        }
        let engine = self
            .hub
            .engine()
            .ready()
            .err()
            .map(|error| error.to_string());
        engine.or_else(|| (self.public_not_ready)())
    }

    /// Whether no more streams fit.
    fn is_full(&self) -> bool {
        let most = self.limits.load().connections as u64;
        self.hub.streams().used() >= most
    }
}
