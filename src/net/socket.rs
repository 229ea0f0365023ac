//! A connected socket, TCP or unix.
//!
//! The runtime does not know it at first. Most clients have sent their request by the time they are accepted, so most
//! connections are a stream before they have ever waited. Only a socket that has to wait is registered: when it would
//! block, its task first runs once more, after the others, and then has the runtime watch it.

use std::io::{self, IoSlice};
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use rustix::io::Errno;
use rustix::net::sockopt::socket_domain;
use rustix::net::{
    AddressFamily, RecvFlags, SendAncillaryBuffer, SendFlags, Shutdown, getpeername, recv, send,
    sendmsg, shutdown,
};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::task::coop::poll_proceed;

use crate::sys::{self, Watchable};

const SEND: SendFlags = SendFlags::NOSIGNAL.union(SendFlags::DONTWAIT);

/// A connected socket that does not block.
#[derive(Debug)]
pub struct Socket {
    fd: Watchable,
    /// The peer's address; `None` for a unix socket, whose peer is a proxy on the same machine.
    peer: Option<SocketAddr>,
    /// The last read did not fill its buffer, so the next one would block.
    is_drained: bool,
    /// Its task runs once more before the runtime watches the socket.
    has_yielded: bool,
    send_flags: SendFlags,
}

/// What a socket waits for.
#[derive(Clone, Copy, Debug)]
enum Direction {
    Read,
    Write,
}

impl Socket {
    /// A socket that was just accepted.
    pub(super) fn new(fd: OwnedFd, peer: Option<SocketAddr>) -> Self {
        Self {
            fd: Watchable::from(fd),
            peer,
            is_drained: false,
            has_yielded: false,
            send_flags: SEND,
        }
    }

    /// A socket that is connected and does not block.
    ///
    /// # Errors
    /// The peer is gone.
    pub(crate) fn from_fd(fd: OwnedFd) -> io::Result<Self> {
        let peer = match socket_domain(&fd)? {
            AddressFamily::UNIX => None,
            _ => Some(SocketAddr::try_from(
                getpeername(&fd)?.ok_or(Errno::NOTCONN)?,
            )?),
        };
        Ok(Self::new(fd, peer))
    }

    /// Takes the socket out of the runtime.
    pub(crate) fn into_fd(self) -> OwnedFd {
        self.fd.into()
    }

    /// The peer's address; `None` for a unix socket, which has none.
    pub(crate) fn peer(&self) -> Option<SocketAddr> {
        self.peer
    }

    /// The peer's address without its port. IPv4 addresses have one form on all listeners.
    pub(crate) fn peer_ip(&self) -> Option<IpAddr> {
        self.peer().map(|peer| peer.ip().to_canonical())
    }

    /// Whether what is written from now on waits for what follows, so that both share a segment. The kernel waits for 200 ms
    /// at most (`MSG_MORE`, send(2)).
    pub(crate) fn hold_back(&mut self, waits: bool) {
        self.send_flags = SEND;
        self.send_flags.set(SendFlags::MORE, waits);
    }

    /// Returns true after [`Socket::hold_back`].
    #[cfg(test)]
    pub(crate) fn holds_back(&self) -> bool {
        self.send_flags.contains(SendFlags::MORE)
    }

    /// Waits until there are bytes, and receives them into `buffer`; 0 bytes mean the end.
    ///
    /// # Errors
    /// Receiving fails.
    pub(super) async fn receive(
        &mut self,
        buffer: &mut [u8],
        flags: RecvFlags,
    ) -> io::Result<usize> {
        std::future::poll_fn(|cx| self.poll_receive(cx, &mut *buffer, flags)).await
    }

    /// Receives as [`Socket::receive`] does.
    pub(super) fn poll_receive(
        &mut self,
        cx: &mut Context<'_>,
        buffer: &mut [u8],
        flags: RecvFlags,
    ) -> Poll<io::Result<usize>> {
        let receive = |fd: BorrowedFd<'_>| Ok(recv(fd, &mut *buffer, flags)?.0);
        self.poll_io(cx, Direction::Read, receive, |_| false)
    }

