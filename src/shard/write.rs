//! The one place where bytes leave for a client, and where what a client sends is thrown away.
//!
//! The fast path is one `send` from shared bytes: no copy, no allocation, no reference count.
//! Only a short write clones the bytes it left into the client's [`Backlog`].

#![allow(clippy::indexing_slicing)] // the kernel takes at most what it was given

use std::cell::OnceCell;
use std::io::IoSlice;
use std::os::fd::BorrowedFd;

use rustix::io::Errno;
use rustix::net::{RecvFlags, SendAncillaryBuffer, SendFlags, recv, send, sendmsg};

use super::Shard;
use super::backlog::{Backlog, Chunk};
use super::slot::Slot;
use super::wheel::Tick;
use crate::hub::Outgoing;
use crate::hub::log::Entry;
use crate::metrics::DisconnectReason;
use crate::tls::Alert;
use crate::wire::{End, Piece, Signal, Wire};

/// Most entries in one send: few enough for the kernel's `UIO_MAXIOV`, and beyond a few dozen the
/// cost of the call no longer shows.
pub(super) const MAX_PARCEL_ENTRIES: usize = 64;
/// Most bytes in one send, a single larger entry aside: what a socket with the default
/// `send_buffer` takes at once, so that a batch alone does not make a backlog.
pub(super) const MAX_PARCEL_BYTES: usize = 32 * 1024;
/// What a client may send after its request before it is closed: an EventSource sends nothing.
pub(super) const MAX_DISCARDED_BYTES: u16 = 8 * 1024;

/// Of every send: a client that is gone is an error and no signal, and a full socket is not waited
/// for.
const FLAGS: SendFlags = SendFlags::NOSIGNAL.union(SendFlags::DONTWAIT);

/// Entries that leave for a client in one send, for each wire as its first client needs it.
pub(super) struct Parcel<'a> {
    outgoing: &'a [&'a Outgoing],
    wires: [OnceCell<Slices<'a>>; Wire::COUNT],
}

struct Slices<'a> {
    pieces: Vec<Piece<'a>>,
    io: Vec<IoSlice<'a>>,
    bytes: usize,
}

impl<'a> Parcel<'a> {
    pub(super) fn new(outgoing: &'a [&'a Outgoing]) -> Self {
        Self {
            outgoing,
            wires: [const { OnceCell::new() }; Wire::COUNT],
        }
    }

    #[inline] // once for each client of a broadcast
    fn slices(&self, wire: Wire) -> &Slices<'a> {
        self.wires[wire as usize].get_or_init(|| {
            let pieces: Vec<Piece<'a>> = self.outgoing.iter().map(|it| it.piece(wire)).collect();
            Slices {
                io: pieces.iter().map(|it| IoSlice::new(it.bytes())).collect(),
                bytes: pieces.iter().map(Piece::len).sum(),
                pieces,
            }
        })
    }
}

impl Shard {
    /// Sends a parcel; false where that ended the client.
    pub(super) fn send_parcel(&mut self, key: u32, parcel: &Parcel<'_>) -> bool {
        let now = self.now();
        let Some(slot) = self.table.get_mut(key) else {
            return false;
        };
        let slices = parcel.slices(slot.wire());
        if slot.is_tls() {
            return self.send_sealed(key, slices.pieces.iter().map(Piece::bytes));
        }
        slot.last_write = now;
        let sent = if slot.is_backlogged() {
            0
        } else {
            match send_slices(&slot.fd, &slices.io, FLAGS) {
                Ok(sent) => sent,
                Err(errno) => {
                    self.close_broken(key, errno);
                    return false;
                }
            }
        };
        if sent == slices.bytes {
            return true;
        }
        let mut skip = sent;
        self.keep(
            key,
            now,
            slices.pieces.iter().filter_map(|piece| {
                let skipped = skip.min(piece.len());
                skip -= skipped;
                (skipped < piece.len()).then(|| Chunk::of_piece(piece, skipped))
            }),
        )
    }

