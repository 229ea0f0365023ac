//! The shard's own epoll for sockets that left hyper. The runtime watches it as one descriptor.
//!
//! A socket is added once, edge-triggered for everything: `EPOLLOUT` comes only after a full buffer
//! drained. Closing the descriptor takes it out; one that goes back to HTTP
//! is removed.

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{BorrowedFd, OwnedFd};

use rustix::event::epoll::{self, Event, EventData, EventFlags};
use rustix::time::Timespec;
use tokio::io::unix::AsyncFd;

use crate::hub::ConnectionId;
use crate::sys;

/// Events taken in one go, before the shard looks at its timers and its inbox again.
const BATCH: usize = 256;

/// What is watched of every socket.
const EVERYTHING: EventFlags = EventFlags::IN
    .union(EventFlags::OUT)
    .union(EventFlags::RDHUP)
    .union(EventFlags::ET);

/// The epoll of one shard.
#[derive(Debug)]
pub(crate) struct Poller {
    epoll: AsyncFd<OwnedFd>,
}

/// What happened to a client's socket: epoll's flags, which come in any combination.
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
    /// A new epoll, watched by the runtime whose context the caller is in.
    pub(crate) fn new() -> io::Result<Self> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        Ok(Self {
            epoll: sys::watch_readable(epoll)?,
        })
    }

    pub(crate) fn add(&self, fd: BorrowedFd<'_>, connection: ConnectionId) -> io::Result<()> {
        let data = EventData::new_u64(connection.to_bits());
        epoll::add(self.epoll.get_ref(), fd, data, EVERYTHING)?;
        Ok(())
    }

    /// Lets what a socket has to say now be said once more.
    pub(crate) fn repeat(&self, fd: BorrowedFd<'_>, connection: ConnectionId) -> io::Result<()> {
        let data = EventData::new_u64(connection.to_bits());
        epoll::modify(self.epoll.get_ref(), fd, data, EVERYTHING)?;
        Ok(())
    }

    /// Forgets a socket that stays open. What has happened to it is forgotten, too.
    pub(crate) fn remove(&self, fd: BorrowedFd<'_>) -> io::Result<()> {
        epoll::delete(self.epoll.get_ref(), fd)?;
        Ok(())
    }

    /// Waits until [`Poller::poll`] has something.
    pub(crate) async fn ready(&self) {
        if let Ok(mut ready) = self.epoll.readable().await {
            // Cleared before polling: an event that comes while `poll` looks is a new edge.
            ready.clear_ready();
        }
    }

    /// What has happened, at most a batch; true where there may be more.
    pub(crate) fn poll(&self, happened: &mut Vec<Readiness>) -> bool {
        let now = Timespec {
            tv_sec: 0,
            tv_nsec: 0,
        };
        let mut events = [const { MaybeUninit::<Event>::uninit() }; BATCH];
        // Interrupted or not, the next turn looks again.
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
