//! The shard's own epoll for the sockets of streams. The runtime watches it as a single descriptor.
//!
//! A socket is added once, edge-triggered for input. `EPOLLOUT` would be reported at once, and wake the shard for each new
//! stream, so it is watched from the first backlog on; it is reported after a full buffer has drained. Closing a socket
//! removes it; one that goes back to HTTP is removed explicitly.

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{BorrowedFd, OwnedFd};

use rustix::event::epoll::{self, Event, EventData, EventFlags};
use rustix::time::Timespec;
use tokio::io::unix::AsyncFd;

use crate::hub::ConnectionId;
use crate::sys;

/// The most events taken at once, before the shard looks at its timers and its inbox again.
const BATCH: usize = 256;

/// What is watched of every socket.
const INPUT: EventFlags = EventFlags::IN
    .union(EventFlags::RDHUP)
    .union(EventFlags::ET);

/// What is watched of a socket that has had a backlog.
const EVERYTHING: EventFlags = INPUT.union(EventFlags::OUT);

/// The epoll of one shard.
#[derive(Debug)]
pub(crate) struct Poller {
    epoll: AsyncFd<OwnedFd>,
}

/// The events of a client's socket: epoll's flags, which may occur in any combination.
#[allow(clippy::struct_excessive_bools)]
#[derive(Clone, Copy, Debug)]
pub(crate) struct Readiness {
    pub(crate) connection: ConnectionId,
    pub(crate) readable: bool,
    pub(crate) writable: bool,
    /// The peer closed its side.
    pub(crate) hung_up: bool,
    pub(crate) failed: bool,
}

impl Poller {
    /// Creates an epoll that is watched by the runtime of the current context.
    pub(crate) fn new() -> io::Result<Self> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        Ok(Self {
            epoll: sys::watch_readable(epoll)?,
        })
    }

    pub(crate) fn add(&self, fd: BorrowedFd<'_>, connection: ConnectionId) -> io::Result<()> {
        let data = EventData::new_u64(connection.to_bits());
        epoll::add(self.epoll.get_ref(), fd, data, INPUT)?;
        Ok(())
    }

    /// Makes epoll report the current state of a socket again, and from now on when it takes more output.
    pub(crate) fn repeat(&self, fd: BorrowedFd<'_>, connection: ConnectionId) -> io::Result<()> {
        let data = EventData::new_u64(connection.to_bits());
        epoll::modify(self.epoll.get_ref(), fd, data, EVERYTHING)?;
        Ok(())
    }

    /// Removes a socket that stays open, and discards its pending events.
    pub(crate) fn remove(&self, fd: BorrowedFd<'_>) -> io::Result<()> {
        epoll::delete(self.epoll.get_ref(), fd)?;
        Ok(())
    }

    /// Waits until [`Poller::poll`] has events.
    pub(crate) async fn ready(&self) {
        if let Ok(mut ready) = self.epoll.readable().await {
            // Cleared before polling, so that an event that arrives during `poll` is a new edge.
            ready.clear_ready();
        }
    }

    /// Takes the pending events, at most one batch. Returns true if there may be more.
    pub(crate) fn poll(&self, happened: &mut Vec<Readiness>) -> bool {
        let now = Timespec {
            tv_sec: 0,
            tv_nsec: 0,
        };
        let mut events = [const { MaybeUninit::<Event>::uninit() }; BATCH];
        // An error is ignored, since the next turn polls again.
        let Ok((events, _)) = epoll::wait(self.epoll.get_ref(), &mut events, Some(&now)) else {
            return false;
        };
        let count = events.len();
        happened.extend(events.iter().map(|event| {
            let flags = event.flags;
            Readiness {
                connection: ConnectionId::from_bits(event.data.u64()),
                readable: flags.contains(EventFlags::IN),
                writable: flags.contains(EventFlags::OUT),
                hung_up: flags.intersects(EventFlags::RDHUP | EventFlags::HUP),
                failed: flags.contains(EventFlags::ERR),
            }
        }));
        count == BATCH
    }
}
