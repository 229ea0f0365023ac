//! A whole shard that the caller drives.

use std::cell::RefCell;
use std::io;
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::sync::Arc;

use crate::net::{Handshakes, Preface, Socket};
use crate::shard::acceptor::{Accepted, StartHandshake};
use crate::shard::poller::Poller;
use crate::shard::shard::Shard;
use crate::shard::shared::Shared;

/// A shard without its thread: the caller does what the thread would do.
#[derive(Debug)]
pub struct Solo {
    shard: Rc<RefCell<Shard>>,
    handshakes: Rc<Handshakes>,
}

impl Solo {
    /// Shard 0 of `shared`, in the context of its runtime.
    ///
    /// # Errors
    /// The kernel does not create the epoll.
    pub fn new(shared: Shared) -> io::Result<Self> {
        let handshakes = Handshakes::new(
            shared.settings.max_handshakes,
            shared.clock.clone(),
            Arc::clone(&shared.metrics),
            0,
        );
        let shard = Shard::new(0, shared, Poller::new()?);
        Ok(Self {
            shard: Rc::new(RefCell::new(shard)),
            handshakes,
        })
    }

    /// The shard, to admit streams.
    pub fn shard(&self) -> &RefCell<Shard> {
        &self.shard
    }

    /// Starts a handshake on a socket that was just accepted, in the context of a `LocalSet`.
    ///
    /// # Panics
    /// The socket is not connected.
    #[allow(clippy::expect_used)]
    pub fn accept(&self, socket: OwnedFd, start: &StartHandshake) {
        let socket = Socket::from_fd(socket).expect("it is connected");
        let handshake = self.handshakes.enter(socket.peer_ip());
        start(
            Accepted {
                socket,
                handshake,
                preface: Preface::default(),
                earlier: None,
            },
            &self.shard,
        );
    }

    /// Delivers everything in its inbox.
    pub fn deliver(&self) {
        while self.shard.borrow_mut().deliver() {}
    }

    /// Finishes all replays.
    pub fn catch_up(&self) {
        while self.shard.borrow_mut().run_catch_ups() {}
    }

    /// Fires the timers that are due.
    pub fn run_timers(&self) {
        let mut shard = self.shard.borrow_mut();
        let now = shard.connections.now();
        while shard.run_timers(now) {}
    }

    /// Handles the events of the sockets.
    pub fn poll(&self) {
        while self.shard.borrow_mut().poll_sockets(&mut Vec::new()) {}
    }

    /// Number of streams.
    #[allow(clippy::len_without_is_empty)] // not needed
    pub fn len(&self) -> usize {
        self.shard.borrow().len()
    }
}
