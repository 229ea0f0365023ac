//! The loop that accepts. It survives whatever accepting comes up against, and says so once; what
//! becomes of a connection, and when the next one is welcome, is for the service to decide.

use std::io;
use std::net::TcpListener as StdTcpListener;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixListener as StdUnixListener;
use std::sync::Arc;
use std::time::Duration;

use rustix::net::{Shutdown, shutdown};
use socket2::{Domain, SockRef};
use tokio::net::{TcpListener, UnixListener};

use super::Socket;
use super::listener::{Listener, Owner, Preface, endpoint};
use crate::clock::Clock;

/// Pause after a failed accept: out of descriptors or memory, the next try would fail as well.
const ERROR_PAUSE: Duration = Duration::from_millis(100);
/// Accepts in a row before the runtime's other tasks get a turn: about a millisecond.
const BATCH: usize = 64;

/// A listener that a runtime watches.
#[derive(Debug)]
pub(crate) struct Acceptor {
    socket: Watched,
    owner: Owner,
    preface: Preface,
    /// Accepts since the last turn of the others.
    in_a_row: usize,
    was_failing: bool,
}

#[derive(Debug)]
enum Watched {
    Tcp(TcpListener),
    Unix(UnixListener),
}

impl Acceptor {
    /// Puts a listener into the runtime whose context the caller is in.
    ///
    /// # Errors
    /// What the runtime says.
    pub(crate) fn new(listener: Listener) -> io::Result<Self> {
        let Listener {
            socket,
            owner,
            preface,
        } = listener;
        let socket = if socket.domain()? == Domain::UNIX {
            UnixListener::from_std(StdUnixListener::from(socket)).map(Watched::Unix)?
        } else {
            TcpListener::from_std(StdTcpListener::from(socket)).map(Watched::Tcp)?
        };
        Ok(Self {
            socket,
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

    /// The next connection, however long it takes to come. Calls `failed` for each time that the
    /// listener could not accept.
    pub(crate) async fn next(&mut self, clock: &Clock, failed: impl Fn()) -> Socket {
        loop {
            if self.in_a_row == BATCH {
                self.in_a_row = 0;
                tokio::task::yield_now().await;
            }
            self.in_a_row += 1;
            match self.socket.accept().await {
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

    fn warn(&self, error: &io::Error) {
        let endpoint = endpoint(&SockRef::from(&self.socket)).ok();
        let endpoint = endpoint.as_ref().map(tracing::field::display);
        tracing::warn!(%error, endpoint, "cannot accept; trying again every 100 ms");
    }
}

impl Watched {
    async fn accept(&self) -> io::Result<Socket> {
        Ok(match self {
            Self::Tcp(listener) => {
                let (stream, peer) = listener.accept().await?;
                Socket::Tcp(stream, peer)
            }
            Self::Unix(listener) => Socket::Unix(listener.accept().await?.0),
        })
    }
}

impl AsFd for Watched {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Tcp(listener) => listener.as_fd(),
            Self::Unix(listener) => listener.as_fd(),
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
            let _ = shutdown(&self.socket, Shutdown::Both);
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
