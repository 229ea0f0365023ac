//! Everything that is sent to a client leaves here: it is sealed if necessary, then written or kept in the
//! client's backlog.
//!
//! The fast path is one `send` of shared bytes, without a copy, an allocation or a reference count. Only
//! after a short write, the [`Backlog`](super::backlog::Backlog) takes references to the remaining bytes.
//! Records for clients with TLS are sealed in a buffer of the shard, and copied only if a socket does not
//! take them. A backlog holds ciphertext, so nothing is sealed twice.

#![allow(clippy::indexing_slicing)] // the kernel takes at most as much as it was given

use std::io::IoSlice;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use rustix::io::Errno;
use rustix::net::{SendAncillaryBuffer, SendFlags, send, sendmsg};

use super::backlog::UnsentBytes;
use super::checksums::Checksums;
use super::parcel::Parcel;
use super::recent::RecentFrames;
use super::shared::{Settings, Shared};
use super::slot::Carrier;
use super::wheel::Tick;
use crate::hub::EventCompression;
use crate::hub::log::Entry;
use crate::metrics::{DisconnectReason, Metrics, ShardMetrics};
use crate::tls::Alert;
use crate::wire::{End, FrameChecksum, Piece, Signal, Wire};

/// The flags of every send: a closed peer causes an error instead of SIGPIPE, and a full socket does not
/// block.
const FLAGS: SendFlags = SendFlags::NOSIGNAL.union(SendFlags::DONTWAIT);

/// A shard's buffers and limits for sending.
#[derive(Debug)]
pub(super) struct Outbox {
    /// The buffer in which signals for a single client are encoded; empty between sends.
    said: Vec<u8>,
    /// The buffer in which records are sealed; empty between sends.
    records: Vec<u8>,
    /// What compressed streams were sent, whether it has left already or waits.
    pub(super) checksums: Checksums,
    compression: EventCompression,
    /// What compressed streams of this shard have replayed.
    recent: RecentFrames,
    /// The largest backlog of one client.
    max_backlog_bytes: usize,
    metrics: Arc<Metrics>,
    shard: usize,
}

/// The work that remains after a send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub(super) enum Then {
    Nothing,
    /// Arm the client's timer: a backlog has begun, or its keys are worn.
    Arm,
}

/// The result of a send. After an error, the client has to be closed for this reason.
pub(super) type Sent = Result<Then, DisconnectReason>;

/// The part of a backlog that is left after a flush.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Flushed {
    Some,
    /// There is no backlog any more.
    Nothing,
}

impl Outbox {
    pub(super) fn new(shared: &Shared, shard: u16) -> Self {
        let Settings {
            max_backlog_bytes,
            table_capacity,
            ..
        } = *shared.settings;
        let compression = shared.hub.compression();
        // Without the offer, only an upgrade brings compressed streams.
        let checksums = if compression.is_offered() {
            table_capacity
        } else {
            0
        };
        Self {
            said: Vec::new(),
            records: Vec::new(),
            checksums: Checksums::new(checksums),
            compression,
            recent: RecentFrames::default(),
            max_backlog_bytes,
            metrics: Arc::clone(&shared.metrics),
            shard: usize::from(shard),
        }
    }

    /// Frees memory that a burst left unused.
    pub(super) fn release(&mut self) {
        (self.said, self.records) = (Vec::new(), Vec::new());
        self.recent.release();
    }

