//! The service: what its routes share, and what a reload changes.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;

use super::connection::Places;
use super::dashboard::{Live, Rates};
use super::refused_requests::RefusedRequests;
use super::wrong_keys::WrongKeys;
use crate::auth::api_key::ApiKeys;
use crate::config::{Config, SPARE_ADMIN_CONNECTIONS};
use crate::hub::Hub;
use crate::refusals::RecentRefusals;
use crate::shutdown::Shutdown;

/// Says why the public side lets nobody in; `None` where it does.
pub(crate) type NotReady = Box<dyn Fn() -> Option<String> + Send + Sync>;

/// The admin service.
pub(crate) struct Admin {
    pub(super) hub: Arc<Hub>,
    pub(super) public_not_ready: NotReady,
    pub(super) keys: ArcSwap<ApiKeys>,
    pub(super) wrong_keys: WrongKeys,
    pub(super) places: Arc<Places>,
    pub(super) limits: ArcSwap<Limits>,
    pub(super) max_handshakes: usize,
    pub(super) max_history_bytes: usize,
    pub(super) max_history_age: Duration,
    pub(super) shutdown: Shutdown,
    pub(super) rates: Rates,
    pub(super) live: Live,
    pub(super) refused_requests: RefusedRequests,
    pub(super) recent_refusals: Arc<RecentRefusals>,
    /// When the process started, in Unix seconds.
    pub(super) started_unix_s: u64,
}

/// What SIGHUP may change, beside the keys.
pub(super) struct Limits {
    pub(super) publish_bytes: usize,
    pub(super) connections: usize,
    pub(super) connections_per_user: usize,
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
    pub(crate) fn new(
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
            refused_requests: RefusedRequests::default(),
            recent_refusals,
        }
    }

    /// Takes over reloaded keys and limits.
    pub(crate) fn reload(&self, config: &Config) {
        self.keys.store(Arc::new(ApiKeys::new(&config.admin)));
        self.limits.store(Arc::new(Limits::new(config)));
    }

    pub(super) fn max_publish_bytes(&self) -> usize {
        self.limits.load().publish_bytes
    }

    /// Why no client should be sent here; `None` where one may be.
    pub(super) fn not_ready(&self) -> Option<String> {
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
    pub(super) fn is_full(&self) -> bool {
        let most = self.limits.load().connections as u64;
        self.hub.streams().used() >= most
    }
}
