//! A client's socket under hyper. Remembers whether the last write could not go on: then an
//! earlier answer is not out yet, and the connection must not be detached.

use std::cell::Cell;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::shard::Socket;

/// See the module's text.
#[derive(Debug)]
pub(super) struct Io {
    socket: Socket,
    blocked: Rc<Cell<bool>>,
}

impl Io {
    /// `blocked` is shared with the connection's driver.
    pub(super) fn new(socket: Socket, blocked: Rc<Cell<bool>>) -> Self {
        Self { socket, blocked }
    }

    pub(super) fn into_socket(self) -> Socket {
        self.socket
    }

    fn note<T>(&self, poll: Poll<T>) -> Poll<T> {
        self.blocked.set(poll.is_pending());
        poll
    }
}

/// Calls one of the two streams' methods.
macro_rules! on_socket {
    ($io:expr, $stream:ident => $call:expr) => {
        match &mut $io.socket {
            Socket::Tcp($stream, _) => $call,
            Socket::Unix($stream) => $call,
        }
    };
}

impl AsyncRead for Io {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        on_socket!(self, stream => Pin::new(stream).poll_read(cx, buf))
    }
}

impl AsyncWrite for Io {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let poll = on_socket!(self, stream => Pin::new(stream).poll_write(cx, buf));
        self.note(poll)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let poll = on_socket!(self, stream => Pin::new(stream).poll_write_vectored(cx, bufs));
        self.note(poll)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        on_socket!(self, stream => Pin::new(stream).poll_flush(cx))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        on_socket!(self, stream => Pin::new(stream).poll_shutdown(cx))
    }
}
