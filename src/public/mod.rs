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
mod demo;
mod handoff;
mod io;
mod login;
mod proxy_header;
mod refusal;
mod routes;
mod stream;
mod ticket;

use std::net::IpAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::runtime::Handle;
use tokio::sync::watch;

use crate::auth::jwt::Verifier;
use crate::auth::keys::KeysError;
use crate::auth::ticket::Tickets;
use crate::config::{Auth, Config, TrustedProxy};
use crate::directory::Limit;
use crate::engine::Engine;
use crate::metrics::RefusedReason;
use crate::refusals::{RecentRefusals, RefusalNote};
use crate::shard::{Shared, StartHandshake};
use cors::Cors;
pub use demo::Demo;
pub use login::{Login, LoginError};
use routes::Routes;

/// The public service, shared by all shards.
pub struct Public {
    shards: Shared,
    engine: Arc<dyn Engine>,
    live: ArcSwap<Live>,
    routes: Routes,
    tickets: Tickets,
    login: Option<Login>,
    demo: Option<Demo>,
    refusals: Arc<RecentRefusals>,
    trusted_proxies: Vec<TrustedProxy>,
    handshake_timeout: Duration,
    retry_after_s: u64,
    max_test_streams: usize,
    draining: watch::Sender<bool>,
    /// Somebody came to a listener with PROXY headers without one, and it was said.
    said_no_proxy_header: AtomicBool,
    /// Where work runs that is not the shards': hashing passwords, waiting for the engine.
    control: Handle,
}

/// What SIGHUP may change.
pub struct Live {
    verifier: Verifier,
    auth: Auth,
    cors: Cors,
    limit: Limit,
    max_connections: usize,
}

impl Live {
    /// Loads the keys that the configuration names.
    ///
    /// # Errors
    /// [`KeysError`] where one cannot be used.
    pub fn new(config: &Config) -> Result<Self, KeysError> {
        Ok(Self {
            verifier: Verifier::new(&config.auth)?,
            auth: config.auth.clone(),
            cors: Cors::new(&config.cors),
            limit: Limit {
                connections: config.max_connections_per_user,
                on_limit: config.on_limit,
            },
            max_connections: config.max_connections,
        })
    }
}

impl Public {
    /// The service of `config`; `control` is the runtime beside the shards.
    pub fn new(
        config: &Config,
        live: Live,
        login: Option<Login>,
        demo: Option<Demo>,
        shards: Shared,
        engine: Arc<dyn Engine>,
        control: Handle,
    ) -> Self {
        Self {
            engine,
            live: ArcSwap::from_pointee(live),
            routes: Routes::new(config, login.is_some(), demo.is_some()),
            tickets: Tickets::new(shards.clock.clone()),
            login,
            demo,
            refusals: Arc::default(),
            trusted_proxies: config.trusted_proxies.clone(),
            handshake_timeout: config.handshake_timeout,
            retry_after_s: config.retry_max.as_secs().max(1),
            max_test_streams: config.max_test_streams,
            draining: watch::Sender::new(false),
            said_no_proxy_header: AtomicBool::new(false),
            shards,
            control,
        }
    }

    /// Takes over reloaded secrets, keys, CORS and limits for the requests to come.
    pub fn reload(&self, live: Live) {
        self.live.store(Arc::new(live));
    }

    /// Answers 503 to streams from now on and closes connections after their answer.
    pub fn start_drain(&self) {
        self.draining.send_replace(true);
    }

    /// Whether [`Public::start_drain`] was called.
    pub fn is_draining(&self) -> bool {
        *self.draining.borrow()
    }

    /// The streams of late that were not opened.
    pub fn refusals(&self) -> Arc<RecentRefusals> {
        Arc::clone(&self.refusals)
    }

    /// Counts a stream that was not opened, and lists it for the operator.
    fn refused(&self, reason: RefusedReason, note: impl FnOnce() -> RefusalNote) {
        self.shards.metrics.refuse(reason);
        self.refusals.note(&self.shards.clock, reason, note);
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

    /// What a shard's acceptor calls for each connection.
    pub fn start_handshake(self: Arc<Self>) -> StartHandshake {
        Box::new(move |accepted, shard| {
            let (public, shard) = (Arc::clone(&self), Rc::clone(shard));
            tokio::task::spawn_local(connection::serve(public, accepted, shard));
        })
    }
}
