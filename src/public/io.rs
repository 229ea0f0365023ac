//! A client's connection under hyper: its socket, with or without TLS between the two.

use std::cell::Cell;
use std::io::{self, Write};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use rustls::ServerConnection;
use tokio::io::{AsyncBufRead, AsyncRead, AsyncWrite, ReadBuf};
use tokio_rustls::server::TlsStream;

use super::records::Records;
use super::sealed::Sealed;
use crate::shard::{Detached, Socket};
use crate::tls::Secrets;

/// See the module's text.
#[derive(Debug)]
pub(super) enum Io {
    Plain(Wire),
    Tls(Box<TlsStream<Wire>>),
    /// With TLS, and a stream before.
    Sealed(Box<Sealed>),
}

/// The socket. Notes what speaks against detaching it.
#[derive(Debug)]
pub(super) struct Wire {
    socket: Socket,
    loose_ends: Rc<LooseEnds>,
}

/// What is under way in a connection; shared with its driver.
#[derive(Debug, Default)]
pub(super) struct LooseEnds {
    /// The last write could not go on: an earlier answer is not out yet.
    is_blocked: Cell<bool>,
    /// Of a connection with TLS: how much of a record has been read.
    records: Option<Cell<Records>>,
}

impl LooseEnds {
    pub(super) fn of_tls() -> Self {
        Self {
            is_blocked: Cell::default(),
            records: Some(Cell::default()),
        }
    }

    /// Whether the connection may be detached, as far as its socket knows.
    pub(super) fn are_none(&self) -> bool {
        let records = self.records.as_ref().map(Cell::get);
        !self.is_blocked.get() && records.is_none_or(Records::is_between)
    }
}

impl Io {
    /// Takes the connection out of the runtime, and its secrets out of rustls. Everything that was
    /// written has to be out.
    ///
    /// # Errors
    /// What the runtime or rustls says.
    pub(super) fn detach(self) -> io::Result<Detached> {
        let (wire, secrets, lost_input) = match self {
            Self::Plain(wire) => (wire, None, false),
            Self::Sealed(sealed) => {
                let (wire, secrets, lost_input) = sealed.detach()?;
                (wire, Some(secrets), lost_input)
            }
            Self::Tls(stream) => {
                let (wire, mut connection) = stream.into_inner();
                answer_key_update(&mut connection)?;
                let extracted = connection
                    .dangerous_extract_secrets()
                    .map_err(io::Error::other)?;
                let secrets = Secrets::new(&extracted)
                    .ok_or_else(|| io::Error::other("rustls agreed on another cipher"))?;
                (wire, Some(secrets), false)
            }
        };
        Ok(Detached::new(wire.socket.into_fd()?, secrets, lost_input))
    }
}

/// Lets rustls write its answer to a client's new keys, which it holds back until something is
/// written: with the answer its own keys are new as well, and the client has to know.
fn answer_key_update(connection: &mut ServerConnection) -> io::Result<()> {
    connection.writer().write(&[]).map(drop)
}

impl Wire {
    pub(super) fn new(socket: Socket, loose_ends: Rc<LooseEnds>) -> Self {
        Self { socket, loose_ends }
    }

    fn note<T>(&self, poll: Poll<T>) -> Poll<T> {
        self.loose_ends.is_blocked.set(poll.is_pending());
        poll
    }
}

/// Calls a method of whichever stream it is.
macro_rules! on_socket {
    ($wire:expr, $stream:ident => $call:expr) => {
        match &mut $wire.socket {
            Socket::Tcp($stream, _) => $call,
            Socket::Unix($stream) => $call,
        }
    };
}

impl AsyncRead for Wire {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let Some(records) = self.loose_ends.records.as_ref().map(Cell::get) else {
            return on_socket!(self, stream => Pin::new(stream).poll_read(cx, buf));
        };
        // Never beyond a record, for the reason that `Io` has.
        let bytes = records.readable_bytes().min(buf.remaining());
        let mut part = ReadBuf::new(buf.initialize_unfilled_to(bytes));
        let poll = on_socket!(self, stream => Pin::new(stream).poll_read(cx, &mut part));
        let records = records.after(part.filled());
        let read = part.filled().len();
        buf.advance(read);
        if let Some(of_wire) = &self.loose_ends.records {
            of_wire.set(records);
        }
        poll
    }
}

impl AsyncWrite for Wire {
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

/// The same of a connection.
macro_rules! on_stream {
    ($io:expr, $stream:ident => $call:expr) => {
        match $io.get_mut() {
            Io::Plain($stream) => $call,
            Io::Tls($stream) => $call,
            Io::Sealed($stream) => $call,
        }
    };
}

impl AsyncRead for Io {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_read(cx, buf),
            Self::Sealed(stream) => Pin::new(stream).poll_read(cx, buf),
            // One record, and no more: it may be all that hyper wants, and then nobody would read
            // the rest of another that has begun, without which the connection cannot be detached.
            Self::Tls(stream) => {
                let mut stream = Pin::new(stream.as_mut());
                let content = ready!(stream.as_mut().poll_fill_buf(cx))?;
                let bytes = content.len().min(buf.remaining());
                buf.put_slice(content.get(..bytes).unwrap_or_default());
                stream.consume(bytes);
                Poll::Ready(Ok(()))
            }
        }
    }
}

impl AsyncWrite for Io {
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
        match self.get_mut() {
            Self::Plain(wire) => Pin::new(wire).poll_flush(cx),
            Self::Sealed(stream) => Pin::new(stream).poll_flush(cx),
            Self::Tls(stream) => {
                answer_key_update(stream.get_mut().1)?;
                Pin::new(stream).poll_flush(cx)
            }
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        on_stream!(self, stream => Pin::new(stream).poll_shutdown(cx))
    }
}
