//! The admin service: the state that its routes share, and what a reload changes.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::sync::mpsc;

use super::connection::{OpenConnections, PassedConnection, Passing};
use super::dashboard::{LiveStats, Rates};
use super::last_upgrade::LastUpgrade;
use super::refused_requests::RefusedRequests;
use super::request_counts::RequestCounts;
use super::wrong_keys::WrongKeys;
use crate::auth::api_key::ApiKeys;
use crate::config::{Config, SPARE_ADMIN_CONNECTIONS};
use crate::hub::Hub;
use crate::hub::engine::EngineHealth;
use crate::refusals::RecentRefusals;
use crate::shutdown::Shutdown;

/// Returns the reason why the public side cannot accept clients; `None` if it can.
pub(crate) type NotReady = Box<dyn Fn() -> Option<String> + Send + Sync>;

/// The admin service.
pub(crate) struct Admin {
    pub(super) hub: Arc<Hub>,
    pub(super) public_not_ready: NotReady,
    pub(super) keys: ArcSwap<ApiKeys>,
    pub(super) wrong_keys: WrongKeys,
    pub(super) connections: Arc<OpenConnections>,
    pub(super) passing: Passing,
    max_publish_bytes: AtomicUsize,
    pub(super) max_handshakes: usize,
    pub(super) max_history_bytes: usize,
    pub(super) max_history_age: Duration,
    pub(super) shutdown: Shutdown,
    pub(super) rates: Rates,
    pub(super) live: LiveStats,
    pub(super) refused_requests: RefusedRequests,
    pub(super) requests: RequestCounts,
    pub(super) recent_refusals: Arc<RecentRefusals>,
    /// Whether the public side has the demo page (`--dev`).
    pub(super) has_demo: bool,
    /// When the process started, in Unix seconds.
    pub(super) started_unix_s: u64,
    /// Set if this process took over from another.
    pub(super) last_upgrade: OnceLock<LastUpgrade>,
}

impl Admin {
    /// Creates the service. `recent_refusals` and `public_not_ready` belong to the public side.
    pub(crate) fn new(
        config: &Config,
        hub: Arc<Hub>,
        recent_refusals: Arc<RecentRefusals>,
        public_not_ready: NotReady,
        has_demo: bool,
        shutdown: Shutdown,
    ) -> Self {
        Self {
            // Reading the history takes time, so the process started before now.
            started_unix_s: (hub.clock.unix_ms() - hub.clock.now_ms()) / 1_000,
            connections: Arc::new(OpenConnections::new(
                hub.clock.clone(),
                config.admin_max_connections,
                SPARE_ADMIN_CONNECTIONS,
            )),
            passing: Passing::default(),
            wrong_keys: WrongKeys::default(),
            hub,
            public_not_ready,
            keys: ArcSwap::from_pointee(ApiKeys::new(&config.admin)),
            max_publish_bytes: AtomicUsize::new(config.max_publish_bytes),
            max_handshakes: config.max_handshakes,
            max_history_bytes: config.history.max_bytes,
            max_history_age: config.history.max_age,
            shutdown,
            rates: Rates::default(),
            live: LiveStats::default(),
            refused_requests: RefusedRequests::default(),
            requests: RequestCounts::default(),
            recent_refusals,
            has_demo,
            last_upgrade: OnceLock::new(),
        }
    }

    /// Applies the API keys and the event size limit of a reloaded configuration.
    pub(crate) fn reload(&self, config: &Config) {
        self.keys.store(Arc::new(ApiKeys::new(&config.admin)));
        self.max_publish_bytes
            .store(config.max_publish_bytes, Ordering::Relaxed);
    }

    /// Accepts no more connections, and passes those that are open on as soon as each is between two requests.
    pub(crate) fn pass_on(&self) -> mpsc::UnboundedReceiver<PassedConnection> {
        self.passing.begin()
    }

    /// Notes how this process took over from another. It does so once.
    pub(crate) fn note_upgrade(&self, upgrade: LastUpgrade) {
        let _ = self.last_upgrade.set(upgrade);
    }

    /// Accepts and keeps connections again.
    pub(crate) fn keep(&self) {
        self.passing.end();
    }

    /// The other process serves: connections that it does not have are closed, each when it is between two requests.
    pub(crate) fn leave(&self) {
        self.passing.complete();
    }

    /// The number of open connections whose response is not a stream.
    pub(crate) fn unfinished(&self) -> usize {
        self.connections.unfinished()
    }

    pub(super) fn max_publish_bytes(&self) -> usize {
        self.max_publish_bytes.load(Ordering::Relaxed)
    }

    /// The reason why clients should not be sent here; `None` if they may be.
    pub(super) fn not_ready(&self) -> Option<String> {
        if self.shutdown.is_draining() {
            return Some("draining".to_owned());
        }
        match self.hub.engine().health() {
            EngineHealth::Well => (self.public_not_ready)(),
            EngineHealth::Failing(error) => Some(error.to_string()),
            EngineHealth::Away(reason) => Some(reason.as_ref().to_owned()),
        }
    }

    /// Returns true if `max_connections` is reached.
    pub(super) fn is_full(&self) -> bool {
        self.hub.streams().used() >= self.hub.limits().connections as u64
    }
}
