//! A client's socket under hyper, and the state that tells whether it can be detached.

use std::cell::Cell;
use std::future::poll_fn;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use hyper::body::Bytes;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::records::Records;
use crate::net::Socket;

/// The socket. It tracks what prevents the connection from being detached.
#[derive(Debug)]
pub(crate) struct ClientSocket {
    socket: Socket,
    /// Input that was received before anybody read.
    early: Bytes,
    is_in_handshake: bool,
    loose_ends: Rc<LooseEnds>,
}

/// The most that is received at once while a connection waits: most requests with their token, and nearly every ClientHello.
const RECEIVE_BYTES: usize = 4 * 1024;

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

/// Receives what has arrived, and appends it. Returns the number of bytes; 0 at the end. While it waits, it needs no buffer.
///
/// # Errors
/// Receiving fails.
pub(super) async fn receive(
    source: &mut (impl AsyncRead + Unpin),
    received: &mut Vec<u8>,
) -> io::Result<usize> {
    poll_fn(|cx| poll_receive(source, received, cx)).await
}

/// Polls [`receive`].
pub(super) fn poll_receive(
    source: &mut (impl AsyncRead + Unpin),
    received: &mut Vec<u8>,
    cx: &mut Context<'_>,
) -> Poll<io::Result<usize>> {
    poll_receive_within(RECEIVE_BYTES, source, received, cx)
}

/// The same, but never reads beyond the next `bytes` bytes.
pub(super) fn poll_receive_within(
    bytes: usize,
    source: &mut (impl AsyncRead + Unpin),
    received: &mut Vec<u8>,
    cx: &mut Context<'_>,
) -> Poll<io::Result<usize>> {
    let mut buffer = [const { MaybeUninit::uninit() }; RECEIVE_BYTES];
    let mut buffer = ReadBuf::uninit(
        buffer
            .get_mut(..bytes.min(RECEIVE_BYTES))
            .unwrap_or_default(),
    );
    ready!(Pin::new(source).poll_read(cx, &mut buffer))?;
    received.extend_from_slice(buffer.filled());
    Poll::Ready(Ok(buffer.filled().len()))
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

    /// With TLS: returns true in the body of a record, between its first and its last byte.
    pub(super) fn is_in_body(&self) -> bool {
        let records = self.records.as_ref().map(Cell::get);
        records.is_some_and(Records::is_in_body)
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
        Self {
            socket,
            early: Bytes::new(),
            is_in_handshake: false,
            loose_ends,
        }
    }

    /// Waits for the client's first bytes. Until they arrive, the connection needs no state of rustls.
    ///
    /// # Errors
    /// Receiving fails.
    pub(super) async fn wait_for_input(&mut self) -> io::Result<()> {
        let mut early = Vec::new();
        if receive(&mut self.socket, &mut early).await? > 0 {
            self.loose_ends.note_read();
        }
        self.early = early.into();
        Ok(())
    }

    /// The TLS handshake begins or has ended. During one, what is sent after the client's last message, which is the first
    /// encrypted one, is session tickets. They wait for the response that usually follows.
    pub(super) fn in_handshake(&mut self, is_in_handshake: bool) {
        self.is_in_handshake = is_in_handshake;
        self.socket.hold_back(false);
    }

    /// Reads input that has arrived already, or else from the socket.
    fn poll_input(&mut self, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if self.early.is_empty() {
            return Pin::new(&mut self.socket).poll_read(cx, buf);
        }
        let bytes = self.early.len().min(buf.remaining());
        buf.put_slice(&self.early.split_to(bytes));
        Poll::Ready(Ok(()))
    }

    pub(super) fn loose_ends(&self) -> &LooseEnds {
        &self.loose_ends
    }

    /// Returns true if input was received that nobody has read.
    pub(super) fn has_unread_input(&self) -> bool {
        !self.early.is_empty()
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
            let poll = self.poll_input(cx, buf);
            if buf.filled().len() > before {
                self.loose_ends.note_read();
            }
            return poll;
        };
        // Never reads beyond a record: the handshake and `Sealed` take one at a time.
        let bytes = records.readable_bytes().min(buf.remaining());
        let mut part = ReadBuf::new(buf.initialize_unfilled_to(bytes));
        let poll = self.poll_input(cx, &mut part);
        let records = records.after(part.filled());
        let read = part.filled().len();
        buf.advance(read);
        if read > 0 {
            self.loose_ends.note_read();
        }
        if let Some(of_socket) = &self.loose_ends.records {
            of_socket.set(records);
        }
        if self.is_in_handshake && records.have_ciphertext() {
            self.socket.hold_back(true);
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

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::os::unix::net::UnixStream;

    use tokio::io::AsyncReadExt;

    use super::*;

    fn client_and_socket(loose_ends: LooseEnds) -> (UnixStream, ClientSocket) {
        let (client, server) = UnixStream::pair().unwrap();
        server.set_nonblocking(true).unwrap();
        let socket = Socket::from_fd(server.into()).unwrap();
        (client, ClientSocket::new(socket, Rc::new(loose_ends)))
    }

    #[tokio::test]
    async fn input_that_was_waited_for_is_read_before_what_follows() {
        let (mut client, mut socket) = client_and_socket(LooseEnds::default());
        client.write_all(b"early").unwrap();
        socket.wait_for_input().await.unwrap();
        assert!(socket.has_unread_input());
        client.write_all(b"late").unwrap();
        let mut read = [0; 9];
        socket.read_exact(&mut read).await.unwrap();
        assert_eq!(&read, b"earlylate");
        assert!(!socket.has_unread_input());
    }

    #[tokio::test]
    async fn what_follows_the_clients_last_message_of_a_handshake_is_held_back() {
        let (mut client, mut socket) = client_and_socket(LooseEnds::of_tls());
        socket.in_handshake(true);
        for (typed, holds_back) in [(22, false), (20, false), (23, true), (23, true)] {
            let record = [typed, 3, 3, 0, 1, 0];
            client.write_all(&record).unwrap();
            socket.read_exact(&mut [0; 6]).await.unwrap();
            assert_eq!(socket.socket.holds_back(), holds_back, "{typed}");
        }
        socket.in_handshake(false);
        assert!(!socket.socket.holds_back());
    }
}
