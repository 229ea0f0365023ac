//! Looks up host names with the system's resolver, a few at a time.
//!
//! A lookup occupies a thread and its sockets until the name servers answer. If they do not, that often
//! takes half a minute and cannot be cancelled. The caller has given up by then, so the permit is
//! held by the lookup rather than by the caller.

use std::io;
use std::net::{SocketAddr, ToSocketAddrs as _};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::vec::IntoIter;

use hyper_util::client::legacy::connect::dns::Name;
use tokio::sync::Semaphore;
use tower_service::Service;

/// Lookups in flight. An answer takes milliseconds, and most requests use a connection that is open.
const MAX_LOOKUPS: usize = 4;

type SocketAddrs = IntoIter<SocketAddr>;

/// A resolver that limits the number of lookups in flight.
#[derive(Clone, Debug)]
pub(super) struct DnsResolver {
    permits: Arc<Semaphore>,
    lookup: fn(&str) -> io::Result<SocketAddrs>,
}

impl DnsResolver {
    pub(super) fn of_the_system() -> Self {
        // The connector sets the port itself.
        Self::new(|name| (name, 0).to_socket_addrs())
    }

    fn new(lookup: fn(&str) -> io::Result<SocketAddrs>) -> Self {
        Self {
            permits: Arc::new(Semaphore::new(MAX_LOOKUPS)),
            lookup,
        }
    }
}

impl Service<Name> for DnsResolver {
    type Response = SocketAddrs;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<SocketAddrs>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, name: Name) -> Self::Future {
        let (permits, lookup) = (Arc::clone(&self.permits), self.lookup);
        Box::pin(async move {
            let permit = permits.acquire_owned().await.map_err(io::Error::other)?;
            let looked_up = tokio::task::spawn_blocking(move || {
                let found = lookup(name.as_str());
                drop(permit);
                found
            });
            looked_up.await.map_err(io::Error::other)?
        })
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::task::Waker;

    use parking_lot::Mutex;

    use super::*;

    /// Locked while the name servers do not answer.
    static SILENCE: Mutex<()> = Mutex::new(());
    static BEGUN: AtomicUsize = AtomicUsize::new(0);

    fn silent(_: &str) -> io::Result<SocketAddrs> {
        BEGUN.fetch_add(1, Ordering::Relaxed);
        drop(SILENCE.lock());
        ("127.0.0.1", 0).to_socket_addrs()
    }

    #[tokio::test]
    #[expect(clippy::await_holding_lock, reason = "only threads wait for it")]
    async fn abandoned_lookups_hold_their_permits_until_they_end() {
        let silence = SILENCE.lock();
        let mut names = DnsResolver::new(silent);
        let mut look_up = || names.call("id.example.com".parse().unwrap());
        let mut cx = Context::from_waker(Waker::noop());
        for _ in 0..10 * MAX_LOOKUPS {
            assert!(look_up().as_mut().poll(&mut cx).is_pending());
        }
        while BEGUN.load(Ordering::Relaxed) < MAX_LOOKUPS {
            tokio::task::yield_now().await;
        }
        // Threads take their work in order, so earlier work has begun by now.
        tokio::task::spawn_blocking(|| {}).await.unwrap();
        assert_eq!(BEGUN.load(Ordering::Relaxed), MAX_LOOKUPS);
        drop(silence);
        assert_eq!(look_up().await.unwrap().len(), 1);
    }
}
