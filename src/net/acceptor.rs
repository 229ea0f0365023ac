//! The loop that accepts connections. It survives every error, and logs a series of errors once. The
//! service decides when to take the next connection, and what to do with it.

use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

use rustix::net::{Shutdown, SocketFlags, acceptfrom_with, shutdown};
use socket2::SockRef;
use tokio::io::unix::AsyncFd;

use super::Socket;
use super::listener::{Listener, Owner, Preface, endpoint};
use crate::clock::Clock;
use crate::sys;

/// Pause after a failed accept. Without descriptors or memory, the next try would fail as well.
const ERROR_PAUSE: Duration = Duration::from_millis(100);
/// Accepts in a row before the runtime's other tasks run. What can be served at once is served in between, so this is
/// about a millisecond, and two with TLS.
const BATCH: usize = 32;

/// A listener in the runtime.
#[derive(Debug)]
pub(crate) struct Acceptor {
    socket: AsyncFd<OwnedFd>,
    owner: Owner,
    preface: Preface,
    /// Accepts since other tasks could run.
    in_a_row: usize,
    was_failing: bool,
}

impl Acceptor {
    /// Registers a listener with the current runtime.
    ///
    /// # Errors
    /// The runtime cannot register it.
    pub(crate) fn new(listener: Listener) -> io::Result<Self> {
        let Listener {
            socket,
            owner,
            preface,
        } = listener;
        Ok(Self {
            socket: sys::watch_readable(socket.into())?,
            owner,
            preface,
            in_a_row: 0,
            was_failing: false,
        })
    }

    /// What each of its connections has to begin with.
    pub(crate) fn preface(&self) -> Preface {
        self.preface
    }

    /// Waits for the next connection. Calls `failed` each time that accepting fails.
    pub(crate) async fn next(&mut self, clock: &Clock, failed: impl Fn()) -> Socket {
        loop {
            if self.in_a_row == BATCH {
                self.in_a_row = 0;
                tokio::task::yield_now().await;
            }
            self.in_a_row += 1;
            match self.accept().await {
                Ok(socket) => {
                    self.was_failing = false;
                    return socket;
                }
                Err(error) if is_of_one_client(&error) => {}
                Err(error) => {
                    failed();
                    if !self.was_failing {
                        self.warn(&error);
                    }
                    self.was_failing = true;
                    clock.sleep(ERROR_PAUSE).await;
                }
            }
        }
    }

    async fn accept(&self) -> io::Result<Socket> {
        loop {
            let mut ready = self.socket.readable().await?;
            if let Ok(accepted) = ready.try_io(|socket| accept(socket.get_ref())) {
                return accepted;
            }
        }
    }

    fn warn(&self, error: &io::Error) {
        let endpoint = endpoint(&SockRef::from(&self.socket)).ok();
        let endpoint = endpoint.as_ref().map(tracing::field::display);
        tracing::warn!(%error, endpoint, "cannot accept; trying again every 100 ms");
    }
}

impl Drop for Acceptor {
    /// Makes the kernel refuse new connections, even if copies of the descriptor are open elsewhere.
    fn drop(&mut self) {
        // A shared socket is shut down by the last shard only. Others that still accept from it would see it
        // as ready for ever, without a connection.
        let is_last = match std::mem::replace(&mut self.owner, Owner::Supervisor) {
            Owner::Us(shared) => {
                Arc::into_inner(shared).is_some_and(|shared| !shared.is_passed_on.into_inner())
            }
            Owner::Supervisor => false,
        };
        if is_last {
            // It may be shut down already.
            let _ = shutdown(&self.socket, Shutdown::Both);
        }
    }
}

fn accept(listener: &OwnedFd) -> io::Result<Socket> {
    let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
    let (socket, peer) = acceptfrom_with(listener, flags)?;
    // A unix socket's peer has no address of this kind.
    let peer = peer.and_then(|peer| SocketAddr::try_from(peer).ok());
    Ok(Socket::new(socket, peer))
}

/// The connection ended before it was accepted; the listener is fine.
fn is_of_one_client(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::Interrupted
    )
}
