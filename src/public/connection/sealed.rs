//! HTTP over TLS after the handshake. Its records are sealed and opened here, as the shard does for streams:
//!
//! 1. [`AsyncRead`] returns the content of one record, and never reads beyond that record.
//! 2. [`AsyncWrite`] seals at most one record's content per call.
//! 3. [`Sealed::detach`] returns the secrets with their sequence numbers.
//!
//! A client may renew its keys before its first stream. After one, or after an upgrade, it is disconnected, since only
//! rustls had the secret that new keys derive from. When the keys are worn, the connection ends after the next response.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use hyper::body::Bytes;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::socket::{ClientSocket, poll_receive_within};
use crate::tls::{
    Alert, HEADER_BYTES, KeyUpdates, MAX_CONTENT_BYTES, Received, Secrets, record_bytes,
};

/// The most records without content, new keys included, before a stream. RFC 8446 §5.1 allows empty ones, but each costs
/// work and a sequence number.
const MAX_EMPTY_RECORDS: u32 = 32;

/// A TLS connection while it speaks HTTP.
#[derive(Debug)]
pub(crate) struct Sealed {
    socket: ClientSocket,
    secrets: Secrets,
    /// How it follows new keys; `None` after a stream or an upgrade.
    updates: Option<Box<KeyUpdates>>,
    /// The part of the next record that has been read.
    record: Vec<u8>,
    /// The content of the last record; hyper has taken `read` bytes of it.
    content: Vec<u8>,
    read: usize,
    /// Sealed records; the socket has taken `sent` bytes of them.
    outgoing: Vec<u8>,
    sent: usize,
    /// `outgoing` may contain the answer to new keys of the client.
    owes_answer: bool,
    /// The number of records without content.
    empty_records: u32,
    /// No more input is accepted: the client has left, or a response was sealed with worn keys.
    is_at_end: bool,
    has_said_goodbye: bool,
}

impl Sealed {
    /// Continues with the secrets of a handshake, or of a stream that has ended.
    pub(super) fn new(socket: ClientSocket, secrets: Secrets, updates: Option<KeyUpdates>) -> Self {
        Self {
            socket,
            secrets,
            updates: updates.map(Box::new),
            owes_answer: false,
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

    /// Takes the content that nobody has read.
    pub(crate) fn take_unread_content(&mut self) -> Bytes {
        let content = self.content.split_off(self.read.min(self.content.len()));
        content.into()
    }

    /// The socket below.
    pub(crate) fn socket(&self) -> &ClientSocket {
        &self.socket
    }

    /// Takes the connection apart. Input that was read but not used is lost; the last value is true if
    /// there was any.
    ///
    /// # Errors
    /// If a record is incomplete in either direction.
    pub(crate) fn detach(self) -> io::Result<(ClientSocket, Secrets, bool)> {
        if !self.record.is_empty() || !self.outgoing.is_empty() {
            return Err(io::Error::other("a TLS record is incomplete"));
        }
        let lost_input = self.read < self.content.len();
        Ok((self.socket, self.secrets, lost_input))
    }

    /// Reads the rest of a record and opens it.
    fn poll_record(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        loop {
            let here = self.record.len();
            let bytes = match record_bytes(&self.record) {
                Ok(Some(bytes)) if here >= bytes => return Poll::Ready(self.open()),
                Ok(bytes) => bytes.unwrap_or(HEADER_BYTES),
                Err(alert) => return Poll::Ready(Err(self.fail(alert))),
            };
            // Only what has come takes up memory: a header may announce 16 KiB and nothing follow.
            let missing = bytes - here;
            let read = poll_receive_within(missing, &mut self.socket, &mut self.record, cx);
            if ready!(read)? == 0 {
                self.is_at_end = true;
                return Poll::Ready(Ok(()));
            }
        }
    }

    fn open(&mut self) -> io::Result<()> {
        let mut record = std::mem::take(&mut self.record);
        match self.secrets.open(&mut record) {
            Ok(Received::Data([]) | Received::KeyUpdate { .. })
                if self.empty_records == MAX_EMPTY_RECORDS =>
            {
                Err(self.fail(Alert::UnexpectedMessage))
            }
            Ok(Received::Data(content)) => {
                self.empty_records += u32::from(content.is_empty());
                self.content = content.to_vec();
                self.read = 0;
                Ok(())
            }
            Ok(Received::CloseNotify) => {
                self.is_at_end = true;
                Ok(())
            }
            Ok(Received::KeyUpdate { is_requested }) => {
                self.empty_records += 1;
                self.follow(is_requested)
            }
            Ok(Received::Failure) => Err(io::ErrorKind::ConnectionAborted.into()),
            Err(alert) => Err(self.fail(alert)),
        }
    }

    /// Follows a client to its new keys, and renews those for what it is sent if it asks for that.
    fn follow(&mut self, is_requested: bool) -> io::Result<()> {
        let Some(updates) = &mut self.updates else {
            return Err(self.fail(Alert::CloseNotify));
        };
        let secrets = &mut self.secrets;
        let mut renewed = updates.renew_receiving(secrets);
        if is_requested && renewed.is_ok() {
            self.owes_answer = true;
            renewed = updates.renew_sending(secrets, &mut self.outgoing);
        }
        renewed.map_err(io::Error::other)
    }

    /// Queues an alert with the reason and ends the connection.
    fn fail(&mut self, alert: Alert) -> io::Error {
        self.is_at_end = true;
        self.say_goodbye(alert);
        io::Error::new(io::ErrorKind::InvalidData, "TLS ended with an alert")
    }

    fn say_goodbye(&mut self, alert: Alert) {
        if !self.has_said_goodbye {
            self.has_said_goodbye = true;
            self.secrets.seal_alert(alert, &mut self.outgoing);
        }
    }

    /// Writes the sealed records to the socket.
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

    /// Seals as many of these bytes as fit into one record, and returns their number.
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
                if this.read == this.content.len() {
                    // The connection may wait long for the next one.
                    this.content = Vec::new();
                    this.read = 0;
                }
                return Poll::Ready(Ok(()));
            }
            if this.has_said_goodbye {
                // The caller discards these bytes. Closing with unread input could lose the alert.
                return Pin::new(&mut this.socket).poll_read(cx, buf);
            }
            if this.is_at_end {
                return Poll::Ready(Ok(()));
            }
            if this.owes_answer {
                // Whoever does not read the answers cannot make this server queue more of them.
                ready!(this.poll_send(cx))?;
                this.owes_answer = false;
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
        // If the socket does not take all of it now, the next write or flush sends the rest.
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
