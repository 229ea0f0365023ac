//! Accepts admin connections and finds each a place.

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use socket2::{SockRef, TcpKeepalive};
use tokio::net::{TcpListener, UnixListener};

use super::Admin;
use super::connection::{self, Stream};
use crate::config::MAX_LEAVING;
use crate::shard::{Listener, ListenerSocket};

/// Pause after a failed accept.
const ERROR_PAUSE: Duration = Duration::from_millis(100);
/// Silence after which a peer is asked whether it is still there, the time between two such
/// questions, and how many go without an answer before it is given up: two minutes together.
const KEEPALIVE_TIME: Duration = Duration::from_secs(60);
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(15);
const KEEPALIVE_RETRIES: u32 = 4;

/// Serves a listener until its task is dropped.
///
/// # Errors
/// What the runtime says when it takes the listener over.
pub async fn serve(admin: Arc<Admin>, listener: Listener) -> io::Result<()> {
    let listener = match listener.socket {
        ListenerSocket::Tcp(listener) => Acceptor::Tcp(TcpListener::from_std(listener)?),
        ListenerSocket::Unix(listener) => Acceptor::Unix(UnixListener::from_std(listener)?),
    };
    let mut was_failing = false;
    let mut leaving = VecDeque::with_capacity(MAX_LEAVING + 1);
    loop {
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
                admin.hub.clock.sleep(ERROR_PAUSE).await;
                continue;
            }
        };
        let (place, cut) = admin.places.enter(peer);
        tokio::spawn(connection::serve(Arc::clone(&admin), socket, place));
        leaving.extend(cut);
        // Their descriptors are open until their tasks have had a turn.
        if leaving.len() > MAX_LEAVING
            && let Some(first) = leaving.pop_front()
        {
            first.is_gone().await;
        }
    }
}

enum Acceptor {
    Tcp(TcpListener),
    Unix(UnixListener),
}

impl Acceptor {
    /// The next connection, and its other end where that has an address.
    async fn accept(&self) -> io::Result<(Box<dyn Stream>, Option<SocketAddr>)> {
        Ok(match self {
            Self::Tcp(listener) => {
                let (stream, peer) = listener.accept().await?;
                let keepalive = TcpKeepalive::new()
                    .with_time(KEEPALIVE_TIME)
                    .with_interval(KEEPALIVE_INTERVAL)
                    .with_retries(KEEPALIVE_RETRIES);
                // Without it a peer that is gone holds its place until another needs that.
                if let Err(error) = SockRef::from(&stream).set_tcp_keepalive(&keepalive) {
                    tracing::debug!(%error, "admin: no keepalive");
                }
                (Box::new(stream), Some(peer))
            }
            Self::Unix(listener) => (Box::new(listener.accept().await?.0), None),
        })
    }
}
