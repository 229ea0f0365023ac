//! Checks whether connections are still alive. The hub asks for this when a user is at the limit and a new
//! client asks for a place.

use std::os::fd::AsFd;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::time::Timespec;

use super::connection::{Connection, Gone};
use super::connections::Connections;
use super::heartbeat::Heartbeat;
use super::slot::Slot;
use crate::hub::{ConnectionId, Seen};
use crate::metrics::DisconnectReason;
use crate::sys;

/// Closes the connections that have ended according to the kernel, and reports the others. If there is a
/// heartbeat, the others receive it.
pub(super) fn look(
    connections: &mut Connections,
    ids: &[ConnectionId],
    heartbeat: Option<&Heartbeat>,
) -> Vec<Seen> {
    for id in ids {
        if let Some(connection) = connections.find(*id) {
            // The loop below checks which connections are left, for all of them at the same moment.
            let _ = connection.look(heartbeat);
        }
    }
    let mut seen = Vec::new();
    for id in ids {
        if let Some(connection) = connections.find(*id) {
            seen.push(connection.seen());
        }
    }
    seen
}

/// Closes the connections, and returns those that were still open.
pub(super) fn drop_silent(
    connections: &mut Connections,
    ids: &[ConnectionId],
) -> Vec<ConnectionId> {
    let mut dropped = Vec::new();
    for id in ids {
        if let Some(connection) = connections.find(*id) {
            dropped.push(*id);
            connection.close(DisconnectReason::Stalled);
        }
    }
    dropped
}

impl Connection<'_> {
    fn look(self, heartbeat: Option<&Heartbeat>) -> Result<Self, Gone> {
        if self.slot().stream.is_ended() {
            return Ok(self);
        }
        let mut polled = [PollFd::new(
            self.slot().carrier.fd(),
            PollFlags::IN | PollFlags::RDHUP,
        )];
        let at_once = Timespec {
            tv_sec: 0,
            tv_nsec: 0,
        };
        // An error is ignored: the shard's epoll reports the socket's events in any case.
        let _ = poll(&mut polled, Some(&at_once));
        let flags = polled[0].revents();
        let this = if flags.contains(PollFlags::ERR) {
            return Err(self.close_failed());
        } else if flags.intersects(PollFlags::RDHUP | PollFlags::HUP) {
            return Err(self.close(DisconnectReason::ClientClosed));
        } else if flags.contains(PollFlags::IN) {
            // The input may be TLS's `close_notify`.
            self.take_input()?
        } else {
            self
        };
        let is_idle = |slot: &Slot| {
            !slot.stream.is_test() && !slot.stream.is_ended() && !slot.carrier.is_backlogged()
        };
        match heartbeat {
            Some(heartbeat) if is_idle(this.slot()) => {
                let now = this.all.now();
                this.send_heartbeat(heartbeat, now)
            }
            _ => Ok(this),
        }
    }

    fn seen(&self) -> Seen {
        let slot = self.slot();
        let tells = !slot.stream.is_test() && !slot.carrier.is_backlogged();
        Seen {
            connection: self.id(),
            in_flight: sys::unacknowledged(slot.carrier.fd().as_fd())
                .ok()
                .filter(|_| tells),
        }
    }
}
