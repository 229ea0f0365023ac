//! The service: what all shards' connections share.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::runtime::Handle;

use super::connection::HandshakeRefusal;
use super::denials::Denials;
use super::guide::{Demo, Login};
use super::live::Live;
use super::routes::Routes;
use crate::auth::checks::Checks;
use crate::auth::keys::KeysError;
use crate::config::{Config, TrustedProxy};
use crate::hub::Hub;
use crate::metrics::RefusedReason;
use crate::refusals::{RecentRefusals, RefusalNote};
use crate::shutdown::Shutdown;
use crate::tls::Tls;

/// The public service, shared by all shards.
pub struct Public {
    pub(super) hub: Arc<Hub>,
    pub(super) live: ArcSwap<Live>,
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
    /// What handshakes of encrypted connections are made with, where there are any.
    pub(super) tls: Option<Arc<Tls>>,
    /// Somebody came to a listener with PROXY headers without one, and it was said.
    pub(super) said_no_proxy_header: AtomicBool,
    /// Somebody came with a version of TLS that is too old, and it was said.
    pub(super) said_old_version: AtomicBool,
    /// Where work runs that is not the shards': hashing passwords, waiting for the engine.
    pub(super) control: Handle,
}

/// What a server may have or not.
#[derive(Default)]
pub struct Extras {
    /// A login of its own.
    pub login: Option<Login>,
    /// The demo page.
    pub demo: Option<Demo>,
    /// What its encrypted connections begin with.
    pub tls: Option<Arc<Tls>>,
}

impl Public {
    /// The service of `config`; `control` is the runtime beside the shards.
    pub fn new(
        config: &Config,
        live: Live,
        extras: Extras,
        hub: Arc<Hub>,
        control: Handle,
        shutdown: Shutdown,
    ) -> Self {
        let Extras { login, demo, tls } = extras;
        Self {
            live: ArcSwap::from_pointee(live),
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
            tls,
            said_old_version: AtomicBool::new(false),
            said_no_proxy_header: AtomicBool::new(false),
            hub,
            control,
        }
    }

    /// Takes over reloaded secrets, keys, CORS and limits for the requests to come.
    ///
    /// # Errors
    /// [`KeysError`] where the key set that was fetched does not go with them; nothing has changed
    /// then.
    pub fn reload(&self, mut live: Live) -> Result<(), KeysError> {
        live.take_over(&self.live.load())?;
        self.live.store(Arc::new(live));
        self.fetch_keys();
        Ok(())
    }

    /// Fetches the keys that come from a URL, from now on, for the configuration in force. Not
    /// before the shards have their descriptor tables: they would keep copies of its sockets.
    pub fn fetch_keys(&self) {
        if let Some(keys) = self.live.load().verifier.remote_keys() {
            keys.keep_fresh(&self.control, self.hub.clock.clone());
        }
        self.count_unusable_keys();
    }

    /// Counts the keys that cannot be used. Called every second.
    pub fn count_unusable_keys(&self) {
        let unusable = self.live.load().verifier.unusable_keys() as u64;
        self.hub.metrics.jwks_unusable_keys.set(unusable);
    }

    /// Why nobody who is in the right can be let in; `None` where somebody can.
    pub fn not_ready(&self) -> Option<String> {
        self.live.load().verifier.remote_keys()?.missing()
    }

    /// Whether streams get 503 and connections are closed after their answer.
    pub fn is_draining(&self) -> bool {
        self.shutdown.is_draining()
    }

    /// The streams of late that were not opened.
    pub fn refusals(&self) -> Arc<RecentRefusals> {
        Arc::clone(&self.refusals)
    }

    /// Counts a stream that was not opened, and lists it for the operator.
    pub(super) fn refused(&self, reason: RefusedReason, note: impl FnOnce() -> RefusalNote) {
        self.hub.metrics.refuse(reason);
        self.refusals.note(&self.hub.clock, reason, note);
    }

    /// Says once that a balancer does not do what the configuration says of it; after that such
    /// connections are counted, since anybody may open them.
    pub(super) fn without_proxy_header(&self, peer: Option<IpAddr>) {
        if !self.said_no_proxy_header.swap(true, Ordering::Relaxed) {
            tracing::warn!(
                ?peer,
                "a connection without PROXY header where proxy_protocol requires one; closed"
            );
        }
    }

    /// Says once that clients are refused which a proxy could serve; after that they are counted.
    pub(super) fn not_encrypted(&self, refusal: HandshakeRefusal, peer: Option<IpAddr>) {
        if refusal == HandshakeRefusal::Version
            && !self.said_old_version.swap(true, Ordering::Relaxed)
        {
            tracing::warn!(
                ?peer,
                "a client without TLS 1.3 was refused; older ones, and HTTP/2, need a proxy in front (docs/tls.md)"
            );
        } else {
            tracing::debug!(?peer, reason = refusal.text(), "no encrypted connection");
        }
    }
}
