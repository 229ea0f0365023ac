//! A connection with TLS that has been a stream and is HTTP again. rustls cannot take secrets back,
//! so the records are sealed and opened here, as the shard does for streams:
//!
//! 1. [`AsyncRead`] gives what a record holds, and never reads beyond the record.
//! 2. [`AsyncWrite`] seals what it is given, at most a record's content at once.
//! 3. [`Sealed::detach`] gives the secrets out again, with their sequence numbers.
//!
//! A client that renews its keys is cut off: only rustls had what new keys are made of. When the
//! keys have sealed enough, the connection ends after the next answer.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::socket::ClientSocket;
use crate::tls::{Alert, HEADER_BYTES, MAX_CONTENT_BYTES, Received, Secrets, record_bytes};

/// Most records without content in a row (RFC 8446 §5.1 allows them): each costs work and a number,
/// and brings nothing.
const MAX_EMPTY_RECORDS: u32 = 32;

/// A returned TLS connection under hyper.
#[derive(Debug)]
pub(crate) struct Sealed {
    socket: ClientSocket,
    secrets: Secrets,
    /// What has come of the next record.
    record: Vec<u8>,
    /// The content of the last one, up to where it was read.
    content: Vec<u8>,
    read: usize,
    /// Records that the socket has not taken, up to what it took.
    outgoing: Vec<u8>,
    sent: usize,
    /// Records without content in a row.
    empty_records: u32,
    /// Nothing more is read: the client has left, or an answer was given with worn keys.
    is_at_end: bool,
    has_said_goodbye: bool,
}

impl Sealed {
    /// Goes on where a stream has stopped.
    pub(crate) fn new(socket: ClientSocket, secrets: Secrets) -> Self {
        Self {
            socket,
            secrets,
            record: Vec::new(),
            content: Vec::new(),
            read: 0,
            outgoing: Vec::new(),
            sent: 0,
            empty_records: 0,
            is_at_end: false,
            has_said_goodbye: false,
        }
    }

    /// What it reads from and writes to.
    pub(crate) fn socket(&self) -> &ClientSocket {
        &self.socket
    }

    /// Takes the connection apart. What was read and not used is lost: says whether there was
    /// something.
    ///
    /// # Errors
    /// Something is under way in either direction.
    pub(crate) fn detach(self) -> io::Result<(ClientSocket, Secrets, bool)> {
        if !self.record.is_empty() || !self.outgoing.is_empty() {
            return Err(io::Error::other("half a record is under way"));
        }
        let lost_input = self.read < self.content.len();
        Ok((self.socket, self.secrets, lost_input))
    }

    /// Reads the rest of a record, and opens it.
    fn poll_record(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        loop {
            let here = self.record.len();
            let bytes = match record_bytes(&self.record) {
                Ok(Some(bytes)) if here >= bytes => return Poll::Ready(self.open()),
                Ok(bytes) => bytes.unwrap_or(HEADER_BYTES),
                Err(alert) => return Poll::Ready(Err(self.fail(alert))),
            };
            self.record.resize(bytes, 0);
            let mut part = ReadBuf::new(self.record.get_mut(here..).unwrap_or_default());
            let polled = Pin::new(&mut self.socket).poll_read(cx, &mut part);
            let read = part.filled().len();
            self.record.truncate(here + read);
            ready!(polled)?;
            if read == 0 {
                self.is_at_end = true;
                return Poll::Ready(Ok(()));
            }
        }
    }

    fn open(&mut self) -> io::Result<()> {
        let mut record = std::mem::take(&mut self.record);
        match self.secrets.open(&mut record) {
            Ok(Received::Data([])) if self.empty_records == MAX_EMPTY_RECORDS => {
                Err(self.fail(Alert::UnexpectedMessage))
            }
            Ok(Received::Data(content)) => {
                self.empty_records = match content {
                    [] => self.empty_records + 1,
                    _ => 0,
                };
                self.content.clear();
                self.content.extend_from_slice(content);
                self.read = 0;
                Ok(())
            }
            Ok(Received::CloseNotify) => {
                self.is_at_end = true;
                Ok(())
            }
            Ok(Received::KeyUpdate) => Err(self.fail(Alert::CloseNotify)),
            Ok(Received::Failure) => Err(io::ErrorKind::ConnectionAborted.into()),
            Err(alert) => Err(self.fail(alert)),
        }
    }

    /// Tells the client why it is cut off.
    fn fail(&mut self, alert: Alert) -> io::Error {
        self.is_at_end = true;
        self.say_goodbye(alert);
        io::Error::new(io::ErrorKind::InvalidData, "the client broke TLS off")
    }

    fn say_goodbye(&mut self, alert: Alert) {
        if !self.has_said_goodbye {
            self.has_said_goodbye = true;
            self.secrets.seal_alert(alert, &mut self.outgoing);
        }
    }

    /// Sends the records that wait.
    fn poll_send(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while let Some(rest) = self.outgoing.get(self.sent..).filter(|it| !it.is_empty()) {
            let taken = ready!(Pin::new(&mut self.socket).poll_write(cx, rest))?;
            if taken == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.sent += taken;
        }
        self.outgoing.clear();
        self.sent = 0;
        Poll::Ready(Ok(()))
    }

    /// Seals the first of these bytes and says how many.
    fn seal<'a>(&mut self, parts: impl IntoIterator<Item = &'a [u8]>) -> usize {
        let mut room = MAX_CONTENT_BYTES;
        let parts = parts.into_iter().map(|part| {
            let (now, _) = part.split_at(part.len().min(room));
            room -= now.len();
            now
        });
        self.secrets.seal(parts, &mut self.outgoing);
        MAX_CONTENT_BYTES - room
    }
}

impl AsyncRead for Sealed {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        loop {
            let content = this.content.get(this.read..).unwrap_or_default();
            if !content.is_empty() {
                let bytes = content.len().min(buf.remaining());
                buf.put_slice(content.get(..bytes).unwrap_or_default());
                this.read += bytes;
                return Poll::Ready(Ok(()));
            }
            if this.has_said_goodbye {
                // Thrown away by whoever closes: over unread bytes the goodbye would be lost.
                return Pin::new(&mut this.socket).poll_read(cx, buf);
            }
            if this.is_at_end {
                return Poll::Ready(Ok(()));
            }
            ready!(this.poll_record(cx))?;
        }
    }
}

impl AsyncWrite for Sealed {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(cx, &[IoSlice::new(buf)])
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        ready!(self.poll_send(cx))?;
        let sealed = self.seal(bufs.iter().map(|buf| &**buf));
        self.is_at_end |= self.secrets.are_worn();
        // What the socket does not take now, the next write or flush sends.
        match self.poll_send(cx) {
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
            _ => Poll::Ready(Ok(sealed)),
        }
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_send(cx))?;
        Pin::new(&mut self.socket).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.say_goodbye(Alert::CloseNotify);
        ready!(self.poll_send(cx))?;
        Pin::new(&mut self.socket).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests;