    /// Sends what many clients get; false where that ended the client.
    pub(super) fn send_shared<'a>(
        &mut self,
        key: u32,
        piece: impl FnOnce(Wire) -> Piece<'a>,
    ) -> bool {
        let Some(slot) = self.table.get(key) else {
            return false;
        };
        let piece = piece(slot.wire());
        self.send_with(key, piece.bytes(), |sent| Chunk::of_piece(&piece, sent))
    }

    /// Sends what this client alone gets, in one send; false where that ended the client.
    pub(super) fn send_signals<'a>(
        &mut self,
        key: u32,
        signals: impl IntoIterator<Item = Signal<'a>>,
    ) -> bool {
        let Some(slot) = self.table.get(key) else {
            return false;
        };
        let wire = slot.wire();
        let mut bytes = std::mem::take(&mut self.said);
        for signal in signals {
            wire.encode(&signal, &mut bytes);
        }
        let is_there = self.send_with(key, &bytes, |sent| Chunk::copy(&bytes[sent..]));
        bytes.clear();
        self.said = bytes;
        is_there
    }

    /// Sends all that a client still gets: the entry that ends it, where there is one, the end, and,
    /// where the connection closes, the end of TLS. False where that ended the client.
    ///
    /// It is one send. Where the connection closes, the kernel holds it back for the FIN: a client
    /// with a connection pool sees the end and the close at once, and sends no request in between.
    pub(super) fn send_end(&mut self, key: u32, end: End, entry: Option<&Entry>) -> bool {
        let Some(slot) = self.table.get_mut(key) else {
            return false;
        };
        let (wire, closes) = (slot.wire(), !slot.keeps_alive());
        let mut bytes = std::mem::take(&mut self.said);
        if let Some(entry) = entry {
            wire.encode(&entry.signal(), &mut bytes);
        }
        wire.encode(&Signal::End(end), &mut bytes);
        if let Some(secrets) = slot.secrets_mut() {
            self.records.clear();
            secrets.seal([bytes.as_slice()], &mut self.records);
            if closes {
                secrets.seal_alert(Alert::CloseNotify, &mut self.records);
            }
            std::mem::swap(&mut bytes, &mut self.records);
        }
        let flags = if closes {
            FLAGS | SendFlags::MORE
        } else {
            FLAGS
        };
        let is_there = self.send_flagged(key, &bytes, flags, |sent| Chunk::copy(&bytes[sent..]));
        bytes.clear();
        self.said = bytes;
        is_there
    }

    /// Sends a response's head; what a full socket leaves of it is copied.
    pub(super) fn write_head(&mut self, key: u32, head: &[u8]) -> bool {
        self.send_with(key, head, |sent| Chunk::copy(&head[sent..]))
    }

    fn send_with(&mut self, key: u32, bytes: &[u8], rest: impl FnOnce(usize) -> Chunk) -> bool {
        if self.table.get(key).is_some_and(Slot::is_tls) {
            return self.send_sealed(key, [bytes]);
        }
        self.send_as_it_is(key, bytes, rest)
    }

    /// Sends bytes that are sealed or need not be; false where that ended the client.
    pub(super) fn send_as_it_is(
        &mut self,
        key: u32,
        bytes: &[u8],
        rest: impl FnOnce(usize) -> Chunk,
    ) -> bool {
        self.send_flagged(key, bytes, FLAGS, rest)
    }

    #[inline] // the flags are constants
    fn send_flagged(
        &mut self,
        key: u32,
        bytes: &[u8],
        flags: SendFlags,
        rest: impl FnOnce(usize) -> Chunk,
    ) -> bool {
        let now = self.now();
        let Some(slot) = self.table.get_mut(key) else {
            return false;
        };
        slot.last_write = now;
        let sent = if slot.is_backlogged() {
            0
        } else {
            match sent(send(&slot.fd, bytes, flags)) {
                Ok(sent) => sent,
                Err(errno) => {
                    self.close_broken(key, errno);
                    return false;
                }
            }
        };
        sent == bytes.len() || self.keep(key, now, std::iter::once(rest(sent)))
    }

    /// Puts what the socket did not take behind what it has not taken before; false where that
    /// is too much.
    fn keep(&mut self, key: u32, now: Tick, rest: impl Iterator<Item = Chunk>) -> bool {
        let metrics = &self.shared.metrics.shards[usize::from(self.number)];
        let Some(slot) = self.table.get_mut(key) else {
            return false;
        };
        let is_new = !slot.is_backlogged();
        let backlog = slot.backlog_or_new(now);
        let (before, pinned_before) = (backlog.bytes(), backlog.pinned());
        rest.for_each(|chunk| backlog.push(chunk));
        let after = backlog.bytes();
        let pinned = backlog.pinned() - pinned_before;
        metrics.backlog_bytes.add(pinned as u64);
        if is_new {
            metrics.backlogged.add(1);
        }
        // What the socket leaves of one send is always kept: it is shared, and a client that was
        // up to date would come back for the same event for ever.
        if before > 0 && after > self.shared.settings.max_backlog_bytes {
            self.close(key, DisconnectReason::Slow);
            return false;
        }
        if is_new {
            // The stall may be due before the heartbeat that the timer stands for.
            self.arm(key);
        }
        true
    }

    /// Sends what waits, now that the socket takes more.
    pub(super) fn flush(&mut self, key: u32) {
        let now = self.now();
        let is_draining = self.is_draining();
        let metrics = &self.shared.metrics.shards[usize::from(self.number)];
        loop {
            let Some(slot) = self.table.get_mut(key) else {
                return;
            };
            let is_ending = slot.is_ending();
            let closes = is_ending && (is_draining || !slot.keeps_alive());
            let (fd, Some(backlog)) = slot.fd_and_backlog() else {
                return;
            };
            let (slices, used) = backlog.slices();
            // The last bytes wait for the FIN, as in `send_end`.
            let flags = if closes && backlog.fits_one_send() {
                FLAGS | SendFlags::MORE
            } else {
                FLAGS
            };
            match send_slices(fd, &slices[..used], flags) {
                Ok(0) => return,
                Ok(sent) => {
                    let pinned = backlog.pinned();
                    backlog.advance(sent);
                    let freed = pinned - backlog.pinned();
                    if !is_ending {
                        backlog.start_timeout(now);
                    }
                    slot.last_write = now;
                    metrics.backlog_bytes.sub(freed as u64);
                }
                Err(errno) => {
                    self.close_broken(key, errno);
                    return;
                }
            }
            if slot.backlog().is_some_and(Backlog::is_empty) {
                slot.drop_backlog();
                metrics.backlogged.sub(1);
                if is_ending {
                    self.finish(key);
                } else {
                    // No heartbeat was due while bytes waited.
                    self.arm(key);
                    self.resume_catch_up(key);
                }
                return;
            }
        }
    }

    /// Throws away what a client sent; a client that sends too much, or its end, is closed.
    pub(super) fn discard_input(&mut self, key: u32) {
        let Some(slot) = self.table.get(key) else {
            return;
        };
        if slot.is_ending() && slot.keeps_alive() {
            // It may be the next request: HTTP reads it when the last byte is out.
        } else if slot.is_tls() && !slot.is_ending() {
            self.open_input(key);
        } else if let Some(reason) = self.drain_input(key) {
            self.close(key, reason);
        }
    }

    /// Reads a client's input empty; a reason to close it, where there is one.
    pub(super) fn drain_input(&mut self, key: u32) -> Option<DisconnectReason> {
        let mut scratch = [0; MAX_DISCARDED_BYTES as usize];
        let slot = self.table.get_mut(key)?;
        loop {
            match recv(&slot.fd, &mut scratch, RecvFlags::DONTWAIT) {
                Ok((_, 0)) => return Some(DisconnectReason::ClientClosed),
                Ok((_, read)) => {
                    let read = u16::try_from(read).unwrap_or(u16::MAX);
                    slot.discarded_bytes = slot.discarded_bytes.saturating_add(read);
                    if slot.discarded_bytes > MAX_DISCARDED_BYTES {
                        return Some(DisconnectReason::Error);
                    }
                }
                Err(Errno::AGAIN) => return None,
                Err(Errno::INTR) => {}
                Err(errno) => return Some(reason_of(errno)),
            }
        }
    }

    /// Closes a socket that epoll says has failed.
    pub(super) fn close_failed(&mut self, key: u32) {
        let Some(slot) = self.table.get(key) else {
            return;
        };
        let error = rustix::net::sockopt::socket_error(&slot.fd);
        let errno = error.ok().and_then(Result::err).unwrap_or(Errno::CONNRESET);
        self.close(key, reason_of(errno));
    }

    fn close_broken(&mut self, key: u32, errno: Errno) {
        self.metrics().send_errors.increment();
        self.close(key, reason_of(errno));
    }
}

