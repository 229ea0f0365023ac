//! The public service: the state that the connections of all shards share.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::runtime::Handle;

use super::connection::HandshakeRefusal;
use super::denials::Denials;
use super::guide::{Demo, Login};
use super::reloadable::Reloadable;
use super::requests::Requests;
use super::routes::Routes;
use crate::auth::checks::Checks;
use crate::auth::keys::KeysError;
use crate::auth::keys::remote::FetchedKeys;
use crate::config::{Config, TrustedProxy};
use crate::hub::Hub;
use crate::metrics::RefusedReason;
use crate::refusals::{RecentRefusals, RefusalNote};
use crate::shutdown::Shutdown;
use crate::tls::Tls;

/// The public service, shared by all shards.
pub struct Public {
    pub(super) hub: Arc<Hub>,
    pub(super) reloadable: ArcSwap<Reloadable>,
    pub(super) routes: Routes,
    pub(super) checks: Checks,
    pub(super) denials: Denials,
    pub(super) login: Option<Login>,
    pub(super) demo: Option<Demo>,
    pub(super) refusals: Arc<RecentRefusals>,
    pub(super) trusted_proxies: Vec<TrustedProxy>,
    pub(super) handshake_timeout: Duration,
    pub(super) retry_after_s: u64,
    pub(super) shutdown: Shutdown,
    pub(super) requests: Requests,
    /// The TLS settings, if any listener uses TLS.
    pub(super) tls: Option<Arc<Tls>>,
    /// Set after the first warning about a connection without the PROXY header that its listener requires.
    pub(super) warned_missing_proxy_header: AtomicBool,
    /// Set after the first warning about a client whose TLS version is too old.
    pub(super) warned_old_tls_version: AtomicBool,
    /// The runtime for work that must not run on a shard: hashing passwords, waiting for the engine.
    pub(super) control: Handle,
}

/// Optional parts of a server.
#[derive(Default)]
pub struct Extras {
    /// The built-in login.
    pub login: Option<Login>,
    /// The demo page.
    pub demo: Option<Demo>,
    /// The settings of listeners with TLS.
    pub tls: Option<Arc<Tls>>,
}

impl Public {
    /// Creates the service for `config`; `control` is the runtime for work outside the shards.
    pub fn new(
        config: &Config,
        reloadable: Reloadable,
        extras: Extras,
        hub: Arc<Hub>,
        control: Handle,
        shutdown: Shutdown,
    ) -> Self {
        let Extras { login, demo, tls } = extras;
        Self {
            reloadable: ArcSwap::from_pointee(reloadable),
            routes: Routes::new(config, login.is_some(), demo.is_some()),
            checks: Checks::new(hub.clock.clone()),
            denials: Denials::default(),
            login,
            demo,
            refusals: Arc::default(),
            trusted_proxies: config.trusted_proxies.clone(),
            handshake_timeout: config.handshake_timeout,
            retry_after_s: config.retry_max.as_secs().max(1),
            shutdown,
            requests: Requests::default(),
            tls,
            warned_old_tls_version: AtomicBool::new(false),
            warned_missing_proxy_header: AtomicBool::new(false),
            hub,
            control,
        }
    }

    /// Uses the reloaded secrets, keys and CORS rules for all later requests.
    ///
    /// # Errors
    /// [`KeysError`] if the key set that was fetched earlier does not fit the new settings. The old
    /// settings then stay in force.
    pub fn reload(&self, mut reloadable: Reloadable) -> Result<(), KeysError> {
        reloadable.take_over(&self.reloadable.load())?;
        self.reloadable.store(Arc::new(reloadable));
        self.fetch_keys();
        Ok(())
    }

    /// Starts fetching the key set of the configuration in force, if it comes from a URL. Must not be
    /// called before the shards have their own descriptor tables: these would keep copies of its sockets.
    pub fn fetch_keys(&self) {
        if let Some(keys) = self.reloadable.load().verifier.remote_keys() {
            keys.keep_fresh(&self.control, self.hub.clock.clone());
        }
        self.count_unusable_keys();
    }

    /// The key set that was fetched from a URL, for another process; `None` if there is none.
    pub(crate) fn fetched_keys(&self) -> Option<FetchedKeys> {
        self.reloadable.load().verifier.remote_keys()?.fetched()
    }

    /// Uses the key set that another process has fetched, if it comes from the same URL. Otherwise waits for a fetch, for at
    /// most [`MAX_WAIT`](crate::auth::keys::remote::MAX_WAIT).
    ///
    /// # Errors
    /// The reason why there are no keys yet.
    pub(crate) async fn take_fetched_keys(&self, fetched: &FetchedKeys) -> Result<(), String> {
        let reloadable = self.reloadable.load_full();
        let Some(keys) = reloadable.verifier.remote_keys() else {
            return Ok(());
        };
        keys.take_fetched(fetched);
        if keys.missing().is_some() {
            keys.wait_until_fresh(&self.hub.clock).await;
        }
        keys.missing().map_or(Ok(()), Err)
    }

    /// Updates the metric of unusable keys. Called every second.
    pub fn count_unusable_keys(&self) {
        let unusable = self.reloadable.load().verifier.unusable_keys() as u64;
        self.hub.metrics.jwks_unusable_keys.set(unusable);
    }

    /// The reason why the server cannot admit any client yet; `None` if it can.
    pub fn not_ready(&self) -> Option<String> {
        self.reloadable.load().verifier.remote_keys()?.missing()
    }

    /// Returns true if new streams get a 503 and connections are closed after their next response.
    pub fn is_draining(&self) -> bool {
        self.shutdown.is_draining()
    }

    /// Requests on all connections.
    pub(crate) fn requests(&self) -> &Requests {
        &self.requests
    }

    /// The most recently refused streams.
    pub fn refusals(&self) -> Arc<RecentRefusals> {
        Arc::clone(&self.refusals)
    }

    /// Counts a refused stream, and lists it for the operator.
    pub(super) fn refused(&self, reason: RefusedReason, note: impl FnOnce() -> RefusalNote) {
        self.hub.metrics.refuse(reason);
        self.refusals.note(&self.hub.clock, reason, note);
    }

    /// Warns once that a balancer does not send the PROXY header that the configuration requires. Later
    /// connections of this kind are only counted, since anyone can open them.
    pub(super) fn warn_missing_proxy_header(&self, peer: Option<IpAddr>) {
        if !self
            .warned_missing_proxy_header
            .swap(true, Ordering::Relaxed)
        {
            tracing::warn!(
                peer = peer.map(tracing::field::display),
                "closed a connection without the PROXY header that proxy_protocol requires"
            );
        }
    }

    /// Logs a failed TLS handshake at debug level. The first client whose TLS version is too old causes
    /// a warning, since a proxy in front could serve such clients.
    pub(super) fn log_failed_handshake(&self, refusal: HandshakeRefusal, peer: Option<IpAddr>) {
        if refusal == HandshakeRefusal::Version
            && !self.warned_old_tls_version.swap(true, Ordering::Relaxed)
        {
            tracing::warn!(
                peer = peer.map(tracing::field::display),
                "a client without TLS 1.3 was refused; older ones, and HTTP/2, need a proxy in front (docs/tls.md)"
            );
        } else {
            let peer = peer.map(tracing::field::display);
            tracing::debug!(peer, reason = refusal.text(), "no encrypted connection");
        }
    }
}
