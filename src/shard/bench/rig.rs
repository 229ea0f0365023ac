//! The table and the wheel without the rest of a shard.

use std::os::fd::OwnedFd;

use crate::event::Position;
use crate::hub::directory::UserHandle;
use crate::shard::slot::{Kind, Opening};
use crate::shard::table::Table;
use crate::shard::wheel::{Tick, Wheel};
use crate::wire::Wire;

/// A table with its wheel.
#[derive(Debug)]
pub struct Rig {
    table: Table,
    wheel: Wheel,
    now: Tick,
}

impl Rig {
    /// Creates an empty table and wheel.
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

    /// Removes a client and returns its descriptor.
    pub fn leave(&mut self, key: u32) -> Option<OwnedFd> {
        self.wheel.disarm(&mut self.table, key);
        self.table.remove(key).map(|slot| slot.carrier.into_fd())
    }

    /// Arms a client's timer again.
    pub fn rearm(&mut self, key: u32, due_ticks: u32) {
        self.wheel
            .arm(&mut self.table, key, self.now.plus(due_ticks));
    }

    /// Advances the time and re-arms the timers that fire. Returns their number.
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
