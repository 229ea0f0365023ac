//! A client's socket under hyper, and the state that tells whether it can be detached.

use std::cell::{Cell, RefCell};
use std::io;
use std::os::fd::OwnedFd;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use hyper::body::Bytes;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::records::Records;
use crate::net::Socket;

/// The socket. It tracks what prevents the connection from being detached.
#[derive(Debug)]
pub(crate) struct ClientSocket {
    socket: Socket,
    loose_ends: Rc<LooseEnds>,
}

/// The state of a connection that may prevent it from being detached. The socket and the driver share it.
#[derive(Debug, Default)]
pub(crate) struct LooseEnds {
    /// The last write was blocked, so an earlier response has not been sent completely.
    is_blocked: Cell<bool>,
    /// With TLS: the position of the input within a record.
    records: Option<Cell<Records>>,
    /// The number of reads that returned data.
    reads: Cell<u64>,
    eof: Cell<Eof>,
    /// Content that another process has read before.
    put_back: RefCell<Bytes>,
}

/// The client's EOF, which may follow directly after its last request. hyper drops a request whose client
/// has closed its side, so the driver decides when hyper may see the EOF.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Eof {
    #[default]
    NotReached,
    /// It has arrived, but hyper must not see it yet.
    Held,
    /// hyper sees it, now or when it arrives.
    Passed,
}

impl LooseEnds {
    pub(crate) fn of_tls() -> Self {
        Self {
            records: Some(Cell::default()),
            ..Self::default()
        }
    }

    /// The number of reads that returned data.
    pub(crate) fn reads(&self) -> u64 {
        self.reads.get()
    }

    /// Lets hyper see the client's EOF from now on.
    pub(crate) fn pass_eof(&self) {
        self.eof.set(Eof::Passed);
    }

    /// Lets hyper see the EOF if it was held back. Returns true if hyper has to read again.
    pub(crate) fn pass_held_eof(&self) -> bool {
        let is_held = self.eof.get() == Eof::Held;
        if is_held {
            self.pass_eof();
        }
        is_held
    }

    /// Called when the EOF arrives: holds it back unless it may pass. Returns true if it is held.
    pub(crate) fn hold_back_eof(&self) -> bool {
        if self.eof.get() == Eof::NotReached {
            self.eof.set(Eof::Held);
        }
        self.eof.get() == Eof::Held
    }

    /// Lets hyper read this first.
    pub(crate) fn put_back(&self, content: Bytes) {
        self.put_back.replace(content);
    }

    /// Moves what was put back into a buffer. Returns true if there was anything.
    pub(super) fn take_put_back(&self, buf: &mut ReadBuf<'_>) -> bool {
        let mut content = self.put_back.borrow_mut();
        let bytes = content.len().min(buf.remaining());
        buf.put_slice(&content.split_to(bytes));
        bytes > 0
    }

    fn note_read(&self) {
        self.reads.set(self.reads.get() + 1);
    }

    /// Returns true if some output has not been sent yet.
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
    pub(super) fn into_fd(self) -> OwnedFd {
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
        // Never reads beyond a record, since `Io` takes one record at a time.
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
