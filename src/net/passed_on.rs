//! Listening sockets that go on in another process of the server, and those that came from one.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};

use socket2::{Domain, Socket};

use super::listener::{BindError, Listener, Owner, Preface, SharedSocket, SocketOptions};

/// A copy of a listening socket.
#[derive(Debug)]
pub(crate) struct ListenerCopy {
    socket: Socket,
    shared: Option<Weak<SharedSocket>>,
}

impl ListenerCopy {
    /// Copies the descriptors of an endpoint's listeners: one of each socket, even if several listeners share it.
    ///
    /// # Errors
    /// The process has no descriptors left.
    pub(crate) fn of_all(listeners: &[Listener]) -> io::Result<Vec<Self>> {
        let mut copies: Vec<Self> = Vec::new();
        for listener in listeners {
            let shared = match &listener.owner {
                Owner::Us(shared) => Some(Arc::downgrade(shared)),
                Owner::Supervisor => None,
            };
            let is_copied = |copy: &Self| match (&copy.shared, &shared) {
                (Some(one), Some(other)) => one.ptr_eq(other),
                // A supervisor passes one socket for each endpoint.
                (None, None) => true,
                _ => false,
            };
            if !copies.iter().any(is_copied) {
                let socket = listener.socket.try_clone()?;
                copies.push(Self { socket, shared });
            }
        }
        Ok(copies)
    }

    /// Returns true if a supervisor has bound it.
    pub(crate) fn is_passed(&self) -> bool {
        self.shared.is_none()
    }

    /// Sets the options that connections inherit, for all that are accepted from now on, by whatever process.
    ///
    /// # Errors
    /// The kernel refuses one.
    pub(crate) fn set_options(&self, options: SocketOptions) -> io::Result<()> {
        let is_tcp = self.socket.domain()? != Domain::UNIX;
        options.apply(&self.socket, is_tcp)
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

/// Takes over the sockets of one endpoint from another process. Returns at least `count` listeners, one per shard. There
/// are more if the other process had more shards: none may be left without anybody who accepts from it.
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

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::config::Endpoint;
    use crate::net::{adopt, bind};

    fn options(send_buffer: usize) -> SocketOptions {
        SocketOptions {
            send_buffer,
            user_timeout: Duration::from_secs(30),
        }
    }

    fn bound(count: usize) -> Vec<Listener> {
        let endpoint: Endpoint = "127.0.0.1:0".parse().unwrap();
        bind(&endpoint, count, options(0)).unwrap()
    }

    /// The sockets of copies, as the next process receives them.
    fn passed(copies: &[ListenerCopy]) -> Vec<OwnedFd> {
        let sockets = copies.iter().map(|copy| copy.as_fd().try_clone_to_owned());
        sockets.collect::<io::Result<_>>().unwrap()
    }

    #[test]
    fn each_socket_is_copied_once_however_many_listeners_share_it() {
        let own = bound(3);
        assert_eq!(ListenerCopy::of_all(&own).unwrap().len(), 3);
        let fd = bound(1).remove(0).socket.into();
        let from_supervisor = adopt(fd, 3, options(0)).unwrap();
        assert_eq!(ListenerCopy::of_all(&from_supervisor).unwrap().len(), 1);
        // More shards than the process before had.
        let sockets = passed(&ListenerCopy::of_all(&bound(2)).unwrap());
        let inherited = inherit(sockets, 5, true).unwrap();
        assert_eq!(inherited.len(), 5);
        assert_eq!(ListenerCopy::of_all(&inherited).unwrap().len(), 2);
    }

    #[test]
    fn an_inherited_listener_gets_the_options_of_its_process() {
        let listeners = bound(1);
        let before = listeners[0].socket.send_buffer_size().unwrap();
        let copies = ListenerCopy::of_all(&listeners).unwrap();
        copies[0].set_options(options(100_000)).unwrap();
        let after = listeners[0].socket.send_buffer_size().unwrap();
        // The kernel doubles it.
        assert_eq!((before == after, after), (false, 200_000));
    }
}
