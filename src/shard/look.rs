//! Whether connections are still there, for a newcomer whose user holds all they may.

use std::os::fd::AsFd;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::time::Timespec;

use super::Shard;
use crate::hub::{ConnectionId, Look, Seen};
use crate::metrics::{DisconnectReason, Transport};
use crate::sys;

impl Shard {
    /// Closes those of the connections whose end the kernel knows, and tells of the others.
    pub(super) fn look(&mut self, connections: &[ConnectionId], look: Look) -> Vec<Seen> {
        let is_there = |connection: &&ConnectionId| self.look_at(**connection, look);
        let there: Vec<&ConnectionId> = connections.iter().filter(is_there).collect();
        let seen = |connection: &ConnectionId| {
            let slot = self.table.get(self.table.find(*connection)?)?;
            let tells = slot.transport() == Transport::Sse && !slot.is_backlogged();
            Some(Seen {
                connection: *connection,
                in_flight: sys::in_flight(slot.fd.as_fd()).ok().filter(|_| tells),
            })
        };
        there.into_iter().filter_map(seen).collect()
    }

    /// False where the connection is gone.
    fn look_at(&mut self, connection: ConnectionId, look: Look) -> bool {
        let Some(key) = self.table.find(connection) else {
            return false;
        };
        let Some(slot) = self.table.get(key).filter(|slot| !slot.is_ending()) else {
            return true;
        };
        let mut polled = [PollFd::new(&slot.fd, PollFlags::IN | PollFlags::RDHUP)];
        let at_once = Timespec {
            tv_sec: 0,
            tv_nsec: 0,
        };
        // Interrupted or not, it is looked at again when the socket has something to say.
        let _ = poll(&mut polled, Some(&at_once));
        let flags = polled[0].revents();
        if flags.contains(PollFlags::ERR) {
            self.close_failed(key);
        } else if flags.intersects(PollFlags::RDHUP | PollFlags::HUP) {
            self.close(key, DisconnectReason::ClientClosed);
        } else if flags.contains(PollFlags::IN) {
            // TLS has a word of its own for the end.
            self.discard_input(key);
        }
        let is_idle = |slot: &super::slot::Slot| {
            slot.transport() == Transport::Sse && !slot.is_ending() && !slot.is_backlogged()
        };
        if look == Look::Heartbeat
            && self.table.find(connection).is_some()
            && self.table.get(key).is_some_and(is_idle)
        {
            self.send_heartbeat(key);
        }
        self.table.find(connection).is_some()
    }

    /// Closes the connections, and says which were there.
    pub(super) fn drop_silent(&mut self, connections: &[ConnectionId]) -> Vec<ConnectionId> {
        let mut dropped = Vec::new();
        for connection in connections {
            if let Some(key) = self.table.find(*connection) {
                dropped.push(*connection);
                self.close(key, DisconnectReason::Stalled);
            }
        }
        dropped
    }
}
