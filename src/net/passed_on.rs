//! Listening sockets that go on in another process of the server, and those that came from one.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};

use socket2::{Domain, Socket};

use super::listener::{BindError, Listener, Owner, Preface, SharedSocket};

/// A copy of a listening socket.
#[derive(Debug)]
pub(crate) struct ListenerCopy {
    socket: Socket,
    shared: Option<Weak<SharedSocket>>,
}

impl ListenerCopy {
    /// Copies a listener's descriptor.
    ///
    /// # Errors
    /// The process has no descriptors left.
    pub(crate) fn of(listener: &Listener) -> io::Result<Self> {
        Ok(Self {
            socket: listener.socket.try_clone()?,
            shared: match &listener.owner {
                Owner::Us(shared) => Some(Arc::downgrade(shared)),
                Owner::Supervisor => None,
            },
        })
    }

    /// Returns true if a supervisor has bound it.
    pub(crate) fn is_passed(&self) -> bool {
        self.shared.is_none()
    }

    /// Another process accepts from the socket, now or again, if `is_passed_on`. Then this one does not shut it down when
    /// it ends.
    pub(crate) fn set_passed_on(&self, is_passed_on: bool) {
        if let Some(shared) = self.shared.as_ref().and_then(Weak::upgrade) {
            shared.is_passed_on.store(is_passed_on, Ordering::Relaxed);
        }
    }
}

impl AsFd for ListenerCopy {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// Takes over the sockets of one endpoint from another process. There are at least `count`, one per shard, and more
/// if the other process had more shards: none may be left without anybody who accepts from it.
///
/// # Errors
/// [`BindError`]
pub(crate) fn inherit(
    sockets: Vec<OwnedFd>,
    count: usize,
    is_ours: bool,
) -> Result<Vec<Listener>, BindError> {
    let mut listeners: Vec<Listener> = Vec::new();
    for socket in sockets {
        let socket = Socket::from(socket);
        socket.set_nonblocking(true).map_err(BindError::Passed)?;
        let is_shared = socket.domain().map_err(BindError::Passed)? == Domain::UNIX;
        let owner = match listeners.first() {
            // The shards share one socket for each path.
            Some(first) if is_shared => first.owner.clone(),
            // Until this process accepts, the other one may go on.
            _ if is_ours => Owner::Us(Arc::new(SharedSocket {
                is_passed_on: true.into(),
            })),
            _ => Owner::Supervisor,
        };
        listeners.push(Listener {
            socket,
            owner,
            preface: Preface::default(),
        });
    }
    let given = listeners.len();
    for number in given..count {
        let Some(first) = listeners.get(number % given.max(1)) else {
            return Err(BindError::NotAListener);
        };
        let copy = Listener {
            socket: first.socket.try_clone().map_err(BindError::Passed)?,
            owner: first.owner.clone(),
            preface: Preface::default(),
        };
        listeners.push(copy);
    }
    Ok(listeners)
}
