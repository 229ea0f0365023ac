//! The admin listener: publish, users, health, metrics, the dashboard. An ordinary hyper service on
//! the control runtime; nothing here holds bytes per client.

#![warn(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

mod answer;
mod dashboard;
mod events;
mod health;
mod line;
mod live;
mod metrics;
mod moment;
mod openapi;
mod past;
mod process;
mod rates;
mod recent_refusals;
mod refusals;
mod routes;
mod span;
mod stats;
mod users;

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::Semaphore;

use crate::auth::api_key::ApiKeys;
use crate::config::Config;
use crate::engine::Engine;
use crate::refusals::RecentRefusals;
use crate::shard::{Listener, ListenerSocket, Shared};
use line::Line;
use live::Live;
use rates::Rates;
use refusals::Refusals;

/// Admin connections at once: publishers with pools, scrapers, people. More wait to be accepted;
/// together with what the process needs they fit into the descriptors that the configuration check
/// sets aside.
const MAX_CONNECTIONS: usize = 128;
/// A connection's buffer: the largest head it may send, and what waits for a slow reader in it.
const BUFFER_BYTES: usize = 64 * 1024;
/// Longest wait for a request's head.
const HEAD_TIMEOUT: Duration = Duration::from_secs(30);
/// Pause after a failed accept.
const ERROR_PAUSE: Duration = Duration::from_millis(100);

/// Says why the public side lets nobody in; `None` where it does.
pub type NotReady = Box<dyn Fn() -> Option<String> + Send + Sync>;

/// The admin service.
pub struct Admin {
    shards: Shared,
    engine: Arc<dyn Engine>,
    public_not_ready: NotReady,
    keys: ArcSwap<ApiKeys>,
    limits: ArcSwap<Limits>,
    max_handshakes: usize,
    max_history_bytes: usize,
    max_history_age: Duration,
    is_draining: AtomicBool,
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
    /// The service of `config` over these shards and this engine; `recent_refusals` are the public
    /// side's, and so is what it waits for (`public_not_ready`).
    pub fn new(
        config: &Config,
        shards: Shared,
        engine: Arc<dyn Engine>,
        recent_refusals: Arc<RecentRefusals>,
        public_not_ready: NotReady,
    ) -> Self {
        Self {
            // Not now: the history was read first.
            started_unix_s: (shards.clock.unix_ms() - shards.clock.now_ms()) / 1_000,
            shards,
            engine,
            public_not_ready,
            keys: ArcSwap::from_pointee(ApiKeys::new(&config.admin)),
            limits: ArcSwap::from_pointee(Limits::new(config)),
            max_handshakes: config.max_handshakes,
            max_history_bytes: config.history.max_bytes,
            max_history_age: config.history.max_age,
            is_draining: AtomicBool::new(false),
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

    /// `/readyz` answers 503 from now on.
    pub fn start_drain(&self) {
        self.is_draining.store(true, Ordering::Relaxed);
    }

    /// Samples the counters that `/v1/stats` makes rates of, and tells the dashboards; called once
    /// a second.
    pub fn tick(&self) {
        self.rates
            .sample(self.shards.clock.now_ms(), &self.shards.metrics);
        self.live.tick(self);
    }

    /// Ends the dashboards' streams: there is nothing more to tell.
    pub fn finish(&self) {
        self.live.finish();
    }

    fn max_publish_bytes(&self) -> usize {
        self.limits.load().publish_bytes
    }

    /// Why no client should be sent here; `None` where one may be.
    fn not_ready(&self) -> Option<String> {
        if self.is_draining.load(Ordering::Relaxed) {
            return Some("draining".to_owned());
        }
        let engine = self.engine.ready().err().map(|error| error.to_string());
        engine.or_else(|| (self.public_not_ready)())
    }
}

/// Serves a listener until its task is dropped.
///
/// # Errors
/// What the runtime says when it takes the listener over.
pub async fn serve(admin: Arc<Admin>, listener: Listener) -> io::Result<()> {
    let permits = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    let listener = match listener.socket {
        ListenerSocket::Tcp(listener) => Acceptor::Tcp(TcpListener::from_std(listener)?),
        ListenerSocket::Unix(listener) => Acceptor::Unix(UnixListener::from_std(listener)?),
    };
    let mut was_failing = false;
    loop {
        let Ok(permit) = Arc::clone(&permits).acquire_owned().await else {
            return Ok(());
        };
        let (socket, peer) = match listener.accept().await {
            Ok(accepted) => {
                was_failing = false;
                accepted
            }
            Err(error) => {
                if !was_failing {
                    tracing::warn!(%error, "admin: cannot accept; trying again every 100 ms");
                }
                was_failing = true;
                admin.shards.clock.sleep(ERROR_PAUSE).await;
                continue;
            }
        };
        let admin = Arc::clone(&admin);
        tokio::spawn(async move {
            let line = Arc::new(Line::new(peer));
            let service = service_fn(|request| {
                let (admin, line) = (Arc::clone(&admin), Arc::clone(&line));
                async move { Ok::<_, Infallible>(routes::answer(&admin, request, &line).await) }
            });
            let serving = http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(HEAD_TIMEOUT)
                .max_buf_size(BUFFER_BYTES)
                .serve_connection(TokioIo::new(socket), service);
            tokio::select! {
                served = serving => {
                    if let Err(error) = served {
                        tracing::debug!(%error, "admin connection ended");
                    }
                }
                () = line.is_cut() => tracing::debug!("a dashboard did not keep up; cut off"),
            }
            drop(permit);
        });
    }
}

enum Acceptor {
    Tcp(TcpListener),
    Unix(UnixListener),
}

trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}
impl<S: AsyncRead + AsyncWrite + Unpin + Send> Stream for S {}

impl Acceptor {
    /// The next connection, and its other end where that has an address.
    async fn accept(&self) -> io::Result<(Box<dyn Stream>, Option<SocketAddr>)> {
        Ok(match self {
            Self::Tcp(listener) => {
                let (stream, peer) = listener.accept().await?;
                (Box::new(stream), Some(peer))
            }
            Self::Unix(listener) => (Box::new(listener.accept().await?.0), None),
        })
    }
}
