//! What carries a connection's content: a client's socket, with or without TLS.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use hyper::body::Bytes;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::sealed::Sealed;
use super::socket::{ClientSocket, LooseEnds};
use crate::shard::Detached;

/// A client's socket, and what encrypts its content. A read returns at most one TLS record.
#[derive(Debug)]
pub(super) enum Transport {
    Plain(ClientSocket),
    Sealed(Box<Sealed>),
}

impl Transport {
    /// Takes the content that has been received and that nobody has read: at most a TLS record.
    pub(super) fn take_unread_content(&mut self) -> Bytes {
        match self {
            Self::Plain(_) => Bytes::new(),
            Self::Sealed(sealed) => sealed.take_unread_content(),
        }
    }

    /// Takes the connection out of the runtime. All output must have been sent.
    ///
    /// # Errors
    /// A TLS record is incomplete.
    pub(super) fn detach(self) -> io::Result<Detached> {
        let (socket, secrets, lost_input) = match self {
            Self::Plain(socket) => (socket, None, false),
            Self::Sealed(sealed) => {
                let (socket, secrets, lost_input) = sealed.detach()?;
                (socket, Some(secrets), lost_input)
            }
        };
        let lost_input = lost_input || socket.has_unread_input();
        Ok(Detached::new(socket.into_fd(), secrets, lost_input))
    }

    pub(super) fn loose_ends(&self) -> &LooseEnds {
        match self {
            Self::Plain(socket) => socket.loose_ends(),
            Self::Sealed(stream) => stream.socket().loose_ends(),
        }
    }
}

/// Evaluates an expression with the stream of whichever variant it is.
macro_rules! on_stream {
    ($io:expr, $stream:ident => $call:expr) => {
        match $io.get_mut() {
            Transport::Plain($stream) => $call,
            Transport::Sealed($stream) => $call,
        }
    };
}

impl AsyncRead for Transport {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        on_stream!(self, stream => Pin::new(stream).poll_read(cx, buf))
    }
}

impl AsyncWrite for Transport {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        on_stream!(self, stream => Pin::new(stream).poll_write(cx, buf))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        on_stream!(self, stream => Pin::new(stream).poll_write_vectored(cx, bufs))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        on_stream!(self, stream => Pin::new(stream).poll_flush(cx))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        on_stream!(self, stream => Pin::new(stream).poll_shutdown(cx))
    }
}
