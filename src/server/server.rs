//! A server: start, reload and drain.

use std::os::fd::{AsFd, AsRawFd};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::runtime::Handle;

use super::control::NamedSocket;
use super::dev::Dev;
use super::engine::{EngineParts, engine, hub};
use super::error::ServerError;
use super::inherited::CopiedEndpoint;
use super::listeners::GivenSockets;
use super::mute::Mute;
use super::passed_sockets::PassedSockets;
use super::prepared::Prepared;
use super::upgrade::{OldProcess, ProcessParts, Program};
use super::{listeners, prepared, shards, sweep};
use crate::admin::{self, Admin};
use crate::clock::{Clock, millis};
use crate::config::{Config, ConfigError, Endpoint};
use crate::hub::directory::Rules;
use crate::hub::engine::{Engine, LocalNode};
use crate::hub::{Entering, Hub, Limits};
use crate::metrics::{Metrics, ReloadOutcome};
use crate::net::{Listener, SocketOptions};
use crate::public::{Demo, Extras, Login, Public, ReloadableError};
use crate::shard::{Shards, Shared};
use crate::shutdown::Shutdown;
use crate::tls::Tls;

/// Time for a stopped shard to end its streams and its thread, and for the history to close.
const STOP_GRACE: Duration = Duration::from_secs(2);
/// Shortest time for a stopped shard, however short `drain_timeout` is: enough for one turn.
const MIN_STOP_GRACE: Duration = Duration::from_millis(20);

/// Time between two looks at streams that have begun after all others have left.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// A running server.
pub struct Server {
    pub(super) public: Arc<Public>,
    pub(super) tls: Option<Arc<Tls>>,
    pub(super) admin: Arc<Admin>,
    pub(super) hub: Arc<Hub>,
    pub(super) shards: Shards,
    /// The streams that come from the process before this one, if there was one.
    pub(super) entering: Arc<Entering>,
    pub(super) clock: Clock,
    shutdown: Shutdown,
    /// Listeners that do not accept yet.
    admin_listeners: Mutex<Vec<Listener>>,
    /// Copies of all listeners, for a process that continues this one.
    copies: Arc<[CopiedEndpoint]>,
    socket_options: SocketOptions,
    pub(super) handshake_timeout: Duration,
    public_endpoints: Vec<Endpoint>,
    tls_endpoints: Vec<Endpoint>,
    admin_endpoints: Vec<Endpoint>,
    /// The limit of open descriptors.
    nofile: u64,
    drain_rate: u32,
    drain_timeout: Duration,
}

impl Server {
    /// Starts a server. Call this on the control runtime.
    ///
    /// # Errors
    /// [`ServerError`] if the server cannot start; it then serves nothing.
    pub async fn start(
        config: &Config,
        dev: Option<Dev>,
        passed: PassedSockets,
        clock: Clock,
    ) -> Result<Self, ServerError> {
        Self::start_over(config, dev, passed, clock, engine).await
    }

    /// Starts serving over the engine that `engine` makes.
    async fn start_over(
        config: &Config,
        dev: Option<Dev>,
        passed: PassedSockets,
        clock: Clock,
        engine: impl FnOnce(&Config, EngineParts) -> Arc<dyn Engine>,
    ) -> Result<Self, ServerError> {
        let given = GivenSockets {
            passed,
            ..GivenSockets::default()
        };
        let server = Self::prepare(config, dev, given, clock, engine, Origin::Own).await?;
        server.open();
        Ok(server)
    }

    /// Starts a server that continues another process's, and accepts no connections until [`Server::open`].
    ///
    /// # Errors
    /// [`ServerError`]
    pub(super) async fn start_closed(
        config: &Config,
        dev: Option<Dev>,
        given: GivenSockets,
        clock: Clock,
    ) -> Result<Self, ServerError> {
        Self::prepare(config, dev, given, clock, engine, Origin::Predecessor).await
    }

