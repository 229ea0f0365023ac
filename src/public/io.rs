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
use crate::net::Socket;
use crate::shard::Detached;
use crate::tls::Secrets;

/// What hyper reads from and writes to.
#[derive(Debug)]
pub(super) enum Io {
    Plain(Wire),
    Tls(Box<TlsStream<Wire>>),
    /// With TLS, and a stream before.
    Sealed(Box<Sealed>),
}

/// The socket. Notes what prevents it from being detached.
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
    /// Reads that brought something: the client has done its part.
    reads: Cell<u64>,
    end: Cell<End>,
}

/// The client's end, which it may send behind its last request. hyper gives up a request whose
/// client has ended, so the driver decides when hyper may see it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum End {
    #[default]
    Ahead,
    /// It has come, and hyper has not seen it.
    Held,
    Passes,
}

impl LooseEnds {
    pub(super) fn of_tls() -> Self {
        Self {
            records: Some(Cell::default()),
            ..Self::default()
        }
    }

    /// How often something was read.
    pub(super) fn reads(&self) -> u64 {
        self.reads.get()
    }

    /// Lets the client's end through from now on.
    pub(super) fn pass_end(&self) {
        self.end.set(End::Passes);
    }

    /// The same, if it was held; true where hyper has to look once more.
    pub(super) fn pass_held_end(&self) -> bool {
        let is_held = self.end.get() == End::Held;
        if is_held {
            self.pass_end();
        }
        is_held
    }

    /// Notes the end; true where hyper is not to see it.
    fn holds_end(&self) -> bool {
        if self.end.get() == End::Ahead {
            self.end.set(End::Held);
        }
        self.end.get() == End::Held
    }

    fn note_read(&self) {
        self.reads.set(self.reads.get() + 1);
    }

    /// Whether something that was written is not out yet.
    pub(super) fn is_blocked(&self) -> bool {
        self.is_blocked.get()
    }

    /// Whether the connection may be detached, as far as its socket knows.
    pub(super) fn are_none(&self) -> bool {
        let records = self.records.as_ref().map(Cell::get);
        !self.is_blocked() && records.is_none_or(Records::is_between)
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

impl AsyncRead for Wire {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let Some(records) = self.loose_ends.records.as_ref().map(Cell::get) else {
            let before = buf.filled().len();
            let poll = Pin::new(&mut self.socket).poll_read(cx, buf);
            if buf.filled().len() > before {
                self.loose_ends.note_read();
            }
            return poll;
        };
        // Never beyond a record, for the reason that `Io` has.
        let bytes = records.readable_bytes().min(buf.remaining());
        let mut part = ReadBuf::new(buf.initialize_unfilled_to(bytes));
        let poll = Pin::new(&mut self.socket).poll_read(cx, &mut part);
        let records = records.after(part.filled());
        let read = part.filled().len();
        buf.advance(read);
        if read > 0 {
            self.loose_ends.note_read();
        }
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
        let poll = Pin::new(&mut self.socket).poll_write(cx, buf);
        self.note(poll)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let poll = Pin::new(&mut self.socket).poll_write_vectored(cx, bufs);
        self.note(poll)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_shutdown(cx)
    }
}

/// Calls a method of whichever it is.
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
        let this = self.get_mut();
        let (space, before) = (buf.remaining(), buf.filled().len());
        ready!(this.poll_content(cx, buf))?;
        let is_end = space > 0 && buf.filled().len() == before;
        if is_end && this.loose_ends().holds_end() {
            // Whoever lets it pass has hyper look again.
            return Poll::Pending;
        }
        Poll::Ready(Ok(()))
    }
}

impl Io {
    fn loose_ends(&self) -> &LooseEnds {
        match self {
            Self::Plain(wire) => &wire.loose_ends,
            Self::Sealed(stream) => &stream.wire().loose_ends,
            Self::Tls(stream) => &stream.get_ref().0.loose_ends,
        }
    }

    fn poll_content(
        &mut self,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self {
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