/// Who is to blame for a socket error.
pub(super) fn reason_of(errno: Errno) -> DisconnectReason {
    match errno {
        Errno::PIPE | Errno::CONNRESET => DisconnectReason::ClientClosed,
        // `TCP_USER_TIMEOUT`: the peer acknowledged nothing.
        Errno::TIMEDOUT => DisconnectReason::Stalled,
        _ => DisconnectReason::Error,
    }
}

#[inline] // the flags are constants
fn send_slices(
    fd: &std::os::fd::OwnedFd,
    slices: &[IoSlice<'_>],
    flags: SendFlags,
) -> Result<usize, Errno> {
    sent(match slices {
        [one] => send(fd, one, flags),
        many => sendmsg(fd, many, &mut SendAncillaryBuffer::default(), flags),
    })
}

/// Nothing taken is not an error: the backlog takes it.
fn sent(result: Result<usize, Errno>) -> Result<usize, Errno> {
    match result {
        Err(Errno::AGAIN | Errno::INTR | Errno::NOBUFS) => Ok(0),
        other => other,
    }
}

/// The peer's address of a socket, where it has one.
pub(super) fn peer(fd: BorrowedFd<'_>) -> Option<std::net::IpAddr> {
    let address = rustix::net::getpeername(fd).ok()??;
    std::net::SocketAddr::try_from(address)
        .ok()
        .map(|address| address.ip())
}