    async fn prepare(
        config: &Config,
        dev: Option<Dev>,
        mut given: GivenSockets,
        clock: Clock,
        engine: impl FnOnce(&Config, EngineParts) -> Arc<dyn Engine>,
        origin: Origin,
    ) -> Result<Self, ServerError> {
        let Prepared {
            nofile,
            reloadable,
            accounts,
            tls,
        } = Prepared::new(config, dev, &clock)?;
        let login = accounts.map(|accounts| Login::new(accounts, config.login.token_ttl));
        let tls = tls.map(Arc::new);
        let shard_count = shards::count(config);
        let hub = hub(config, shard_count, clock.clone(), engine);
        let shared = Shared::new(
            Arc::clone(&hub),
            shards::settings(config, shard_count, nofile),
        );

        let options = SocketOptions {
            send_buffer: config.send_buffer,
            user_timeout: config.stall_timeout,
        };
        let listeners::PublicListeners {
            listeners,
            plain,
            tls: tls_endpoints,
            mut copies,
        } = listeners::public(config, &mut given, shard_count, options)?;
        let (admin_listeners, mut admin_copies) = listeners::admin(config, &mut given, options)?;
        copies.append(&mut admin_copies);
        let admin_endpoints = listeners::endpoints(&admin_listeners)?;
        if let Some(dev) = dev {
            let endpoints = plain.iter().chain(&tls_endpoints).chain(&admin_endpoints);
            listeners::check_reach(endpoints, dev)?;
        }
        let starters = shards::starters(listeners, shard_count)?;
        let GivenSockets {
            unneeded_by_shards: mut unneeded,
            inherited,
            ..
        } = given;
        // Sockets that are not configured any more: the shards' tables would have copies.
        drop(inherited);
        let copied = copies.iter().flat_map(|endpoint| &endpoint.sockets);
        unneeded.extend(copied.map(|copy| copy.as_fd().as_raw_fd()));

        let shutdown = Shutdown::default();
        let public = Arc::new(Public::new(
            config,
            reloadable,
            Extras {
                login,
                demo: dev.map(|_| Demo::new(&config.base_path, admin_endpoints.first())),
                tls: tls.clone(),
            },
            Arc::clone(&hub),
            Handle::current(),
            shutdown.clone(),
        ));
        let handshake = Arc::clone(&public);
        let start = move || Arc::clone(&handshake).start_handshake();
        let fd_tables = config.fd_tables;
        let shards = Shards::start(starters, shared.clone(), fd_tables, unneeded, start).await?;
        public.fetch_keys();
        // After the shards: a private descriptor table would keep copies of the engine's files.
        let node: Arc<dyn LocalNode> = hub.clone();
        match (origin, hub.engine().continued()) {
            (Origin::Predecessor, Some(continued)) => {
                continued.expect_predecessor(Arc::downgrade(&node));
            }
            _ => hub.engine().open(Arc::downgrade(&node)).await?,
        }
        drop(node);

        let admin = Arc::new(Admin::new(
            config,
            Arc::clone(&hub),
            public.refusals(),
            not_ready(&public),
            dev.is_some(),
            shutdown.clone(),
        ));
        let dispatcher = Arc::clone(&hub);
        shutdown.spawn(async move { dispatcher.dispatch().await });
        shutdown.spawn(sweep::run(
            Arc::clone(&hub),
            Arc::clone(&public),
            Arc::clone(&admin),
        ));
        if let Some(tls) = tls.clone() {
            shutdown.spawn(async move { tls.watch().await });
        }
        Ok(Self {
            admin_listeners: Mutex::new(admin_listeners.into_iter().flatten().collect()),
            copies: copies.into(),
            socket_options: options,
            handshake_timeout: config.handshake_timeout,
            public,
            tls,
            admin,
            hub,
            shards,
            entering: Arc::default(),
            clock,
            shutdown,
            public_endpoints: plain,
            tls_endpoints,
            admin_endpoints,
            nofile,
            drain_rate: config.drain_rate,
            drain_timeout: config.drain_timeout,
        })
    }

    /// Begins to accept connections. Until then, they wait in the listeners' queues.
    pub(super) fn open(&self) {
        for copy in self.copies.iter().flat_map(|endpoint| &endpoint.sockets) {
            copy.set_passed_on(false);
            // Until now, those of the process before this one.
            if let Err(error) = copy.set_options(self.socket_options) {
                tracing::warn!(%error, "a listener keeps its earlier socket options");
            }
        }
        self.shards.open();
        for listener in std::mem::take(&mut *self.admin_listeners.lock()) {
            let admin = Arc::clone(&self.admin);
            self.shutdown.spawn(async move {
                if let Err(error) = admin::serve(admin, listener).await {
                    tracing::error!(%error, "the admin listener failed");
                }
            });
        }
    }

    /// After an upgrade, waits for what is still under way here, for at most `handshake_timeout`: its streams follow to
    /// the new process. So do those that the process before this one still sends.
    pub(super) async fn finish_upgraded(&self) {
        let end_ms = self.clock.now_ms() + millis(self.handshake_timeout);
        loop {
            let is_under_way = self.has_handshakes() || self.has_predecessor();
            let is_last = !is_under_way || self.clock.now_ms() >= end_ms;
            self.hub.let_leave(true);
            self.clock.sleep(LOOK_EVERY).await;
            if is_last {
                return;
            }
        }
    }

    fn has_predecessor(&self) -> bool {
        self.entering.open_sockets.load(Ordering::Acquire) > 0
    }

