//! A client's socket under hyper, and what prevents it from being detached.

use std::cell::Cell;
use std::io;
use std::os::fd::OwnedFd;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::records::Records;
use crate::net::Socket;

/// The socket. Notes what prevents it from being detached.
#[derive(Debug)]
pub(crate) struct ClientSocket {
    socket: Socket,
    loose_ends: Rc<LooseEnds>,
}

/// What prevents a connection from being detached; shared with its driver.
#[derive(Debug, Default)]
pub(crate) struct LooseEnds {
    /// The last write was blocked: an earlier response has not been sent completely.
    is_blocked: Cell<bool>,
    /// With TLS: how much of a record has been read.
    records: Option<Cell<Records>>,
    /// Reads that returned data: proof that the client has sent something.
    reads: Cell<u64>,
    end: Cell<End>,
}

/// The client's end of input, which may follow its last request. hyper drops a request whose client
/// has closed its side, so the driver decides when hyper may see the end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum End {
    #[default]
    Ahead,
    /// It has arrived, and hyper has not seen it.
    Held,
    Passes,
}

impl LooseEnds {
    pub(crate) fn of_tls() -> Self {
        Self {
            records: Some(Cell::default()),
            ..Self::default()
        }
    }

    /// How many reads returned data.
    pub(crate) fn reads(&self) -> u64 {
        self.reads.get()
    }

    /// Lets the client's end through from now on.
    pub(crate) fn pass_end(&self) {
        self.end.set(End::Passes);
    }

    /// Lets the end through if it was held; true if hyper has to read again.
    pub(crate) fn pass_held_end(&self) -> bool {
        let is_held = self.end.get() == End::Held;
        if is_held {
            self.pass_end();
        }
        is_held
    }

    /// Notes the end; true if hyper must not see it yet.
    pub(crate) fn holds_end(&self) -> bool {
        if self.end.get() == End::Ahead {
            self.end.set(End::Held);
        }
        self.end.get() == End::Held
    }

    fn note_read(&self) {
        self.reads.set(self.reads.get() + 1);
    }

    /// Returns true if output has not been sent completely.
    pub(crate) fn is_blocked(&self) -> bool {
        self.is_blocked.get()
    }

    /// Returns true if nothing in the socket prevents the connection from being detached.
    pub(crate) fn are_none(&self) -> bool {
        let records = self.records.as_ref().map(Cell::get);
        !self.is_blocked() && records.is_none_or(Records::is_between)
    }
}

impl ClientSocket {
    pub(crate) fn new(socket: Socket, loose_ends: Rc<LooseEnds>) -> Self {
        Self { socket, loose_ends }
    }

    pub(super) fn loose_ends(&self) -> &LooseEnds {
        &self.loose_ends
    }

    /// Takes the socket out of the runtime.
    ///
    /// # Errors
    /// Errors of the runtime.
    pub(super) fn into_fd(self) -> io::Result<OwnedFd> {
        self.socket.into_fd()
    }

    fn note<T>(&self, poll: Poll<T>) -> Poll<T> {
        self.loose_ends.is_blocked.set(poll.is_pending());
        poll
    }
}

impl AsyncRead for ClientSocket {
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
        // Never beyond a record, since `Io` takes one record at a time.
        let bytes = records.readable_bytes().min(buf.remaining());
        let mut part = ReadBuf::new(buf.initialize_unfilled_to(bytes));
        let poll = Pin::new(&mut self.socket).poll_read(cx, &mut part);
        let records = records.after(part.filled());
        let read = part.filled().len();
        buf.advance(read);
        if read > 0 {
            self.loose_ends.note_read();
        }
        if let Some(of_socket) = &self.loose_ends.records {
            of_socket.set(records);
        }
        poll
    }
}

impl AsyncWrite for ClientSocket {
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