    /// Does `io` as soon as it does not block. `drains` tells from its result that it would block now.
    fn poll_io<T>(
        &mut self,
        cx: &mut Context<'_>,
        direction: Direction,
        mut io: impl FnMut(BorrowedFd<'_>) -> io::Result<T>,
        drains: impl Fn(&T) -> bool,
    ) -> Poll<io::Result<T>> {
        loop {
            let Some(watch) = self.fd.watch() else {
                // As with a watched socket: a peer that always has something to read or room to write keeps no others waiting.
                let budget = ready!(poll_proceed(cx));
                match io(self.fd.as_fd()) {
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                    done => {
                        budget.made_progress();
                        self.has_yielded = false;
                        return Poll::Ready(done);
                    }
                }
                if !self.has_yielded {
                    return self.run_again(cx);
                }
                self.fd.start_watch()?;
                continue;
            };
            let mut ready = ready!(match direction {
                Direction::Read => watch.poll_read_ready(cx),
                Direction::Write => watch.poll_write_ready(cx),
            })?;
            if let Ok(done) = ready.try_io(|_| io(self.fd.as_fd())) {
                if done.as_ref().is_ok_and(&drains) {
                    // Whatever has come since is a new event (epoll is edge-triggered). An end is remembered.
                    ready.clear_ready();
                }
                return Poll::Ready(done);
            }
        }
    }

    /// Has the task run once more.
    fn run_again<T>(&mut self, cx: &Context<'_>) -> Poll<T> {
        self.is_drained = false;
        self.has_yielded = true;
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    fn poll_send(
        &mut self,
        cx: &mut Context<'_>,
        mut send: impl FnMut(BorrowedFd<'_>) -> rustix::io::Result<usize>,
    ) -> Poll<io::Result<usize>> {
        let send = |fd: BorrowedFd<'_>| Ok(send(fd)?);
        self.poll_io(cx, Direction::Write, send, |_| false)
    }
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl AsyncRead for Socket {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let space = buffer.remaining();
        if this.is_drained && this.fd.watch().is_none() {
            return this.run_again(cx);
        }
        let is_short = |read: &usize| (1..space).contains(read);
        let receive = |fd: BorrowedFd<'_>| sys::receive(fd, buffer);
        let read = ready!(this.poll_io(cx, Direction::Read, receive, is_short))?;
        this.is_drained = is_short(&read);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Socket {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let flags = self.send_flags;
        self.get_mut().poll_send(cx, |fd| send(fd, bytes, flags))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let flags = self.send_flags;
        self.get_mut().poll_send(cx, |fd| {
            sendmsg(fd, slices, &mut SendAncillaryBuffer::default(), flags)
        })
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(shutdown(&*self, Shutdown::Write).map_err(io::Error::from))
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::io::Write;
    use std::os::unix::net::UnixStream;
    use std::task::Waker;

    use tokio::io::AsyncReadExt;

    use super::*;

    /// Reads without waiting; `None` if nothing has arrived.
    fn read_now(socket: &mut Socket) -> Option<Vec<u8>> {
        let mut buffer = [0; 16];
        let mut buffer = ReadBuf::new(&mut buffer);
        let mut cx = Context::from_waker(Waker::noop());
        match Pin::new(socket).poll_read(&mut cx, &mut buffer) {
            Poll::Ready(read) => read.map(|()| buffer.filled().to_vec()).ok(),
            Poll::Pending => None,
        }
    }

    #[tokio::test]
    async fn only_a_socket_that_has_to_wait_is_registered() {
        let (mut client, server) = UnixStream::pair().unwrap();
        server.set_nonblocking(true).unwrap();
        let mut socket = Socket::from_fd(server.into()).unwrap();
        client.write_all(b"one").unwrap();
        assert_eq!(read_now(&mut socket).unwrap(), b"one");
        assert_eq!(read_now(&mut socket), None);
        client.write_all(b"two").unwrap();
        assert_eq!(read_now(&mut socket).unwrap(), b"two");
        assert_eq!(read_now(&mut socket), None);
        assert!(socket.fd.watch().is_none());
        assert_eq!(read_now(&mut socket), None);
        assert!(socket.fd.watch().is_some());
        let mut buffer = [0; 16];
        let (read, ()) = tokio::join!(socket.read(&mut buffer), async {
            client.write_all(b"three").unwrap();
        });
        assert_eq!(&buffer[..read.unwrap()], b"three");
        drop(client);
        assert_eq!(socket.read(&mut buffer).await.unwrap(), 0);
    }

    #[tokio::test]
    async fn a_socket_that_always_has_input_lets_other_work_run() {
        const SENT: usize = 10_000;
        let (mut client, server) = UnixStream::pair().unwrap();
        server.set_nonblocking(true).unwrap();
        let mut socket = Socket::from_fd(server.into()).unwrap();
        client.write_all(&[0; SENT]).unwrap();
        let received = Cell::new(0);
        let receive_all = async {
            while received.get() < SENT {
                received.set(received.get() + socket.read(&mut [0; 1]).await.unwrap());
            }
        };
        // Polled after the other, each time.
        let others_turn = async { received.get() };
        let ((), received) = tokio::join!(biased; receive_all, others_turn);
        assert!(received < SENT / 10, "after {received} bytes");
        assert!(socket.fd.watch().is_none());
    }
}