    /// Sends a parcel to the client in the slot `key`, as all of these methods.
    #[inline] // once for each client of a broadcast
    pub(super) fn send_parcel(
        &mut self,
        key: u32,
        carrier: &mut Carrier,
        parcel: &Parcel<'_>,
        now: Tick,
    ) -> Sent {
        let slices = parcel.slices(carrier.wire());
        if carrier.is_special() {
            self.note_sent(key, slices.checksum.as_ref());
            if carrier.is_tls() {
                let parts = slices.pieces.iter().map(Piece::bytes);
                return self.send_sealed(carrier, parts, now);
            }
        }
        carrier.note_write(now);
        let sent = if carrier.is_backlogged() {
            0
        } else {
            let sent = send_slices(carrier.fd(), &slices.io, FLAGS);
            sent.map_err(|errno| self.broken(errno))?
        };
        if sent == slices.bytes {
            return Ok(Then::Nothing);
        }
        let mut skip = sent;
        let rest = slices.pieces.iter().filter_map(|piece| {
            let skipped = skip.min(piece.len());
            skip -= skipped;
            (skipped < piece.len()).then(|| UnsentBytes::of_piece(piece, skipped))
        });
        self.keep(carrier, now, rest)
    }

    /// Sends a piece that many clients receive.
    #[inline] // once for each heartbeat
    pub(super) fn send_shared<'a>(
        &mut self,
        key: u32,
        carrier: &mut Carrier,
        piece: impl FnOnce(Wire) -> Piece<'a>,
        now: Tick,
    ) -> Sent {
        let piece = piece(carrier.wire());
        if carrier.is_special() {
            self.note_sent(key, piece.checksum());
            if carrier.is_tls() {
                return self.send_sealed(carrier, [piece.bytes()], now);
            }
        }
        self.send(carrier, piece.bytes(), FLAGS, now, |sent| {
            UnsentBytes::of_piece(&piece, sent)
        })
    }

    /// Sends signals that only this client receives, in one send.
    pub(super) fn send_signals<'a>(
        &mut self,
        key: u32,
        carrier: &mut Carrier,
        signals: impl IntoIterator<Item = Signal<'a>>,
        now: Tick,
    ) -> Sent {
        let mut bytes = std::mem::take(&mut self.said);
        for signal in signals {
            self.append(key, carrier, &signal, &mut bytes);
        }
        let sent = self.send_copied(carrier, &bytes, now);
        bytes.clear();
        self.said = bytes;
        sent
    }

    /// Sends entries that this client has missed, in one send.
    pub(super) fn send_missed(
        &mut self,
        key: u32,
        carrier: &mut Carrier,
        missed: &[Arc<Entry>],
        now: Tick,
    ) -> Sent {
        let mut bytes = std::mem::take(&mut self.said);
        for entry in missed {
            let is_compressed = carrier.wire().has_checksum();
            let frame = is_compressed.then(|| self.recent.of(entry, self.compression));
            if let Some(frame) = frame.flatten() {
                let mut sent = self.checksums.of(key);
                sent.add(frame.checksum());
                self.checksums.set(key, sent);
                bytes.extend_from_slice(frame.bytes());
            } else {
                self.append(key, carrier, &entry.signal(), &mut bytes);
            }
        }
        let sent = self.send_copied(carrier, &bytes, now);
        bytes.clear();
        self.said = bytes;
        sent
    }

    /// Sends bytes that only this client receives. Copies the part that the socket does not take.
    pub(super) fn send_copied(&mut self, carrier: &mut Carrier, bytes: &[u8], now: Tick) -> Sent {
        if carrier.is_tls() {
            return self.send_sealed(carrier, [bytes], now);
        }
        self.send(carrier, bytes, FLAGS, now, |sent| {
            UnsentBytes::copy(&bytes[sent..])
        })
    }

    /// Sends the end of a stream in one send: the entry that caused it, if there is one, the end itself, and
    /// `close_notify` if a TLS connection is closed.
    ///
    /// If the connection is closed, the kernel holds these bytes back until the FIN. A client with a
    /// connection pool then sees the end and the close together, and sends no request in between.
    pub(super) fn send_end(
        &mut self,
        key: u32,
        carrier: &mut Carrier,
        end: End,
        entry: Option<&Entry>,
        now: Tick,
    ) -> Sent {
        let mut bytes = std::mem::take(&mut self.said);
        if let Some(entry) = entry {
            self.append(key, carrier, &entry.signal(), &mut bytes);
        }
        self.append(key, carrier, &Signal::End(end), &mut bytes);
        let sent = self.send_last(carrier, &mut bytes, now);
        bytes.clear();
        self.said = bytes;
        sent
    }

    /// Sends the last bytes of a connection, or of its stream, and leaves them sealed.
    pub(super) fn send_last(
        &mut self,
        carrier: &mut Carrier,
        bytes: &mut Vec<u8>,
        now: Tick,
    ) -> Sent {
        let closes = !carrier.keeps_alive();
        if let Some(mut secrets) = carrier.secrets_mut() {
            secrets.seal([bytes.as_slice()], &mut self.records);
            if closes {
                secrets.seal_alert(Alert::CloseNotify, &mut self.records);
            }
            std::mem::swap(bytes, &mut self.records);
            self.records.clear();
        }
        // A client with a closing handshake gets the FIN later, when it has answered.
        let flags = if closes && !carrier.wire().has_closing_handshake() {
            FLAGS | SendFlags::MORE
        } else {
            FLAGS
        };
        self.send(carrier, bytes, flags, now, |sent| {
            UnsentBytes::copy(&bytes[sent..])
        })
    }

    /// Sends an alert with the reason for closing the connection, as far as the socket takes it. With a
    /// backlog, sends nothing, because the alert would end up in the middle of another record.
    #[cold]
    pub(super) fn say_goodbye(&mut self, carrier: &mut Carrier, alert: Alert) {
        if carrier.is_backlogged() {
            return;
        }
        let Some(mut secrets) = carrier.secrets_mut() else {
            return;
        };
        secrets.seal_alert(alert, &mut self.records);
        // An error is ignored, since the client may be gone.
        let _ = send(carrier.fd(), &self.records, FLAGS);
        self.records.clear();
    }

    /// Sends the backlog, now that the socket takes more. `closes` is true if the connection is closed then.
    pub(super) fn flush(
        &mut self,
        carrier: &mut Carrier,
        closes: bool,
        now: Tick,
    ) -> Result<Flushed, DisconnectReason> {
        let is_finishing = carrier.is_finishing();
        while let (fd, Some(backlog)) = carrier.fd_and_backlog() {
            let (slices, used) = backlog.slices();
            // The last bytes wait for the FIN, as in `send_end`.
            let flags = if closes && backlog.fits_one_send() {
                FLAGS | SendFlags::MORE
            } else {
                FLAGS
            };
            let sent = send_slices(fd, &slices[..used], flags);
            let sent = sent.map_err(|errno| self.broken(errno))?;
            if sent == 0 {
                return Ok(Flushed::Some);
            }
            let pinned = backlog.pinned();
            backlog.advance(sent);
            let freed = pinned - backlog.pinned();
            self.metrics().backlog_bytes.sub(freed as u64);
            let is_empty = backlog.is_empty();
            if !is_finishing {
                backlog.start_timeout(now);
            }
            carrier.note_write(now);
            if is_empty {
                carrier.drop_backlog();
                self.metrics().backlogged.sub(1);
            }
        }
        Ok(Flushed::Nothing)
    }

    /// Appends a signal that a client is sent next.
    #[inline]
    pub(super) fn append(
        &mut self,
        key: u32,
        carrier: &Carrier,
        signal: &Signal<'_>,
        bytes: &mut Vec<u8>,
    ) {
        let wire = carrier.wire();
        if wire.has_checksum() {
            let mut sent = self.checksums.of(key);
            wire.append(signal, self.compression.min_bytes(), &mut sent, bytes);
            self.checksums.set(key, sent);
        } else {
            wire.encode(signal, bytes);
        }
    }

    /// Notes what a client with a compressed stream is sent next.
    #[inline(never)] // keeps the path of plain clients, which is inlined, short
    fn note_sent(&mut self, key: u32, frames: Option<&FrameChecksum>) {
        if let Some(frames) = frames {
            let mut sent = self.checksums.of(key);
            sent.add(frames);
            self.checksums.set(key, sent);
        }
    }

    /// Seals `parts` in as few records as possible, and sends them.
    fn send_sealed<'a>(
        &mut self,
        carrier: &mut Carrier,
        parts: impl IntoIterator<Item = &'a [u8]>,
        now: Tick,
    ) -> Sent {
        let mut records = std::mem::take(&mut self.records);
        if let Some(mut secrets) = carrier.secrets_mut() {
            secrets.seal(parts, &mut records);
        }
        let sent = self.send(carrier, &records, FLAGS, now, |sent| {
            UnsentBytes::copy(&records[sent..])
        });
        records.clear();
        self.records = records;
        match sent {
            // The timer ends the stream. This function cannot, since the caller may be about to end it.
            Ok(Then::Nothing) if carrier.is_worn() => Ok(Then::Arm),
            sent => sent,
        }
    }

    /// Sends bytes that are sealed already, or need not be.
    #[inline] // the flags are constants
    fn send(
        &mut self,
        carrier: &mut Carrier,
        bytes: &[u8],
        flags: SendFlags,
        now: Tick,
        rest: impl FnOnce(usize) -> UnsentBytes,
    ) -> Sent {
        carrier.note_write(now);
        let sent = if carrier.is_backlogged() {
            0
        } else {
            let sent = sent(send(carrier.fd(), bytes, flags));
            sent.map_err(|errno| self.broken(errno))?
        };
        if sent == bytes.len() {
            return Ok(Then::Nothing);
        }
        self.keep(carrier, now, std::iter::once(rest(sent)))
    }

    /// Appends the bytes that the socket did not take to the backlog. Fails if the backlog becomes too large.
    fn keep(
        &mut self,
        carrier: &mut Carrier,
        now: Tick,
        rest: impl Iterator<Item = UnsentBytes>,
    ) -> Sent {
        let is_new = !carrier.is_backlogged();
        let backlog = carrier.backlog_or_new(now);
        let (before, pinned_before) = (backlog.bytes(), backlog.pinned());
        rest.for_each(|chunk| backlog.push(chunk));
        let after = backlog.bytes();
        let pinned = backlog.pinned() - pinned_before;
        self.metrics().backlog_bytes.add(pinned as u64);
        if is_new {
            self.metrics().backlogged.add(1);
        }
        // The rest of a first send is kept whatever its size. It is shared, and otherwise a client that was
        // up to date would reconnect for the same large event forever.
        if before > 0 && after > self.max_backlog_bytes {
            return Err(DisconnectReason::Slow);
        }
        // The stall may be due before the heartbeat that the timer is armed for.
        Ok(if is_new { Then::Arm } else { Then::Nothing })
    }

    #[cold]
    fn broken(&self, errno: Errno) -> DisconnectReason {
        self.metrics().send_errors.increment();
        reason_of(errno)
    }

    fn metrics(&self) -> &ShardMetrics {
        &self.metrics.shards[self.shard]
    }
}

/// The disconnect reason for a socket error.
pub(super) fn reason_of(errno: Errno) -> DisconnectReason {
    match errno {
        Errno::PIPE | Errno::CONNRESET => DisconnectReason::ClientClosed,
        // `TCP_USER_TIMEOUT`: the peer acknowledged nothing.
        Errno::TIMEDOUT => DisconnectReason::Stalled,
        _ => DisconnectReason::Error,
    }
}

#[inline] // the flags are constants
fn send_slices(fd: &OwnedFd, slices: &[IoSlice<'_>], flags: SendFlags) -> Result<usize, Errno> {
    sent(match slices {
        [one] => send(fd, one, flags),
        many => sendmsg(fd, many, &mut SendAncillaryBuffer::default(), flags),
    })
}

/// A socket that takes nothing now is not an error, since the backlog takes the bytes.
fn sent(result: Result<usize, Errno>) -> Result<usize, Errno> {
    match result {
        Err(Errno::AGAIN | Errno::INTR | Errno::NOBUFS) => Ok(0),
        other => other,
    }
}

#[cfg(test)]
mod tests;
