//! The shard's inner parts for `benches/`; not part of the library.

use std::cell::RefCell;
use std::io;
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::sync::Arc;

use super::acceptor::{Accepted, StartHandshake};
use super::poller::Poller;
use super::shard::Shard;
use super::shared::Shared;
use super::slot::{Kind, Opening};
use super::table::Table;
use super::wheel::{Tick, Wheel};
use crate::event::Position;
use crate::hub::directory::UserHandle;
use crate::net::{Handshakes, Preface, Socket};
use crate::wire::Wire;

/// A table with its wheel.
#[derive(Debug)]
pub struct Rig {
    table: Table,
    wheel: Wheel,
    now: Tick,
}

impl Rig {
    /// An empty one.
    pub fn new(capacity: usize) -> Self {
        Self {
            table: Table::new(0, capacity),
            wheel: Wheel::new(Tick(0)),
            now: Tick(0),
        }
    }

    /// Puts a client into the table and arms its timer.
    pub fn join(&mut self, fd: OwnedFd, due_ticks: u32) -> u32 {
        let opening = Opening {
            user: UserHandle::NONE,
            wire: Wire::SseChunked,
            kind: Kind::Notifications {
                joined: Position(0),
            },
            expires_at_s: None,
            topics: Box::default(),
            session: None,
            forwarded_for: None,
        };
        let key = self.table.insert(fd, opening, self.now, 0).key();
        self.rearm(key, due_ticks);
        key
    }

    /// Takes a client out and returns its descriptor.
    pub fn leave(&mut self, key: u32) -> Option<OwnedFd> {
        self.wheel.disarm(&mut self.table, key);
        self.table
            .remove(key)
            .map(|slot| slot.carrier.into_parts().0)
    }

    /// Arms a client's timer anew.
    pub fn rearm(&mut self, key: u32, due_ticks: u32) {
        self.wheel
            .arm(&mut self.table, key, self.now.plus(due_ticks));
    }

    /// Lets time pass and re-arms what fires; says how many did.
    pub fn pass(&mut self, ticks: u32, due_ticks: u32) -> usize {
        self.now = self.now.plus(ticks);
        let mut fired = 0;
        while let Some(key) = self.wheel.pop_due(&mut self.table, self.now) {
            self.rearm(key, due_ticks);
            fired += 1;
        }
        fired
    }
}

/// A shard without its thread, for what its thread does: the caller takes its turns.
#[derive(Debug)]
pub struct Solo {
    shard: Rc<RefCell<Shard>>,
    handshakes: Rc<Handshakes>,
}

impl Solo {
    /// Shard 0 of `shared`, in the context of its runtime.
    ///
    /// # Errors
    /// What the kernel says to one epoll more.
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

    /// The shard, to let streams in.
    pub fn shard(&self) -> &RefCell<Shard> {
        &self.shard
    }

    /// Starts a handshake on a socket that was just accepted, in the context of a `LocalSet`.
    pub fn accept(&self, socket: Socket, start: &StartHandshake) {
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

    /// Delivers all that its inbox holds.
    pub fn deliver(&self) {
        while self.shard.borrow_mut().deliver() {}
    }

    /// Sends all that clients who came back have missed.
    pub fn catch_up(&self) {
        while self.shard.borrow_mut().run_catch_ups() {}
    }

    /// Does what is due by the clock.
    pub fn run_timers(&self) {
        let mut shard = self.shard.borrow_mut();
        let now = shard.connections.now();
        while shard.run_timers(now) {}
    }

    /// Takes what the sockets have to say.
    pub fn poll(&self) {
        while self.shard.borrow_mut().poll_sockets(&mut Vec::new()) {}
    }

    /// Streams held.
    #[allow(clippy::len_without_is_empty)] // nobody asks
    pub fn len(&self) -> usize {
        self.shard.borrow().len()
    }
}
