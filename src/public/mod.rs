//! The public listener: clients' requests, until they are answered or become a stream.
//!
//! hyper parses and answers; a stream leaves hyper. A request for one is checked here
//! ([`stream`]), offered to the connection's driver through a [`handoff`], seated in the shard,
//! and then detached by the driver ([`connection`]), so that nothing of hyper idles with it.

#![warn(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

mod address;
mod answer;
mod connection;
mod cors;
mod date;
mod demo;
mod denials;
mod encryption;
mod handoff;
mod identify;
mod io;
mod login;
mod records;
mod refusal;
mod routes;
mod sealed;
mod stream;
mod ticket;

use std::net::IpAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::runtime::Handle;

use crate::auth::checks::Checks;
use crate::auth::jwt::Verifier;
use crate::auth::keys::KeysError;
use crate::auth::session::SessionAuth;
use crate::auth::ticket::Tickets;
use crate::config::{Auth, Config, ConfigError, TrustedProxy};
use crate::hub::Hub;
use crate::metrics::RefusedReason;
use crate::outbound::NoTrust;
use crate::refusals::{RecentRefusals, RefusalNote};
use crate::shard::StartHandshake;
use crate::shutdown::Shutdown;
use crate::tls::Tls;
use cors::Cors;
pub use demo::Demo;
use denials::Denials;
use encryption::Refusal;
pub use login::{Login, LoginError};
use routes::Routes;

/// The public service, shared by all shards.
pub struct Public {
    hub: Arc<Hub>,
    live: ArcSwap<Live>,
    routes: Routes,
    tickets: Tickets,
    checks: Checks,
    denials: Denials,
    login: Option<Login>,
    demo: Option<Demo>,
    refusals: Arc<RecentRefusals>,
    trusted_proxies: Vec<TrustedProxy>,
    handshake_timeout: Duration,
    retry_after_s: u64,
    shutdown: Shutdown,
    /// What handshakes of encrypted connections are made with, where there are any.
    tls: Option<Arc<Tls>>,
    /// Somebody came to a listener with PROXY headers without one, and it was said.
    said_no_proxy_header: AtomicBool,
    /// Somebody came with a version of TLS that is too old, and it was said.
    said_old_version: AtomicBool,
    /// Where work runs that is not the shards': hashing passwords, waiting for the engine.
    control: Handle,
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

/// What SIGHUP may change.
pub struct Live {
    verifier: Verifier,
    /// Where clients without a token are asked about.
    sessions: Option<Arc<SessionAuth>>,
    auth: Auth,
    cors: Cors,
}

impl Live {
    /// Loads the keys that the configuration names; asks no URL.
    ///
    /// # Errors
    /// [`LiveError`] where something cannot be used.
    pub fn new(config: &Config) -> Result<Self, LiveError> {
        let sessions = config.auth.session_auth_url.as_ref();
        let sessions = sessions
            .map(|url| SessionAuth::new(url, &config.auth.session_cookie).map(Arc::new))
            .transpose()
            .map_err(LiveError::Trust)?;
        Ok(Self {
            verifier: Verifier::new(&config.auth)?,
            sessions,
            auth: config.auth.clone(),
            cors: Cors::new(&config.cors),
        })
    }

    /// Keeps what `before` has learnt from the URLs that are still the same.
    fn take_over(&mut self, before: &Self) -> Result<(), KeysError> {
        if let (Some(keys), Some(known)) =
            (self.verifier.remote_keys(), before.verifier.remote_keys())
        {
            keys.take_over(known)?;
        }
        if let (Some(own), Some(known)) = (&self.sessions, &before.sessions)
            && own.is_same(known)
        {
            self.sessions = Some(Arc::clone(known));
        }
        Ok(())
    }
}

/// Why what may change cannot be used.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)] // the messages say it
pub enum LiveError {
    #[error(transparent)]
    Keys(#[from] KeysError),
    #[error("auth.session_auth_url: {0}")]
    Trust(NoTrust),
}

impl From<LiveError> for ConfigError {
    fn from(error: LiveError) -> Self {
        Self::content(error)
    }
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
            tickets: Tickets::new(hub.clock.clone()),
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

    /// What is to be done every second: drops tickets that ran out, and counts keys that cannot be
    /// used.
    pub fn sweep(&self) {
        self.tickets.sweep();
        self.count_unusable_keys();
    }

    fn count_unusable_keys(&self) {
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
    fn refused(&self, reason: RefusedReason, note: impl FnOnce() -> RefusalNote) {
        self.hub.metrics.refuse(reason);
        self.refusals.note(&self.hub.clock, reason, note);
    }

    /// Says once that a balancer does not do what the configuration says of it; after that such
    /// connections are counted, since anybody may open them.
    fn without_proxy_header(&self, peer: Option<IpAddr>) {
        if !self.said_no_proxy_header.swap(true, Ordering::Relaxed) {
            tracing::warn!(
                ?peer,
                "a connection without PROXY header where proxy_protocol requires one; closed"
            );
        }
    }

    /// Says once that clients are refused which a proxy could serve; after that they are counted.
    fn not_encrypted(&self, refusal: Refusal, peer: Option<IpAddr>) {
        if refusal == Refusal::Version && !self.said_old_version.swap(true, Ordering::Relaxed) {
            tracing::warn!(
                ?peer,
                "a client without TLS 1.3 was refused; older ones, and HTTP/2, need a proxy in front (docs/tls.md)"
            );
        } else {
            tracing::debug!(?peer, reason = refusal.text(), "no encrypted connection");
        }
    }

    /// What a shard's acceptor calls for each connection.
    pub fn start_handshake(self: Arc<Self>) -> StartHandshake {
        Box::new(move |accepted, shard| {
            let (public, shard) = (Arc::clone(&self), Rc::clone(shard));
            tokio::task::spawn_local(connection::serve(public, accepted, shard));
        })
    }
}