    fn has_handshakes(&self) -> bool {
        let shards = self.hub.metrics.shards.iter();
        shards.map(|shard| shard.handshakes.value()).sum::<u64>() > 0
    }

    /// The part that can hand everything over to another process, within `timeout`.
    pub(super) fn upgrader(
        &self,
        program: Program,
        timeout: Duration,
        supervisor: Mute,
        control: Option<NamedSocket>,
    ) -> OldProcess {
        OldProcess {
            parts: ProcessParts {
                hub: Arc::clone(&self.hub),
                admin: Arc::clone(&self.admin),
                public: Arc::clone(&self.public),
                tls: self.tls.clone(),
                copies: Arc::clone(&self.copies),
                passages: self.shards.passages().clone(),
                shutdown: self.shutdown.clone(),
                supervisor,
                control,
            },
            program,
            timeout,
        }
    }

    /// The endpoints of the public listeners, with the real port in place of port 0.
    pub fn public_endpoints(&self) -> &[Endpoint] {
        &self.public_endpoints
    }

    /// The endpoints of the public listeners with TLS.
    pub fn tls_endpoints(&self) -> &[Endpoint] {
        &self.tls_endpoints
    }

    /// The endpoints of the admin listeners.
    pub fn admin_endpoints(&self) -> &[Endpoint] {
        &self.admin_endpoints
    }

    /// The kind of the engine.
    pub(super) fn engine(&self) -> &'static str {
        self.hub.engine().kind()
    }

    /// The number of shards.
    pub(super) fn shard_count(&self) -> usize {
        self.hub.metrics.shards.len()
    }

    /// The limit of open descriptors.
    pub(super) fn nofile(&self) -> u64 {
        self.nofile
    }

    /// Applies the secrets, keys, certificates, CORS settings and limits of a new configuration.
    ///
    /// # Errors
    /// [`ServerError`] if a value cannot be used; nothing has changed in this case.
    pub fn reload(&self, config: &Config) -> Result<(), ServerError> {
        let (reloadable, certificates) = prepared::reloaded(config, self.tls.as_deref())?;
        let reloaded = self
            .public
            .reload(reloadable)
            .map_err(ReloadableError::from);
        reloaded.map_err(ConfigError::from)?;
        if let (Some(tls), Some(certificates)) = (&self.tls, certificates) {
            tls.replace(certificates);
        }
        let rules = Rules::of(&config.auth);
        self.hub.reload(Limits::of(config), rules);
        self.admin.reload(config);
        Ok(())
    }

    /// The metrics, for what happens outside of the server.
    pub(super) fn metrics(&self) -> &Arc<Metrics> {
        &self.hub.metrics
    }

    /// Counts a reload, or one that could not begin.
    pub(super) fn count_reload(&self, outcome: ReloadOutcome) {
        self.hub.metrics.reloads.at(outcome as usize).increment();
    }

    /// Waits for `time`, then returns true if every shard's thread has taken a turn meanwhile.
    pub async fn probe_shards(&self, time: Duration) -> bool {
        self.shards.probe(&self.clock, time).await
    }

    /// Ends all streams at `drain_rate`; after `drain_timeout`, ends the rest at once. Returns when the
    /// shards have ended and the history is closed.
    pub async fn drain(self) {
        // `drain_timeout` begins before the shards start to drain.
        let begun_ms = self.clock.now_ms();
        self.shutdown.start_drain();
        self.shards.drain(self.drain_rate);
        // The last part of `drain_timeout` is for ending the remaining streams at once.
        let grace = STOP_GRACE.min(self.drain_timeout / 10);
        let deadline_ms = begun_ms + millis(self.drain_timeout.saturating_sub(grace));
        tokio::select! {
            biased;
            () = self.shards.ended() => {}
            () = self.clock.sleep_until(deadline_ms) => {
                tracing::warn!("drain_timeout is almost over; ending all remaining streams");
                self.shards.stop();
                let grace = grace.max(MIN_STOP_GRACE);
                self.clock.within(grace, self.shards.ended()).await;
            }
        }
        self.shutdown.stop();
        self.admin.finish();
        if tokio::time::timeout(STOP_GRACE, self.hub.engine().close())
            .await
            .is_err()
        {
            tracing::warn!(
                "the history was not closed in time; the next start reads it from its log"
            );
        }
        // Socket files stay: a server that has started meanwhile may own them. The next start
        // replaces them.
    }
}

/// The check of the public side's readiness, for the admin side.
fn not_ready(public: &Arc<Public>) -> admin::NotReady {
    let public = Arc::clone(public);
    Box::new(move || public.not_ready())
}

/// Where a server's events and streams come from at its start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Origin {
    /// Its own store.
    Own,
    /// The process that has started this one.
    Predecessor,
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
