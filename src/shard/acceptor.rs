//! Takes connections from a listener and hands them to the handshake, within its bounds.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use rustix::net::{Shutdown, shutdown};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};

use super::handshakes::{Handshake, Handshakes};
use super::listener::{Listener, ListenerSocket, Owner, Preface};
use crate::clock::Clock;
use crate::metrics::ShardMetrics;

/// Pause after a failed accept: out of descriptors or memory, the next try would fail as well.
const ERROR_PAUSE: Duration = Duration::from_millis(100);
/// Accepts in a row before the handshakes get a turn: about a millisecond.
const BATCH: usize = 64;

/// A client's socket, as hyper uses it.
#[derive(Debug)]
pub enum Socket {
    /// TCP, with the peer's address.
    Tcp(TcpStream, SocketAddr),
    /// A unix socket: nginx on the same machine.
    Unix(UnixStream),
}

/// A connection that was just accepted.
#[derive(Debug)]
pub struct Accepted {
    /// Its socket.
    pub socket: Socket,
    /// Its place among the handshakes.
    pub handshake: Handshake,
    /// What has to come before its first request.
    pub preface: Preface,
}

impl Socket {
    /// The other end's address; a unix socket's has none.
    pub fn peer(&self) -> Option<IpAddr> {
        match self {
            Self::Tcp(_, peer) => Some(peer.ip().to_canonical()),
            Self::Unix(_) => None,
        }
    }

    /// Takes the socket out of the runtime. It stays non-blocking.
    ///
    /// # Errors
    /// What the runtime says.
    pub fn into_fd(self) -> io::Result<OwnedFd> {
        Ok(match self {
            Self::Tcp(stream, _) => stream.into_std()?.into(),
            Self::Unix(stream) => stream.into_std()?.into(),
        })
    }
}

/// A listener that the shard's runtime watches.
#[derive(Debug)]
pub(super) struct Acceptor {
    socket: Watched,
    owner: Owner,
    preface: Preface,
}

#[derive(Debug)]
enum Watched {
    Tcp(TcpListener),
    Unix(UnixListener),
}

impl Acceptor {
    /// In the context of the shard's runtime.
    pub(super) fn new(listener: Listener) -> io::Result<Self> {
        let socket = match listener.socket {
            ListenerSocket::Tcp(listener) => Watched::Tcp(TcpListener::from_std(listener)?),
            ListenerSocket::Unix(listener) => Watched::Unix(UnixListener::from_std(listener)?),
        };
        Ok(Self {
            socket,
            owner: listener.owner,
            preface: listener.preface,
        })
    }

    /// Accepts until the task is dropped.
    pub(super) async fn run(
        &self,
        handshakes: Rc<Handshakes>,
        clock: Clock,
        metrics: &ShardMetrics,
        start: impl Fn(Accepted),
    ) {
        let mut was_failing = false;
        let mut batch = 0;
        loop {
            handshakes.room().await;
            match self.accept().await {
                Ok(socket) => {
                    was_failing = false;
                    let handshake = handshakes.enter(socket.peer());
                    start(Accepted {
                        socket,
                        handshake,
                        preface: self.preface,
                    });
                }
                Err(error) if is_of_one_client(&error) => {}
                Err(error) => {
                    metrics.accept_errors.increment();
                    if !was_failing {
                        tracing::warn!(%error, "cannot accept; trying again every 100 ms");
                    }
                    was_failing = true;
                    clock.sleep(ERROR_PAUSE).await;
                }
            }
            batch += 1;
            if batch == BATCH {
                batch = 0;
                tokio::task::yield_now().await;
            }
        }
    }

    async fn accept(&self) -> io::Result<Socket> {
        match &self.socket {
            Watched::Tcp(listener) => {
                let (stream, peer) = listener.accept().await?;
                Ok(Socket::Tcp(stream, peer))
            }
            Watched::Unix(listener) => {
                let (stream, _) = listener.accept().await?;
                Ok(Socket::Unix(stream))
            }
        }
    }
}

impl Drop for Acceptor {
    /// Makes the kernel refuse new connections, wherever copies of the descriptor are still open.
    fn drop(&mut self) {
        // Shut down while another shard still accepts from it, a shared socket would always be
        // ready there and never have a connection.
        let is_last = match std::mem::replace(&mut self.owner, Owner::Supervisor) {
            Owner::Us(shared) => Arc::into_inner(shared).is_some(),
            Owner::Supervisor => false,
        };
        if is_last {
            // A listener that is already shut is as good.
            let _ = match &self.socket {
                Watched::Tcp(listener) => shutdown(listener, Shutdown::Both),
                Watched::Unix(listener) => shutdown(listener, Shutdown::Both),
            };
        }
    }
}

/// The connection was gone before it was taken; the listener is fine.
fn is_of_one_client(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::Interrupted
    )
}
