//! The admin listener: publish, users, health, metrics. An ordinary hyper service on the control
//! runtime; nothing here holds bytes per client.

#![warn(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

mod answer;
mod events;
mod health;
mod metrics;
mod openapi;
mod process;
mod routes;
mod span;
mod stats;
mod users;

use std::convert::Infallible;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::Semaphore;

use crate::auth::api_key::ApiKeys;
use crate::engine::Engine;
use crate::shard::{Listener, Shared};
use stats::Rates;

/// Admin connections at once: publishers with pools, scrapers, people. More wait to be accepted;
/// together with what the process needs they fit into the descriptors that the configuration check
/// sets aside.
const MAX_CONNECTIONS: usize = 128;
/// Longest wait for a request's head.
const HEAD_TIMEOUT: Duration = Duration::from_secs(30);
/// Pause after a failed accept.
const ERROR_PAUSE: Duration = Duration::from_millis(100);

/// The admin service.
pub struct Admin {
    shards: Shared,
    engine: Arc<dyn Engine>,
    keys: ArcSwap<ApiKeys>,
    max_publish_bytes: AtomicUsize,
    is_draining: AtomicBool,
    rates: Rates,
    /// When the process started, in Unix seconds.
    started_unix_s: u64,
}

impl Admin {
    /// The service over these shards and this engine.
    pub fn new(
        shards: Shared,
        engine: Arc<dyn Engine>,
        keys: ApiKeys,
        max_publish_bytes: usize,
    ) -> Self {
        Self {
            started_unix_s: shards.clock.unix_ms() / 1_000,
            shards,
            engine,
            keys: ArcSwap::from_pointee(keys),
            max_publish_bytes: AtomicUsize::new(max_publish_bytes),
            is_draining: AtomicBool::new(false),
            rates: Rates::default(),
        }
    }

    /// Takes over reloaded keys and limits.
    pub fn reload(&self, keys: ApiKeys, max_publish_bytes: usize) {
        self.keys.store(Arc::new(keys));
        self.max_publish_bytes
            .store(max_publish_bytes, Ordering::Relaxed);
    }

    /// `/readyz` answers 503 from now on.
    pub fn start_drain(&self) {
        self.is_draining.store(true, Ordering::Relaxed);
    }

    /// Samples the counters that `/v1/stats` makes rates of; called once a second.
    pub fn sample(&self) {
        self.rates
            .sample(self.shards.clock.now_ms(), &self.shards.metrics);
    }

    fn max_publish_bytes(&self) -> usize {
        self.max_publish_bytes.load(Ordering::Relaxed)
    }
}

/// Serves a listener until its task is dropped.
///
/// # Errors
/// What the runtime says when it takes the listener over.
pub async fn serve(admin: Arc<Admin>, listener: Listener) -> io::Result<()> {
    let permits = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    let listener = match listener {
        Listener::Tcp(listener) => Acceptor::Tcp(TcpListener::from_std(listener)?),
        Listener::Unix(listener, _) => Acceptor::Unix(UnixListener::from_std(listener)?),
    };
    let mut was_failing = false;
    loop {
        let Ok(permit) = Arc::clone(&permits).acquire_owned().await else {
            return Ok(());
        };
        let socket = match listener.accept().await {
            Ok(socket) => {
                was_failing = false;
                socket
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
            let service = service_fn(|request| {
                let admin = Arc::clone(&admin);
                async move { Ok::<_, Infallible>(routes::answer(&admin, request).await) }
            });
            let served = http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(HEAD_TIMEOUT)
                .serve_connection(TokioIo::new(socket), service)
                .await;
            if let Err(error) = served {
                tracing::debug!(%error, "admin connection ended");
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
    async fn accept(&self) -> io::Result<Box<dyn Stream>> {
        Ok(match self {
            Self::Tcp(listener) => {
                let (stream, _) = listener.accept().await?;
                Box::new(stream)
            }
            Self::Unix(listener) => Box::new(listener.accept().await?.0),
        })
    }
}
