//! A connected socket, TCP or unix.

use std::io::{self, IoSlice};
use std::net::{IpAddr, SocketAddr, TcpStream as StdTcpStream};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream as StdUnixStream;
use std::pin::Pin;
use std::task::{Context, Poll};

use rustix::net::sockopt::socket_domain;
use rustix::net::{AddressFamily, RecvFlags, recv};
use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};
use tokio::net::{TcpStream, UnixStream};

/// A connected socket in the runtime.
#[derive(Debug)]
pub enum Socket {
    /// TCP, with the peer's address.
    Tcp(TcpStream, SocketAddr),
    /// A unix socket, from a proxy on the same machine.
    Unix(UnixStream),
}

/// Calls a method of the stream inside, of either type.
macro_rules! on_stream {
    ($socket:expr, $stream:ident => $call:expr) => {
        match $socket {
            Socket::Tcp($stream, _) => $call,
            Socket::Unix($stream) => $call,
        }
    };
}

impl Socket {
    /// A TCP socket.
    ///
    /// # Errors
    /// The peer is gone.
    pub(crate) fn tcp(stream: TcpStream) -> io::Result<Self> {
        let peer = stream.peer_addr()?;
        Ok(Self::Tcp(stream, peer))
    }

    /// Registers a non-blocking socket with the current runtime.
    ///
    /// # Errors
    /// The peer is gone, or the runtime cannot register the socket.
    pub(crate) fn from_fd(fd: OwnedFd) -> io::Result<Self> {
        if socket_domain(&fd)? == AddressFamily::UNIX {
            UnixStream::from_std(StdUnixStream::from(fd)).map(Self::Unix)
        } else {
            TcpStream::from_std(StdTcpStream::from(fd)).and_then(Self::tcp)
        }
    }

    /// Takes the socket out of the runtime. It stays non-blocking.
    ///
    /// # Errors
    /// The runtime cannot deregister it.
    pub(crate) fn into_fd(self) -> io::Result<OwnedFd> {
        on_stream!(self, stream => stream.into_std().map(OwnedFd::from))
    }

    /// The peer's address; `None` for a unix socket, which has none.
    pub(crate) fn peer(&self) -> Option<SocketAddr> {
        match self {
            Self::Tcp(_, peer) => Some(*peer),
            Self::Unix(_) => None,
        }
    }

    /// The peer's address without its port. IPv4 addresses have one form on all listeners.
    pub(crate) fn peer_ip(&self) -> Option<IpAddr> {
        self.peer().map(|peer| peer.ip().to_canonical())
    }

    /// Waits until there are bytes, and receives them into `buffer`; 0 bytes mean the end.
    ///
    /// # Errors
    /// Receiving fails.
    pub(super) async fn receive(&self, buffer: &mut [u8], flags: RecvFlags) -> io::Result<usize> {
        on_stream!(self, stream => {
            let receive = || Ok(recv(stream, &mut *buffer, flags)?.0);
            stream.async_io(Interest::READABLE, receive).await
        })
    }
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        on_stream!(self, stream => stream.as_fd())
    }
}

impl AsyncRead for Socket {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        on_stream!(self.get_mut(), stream => Pin::new(stream).poll_read(cx, buffer))
    }
}

impl AsyncWrite for Socket {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        on_stream!(self.get_mut(), stream => Pin::new(stream).poll_write(cx, bytes))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        on_stream!(self.get_mut(), stream => Pin::new(stream).poll_write_vectored(cx, slices))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        on_stream!(self.get_mut(), stream => Pin::new(stream).poll_flush(cx))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        on_stream!(self.get_mut(), stream => Pin::new(stream).poll_shutdown(cx))
    }
}
