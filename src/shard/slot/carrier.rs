//! The part of a slot that belongs to the socket, not to the stream: the descriptor, the framing and sealing of
//! its bytes, bytes that wait in either direction, and what happens when the stream has ended.
//!
//! ```text
//! open ──finish──▶ finishing ──last byte out──▶ back to HTTP (keeps_alive), or closed
//! ```
//!
//! Code that writes, seals or reads takes a carrier, and knows nothing about its stream.

use std::net::IpAddr;
use std::os::fd::OwnedFd;

use super::extra::{Aside, Extra};
use super::inbound::Inbound;
use super::portable::{PortableBacklog, PortableCarrier};
use crate::shard::backlog::Backlog;
use crate::shard::wheel::Tick;
use crate::tls::{Secrets, SecretsMut};
use crate::wire::Wire;

/// A socket that carries a stream.
///
/// The descriptor is owned, so that dropping it closes the socket. The slab needs no tag of its own: it uses a
/// value that [`Wire`] does not have.
#[derive(Debug)]
pub(crate) struct Carrier {
    fd: OwnedFd,
    generation: u32,
    /// The time of the last write.
    last_write: Tick,
    /// For the reader: the number of bytes of an SSE client that were discarded, or the time of the first ping that a
    /// WebSocket client has not answered ([`AWAITS_PONG`]).
    note: u16,
    wire: Wire,
    flags: u8,
    /// The box also has the stream's part, because a second pointer would not fit into the slot.
    pub(super) aside: Aside,
}

const _: () = assert!(size_of::<Carrier>() == 24);

/// The last bytes are written, or in the backlog. Once they are sent, the socket goes back to HTTP or is
/// closed.
const FINISHING: u8 = 1 << 0;
/// There is a backlog. With the flag, a send does not have to look into the box.
const BACKLOGGED: u8 = 1 << 1;
/// There are TLS secrets.
const TLS: u8 = 1 << 2;
/// The client may use the connection again when the stream has ended.
const KEEPS_ALIVE: u8 = 1 << 3;
/// The connection began with a PROXY header.
const PROXY_HEADER: u8 = 1 << 4;
/// A WebSocket client has not answered a ping.
const AWAITS_PONG: u8 = 1 << 5;
/// A WebSocket client has closed, broke the protocol, or has new keys. What it sends is discarded until it closes its
/// side.
const DEAF: u8 = 1 << 6;
/// What is sent has to be noted for the checksum at the end.
const CHECKSUM: u8 = 1 << 7;

/// When a ping was sent, in units of [`PongLimit`](crate::shard::pong::PongLimit), which wrap.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct PingTime(pub(crate) u16);

impl Carrier {
    #[inline] // as Slot::new
    pub(super) fn new(
        fd: OwnedFd,
        generation: u32,
        wire: Wire,
        now: Tick,
        extra: Option<Box<Extra>>,
    ) -> Self {
        Self {
            fd,
            generation,
            last_write: now,
            note: 0,
            wire,
            flags: if wire.has_checksum() { CHECKSUM } else { 0 },
            aside: Aside::new(extra),
        }
    }

    pub(crate) fn fd(&self) -> &OwnedFd {
        &self.fd
    }

    pub(crate) fn generation(&self) -> u32 {
        self.generation
    }

    pub(crate) fn wire(&self) -> Wire {
        self.wire
    }

    pub(crate) fn last_write(&self) -> Tick {
        self.last_write
    }

    pub(crate) fn note_write(&mut self, now: Tick) {
        self.last_write = now;
    }

    /// The number of bytes of an SSE client that were discarded.
    pub(crate) fn discarded_bytes(&self) -> u16 {
        if self.wire == Wire::WebSocket {
            0
        } else {
            self.note
        }
    }

    pub(crate) fn note_discarded(&mut self, bytes: u16) {
        if self.wire != Wire::WebSocket {
            self.note = self.note.saturating_add(bytes);
        }
    }

    /// The time of the first ping that a WebSocket client has not answered.
    pub(crate) fn unanswered_ping(&self) -> Option<PingTime> {
        (self.flags & AWAITS_PONG != 0).then_some(PingTime(self.note))
    }

    /// A WebSocket client has received a ping. Only the first one counts until it answers.
    pub(crate) fn note_ping(&mut self, at: PingTime) {
        if self.flags & AWAITS_PONG == 0 {
            self.flags |= AWAITS_PONG;
            self.note = at.0;
        }
    }

    /// A WebSocket client has answered.
    pub(crate) fn note_pong(&mut self) {
        self.flags &= !AWAITS_PONG;
    }

    /// Takes the state of a WebSocket client's reader out, to be [put back](Carrier::put_inbound).
    pub(crate) fn take_inbound(&mut self) -> Inbound {
        self.aside.take_inbound()
    }

    /// Puts the state of a WebSocket client's reader back, if there is anything to remember.
    pub(crate) fn put_inbound(&mut self, inbound: Inbound, now: Tick) {
        let is_needed = inbound.is_needed(now);
        self.aside.put_inbound(is_needed.then_some(inbound));
    }

    /// The bytes that are kept of an incomplete frame, if the reader has any state.
    #[cfg(test)]
    pub(crate) fn torn_bytes(&self) -> Option<usize> {
        self.aside.inbound().map(Inbound::torn_bytes)
    }

    /// Drops the state of a WebSocket client's reader if nothing has to be remembered any more.
    pub(crate) fn review_inbound(&mut self, now: Tick) {
        if self.wire == Wire::WebSocket {
            let inbound = self.take_inbound();
            self.put_inbound(inbound, now);
        }
    }

    /// Returns true if the client's input has no meaning any more: its WebSocket is closed.
    pub(crate) fn is_deaf(&self) -> bool {
        self.flags & DEAF != 0
    }

    pub(crate) fn set_deaf(&mut self) {
        self.flags |= DEAF;
    }

    /// Returns true if nothing will be written after what is written or waits now.
    pub(crate) fn is_finishing(&self) -> bool {
        self.flags & FINISHING != 0
    }

    pub(super) fn finish(&mut self) {
        self.flags |= FINISHING;
    }

    /// Returns true if the connection goes back to HTTP when the stream has ended.
    pub(crate) fn keeps_alive(&self) -> bool {
        self.flags & KEEPS_ALIVE != 0
    }

    pub(crate) fn set_keeps_alive(&mut self) {
        self.flags |= KEEPS_ALIVE;
    }

    /// The connection ends with the stream.
    pub(crate) fn set_closes(&mut self) {
        self.flags &= !KEEPS_ALIVE;
    }

    pub(super) fn has_proxy_header(&self) -> bool {
        self.flags & PROXY_HEADER != 0
    }

    /// The connection began with a PROXY header. `named` is the client in it, if the request named another one.
    pub(super) fn set_proxy_header(&mut self, named: Option<IpAddr>) {
        self.flags |= PROXY_HEADER;
        if let Some(named) = named {
            self.aside.set_named(named);
        }
    }

    /// Returns true if its bytes are sealed.
    pub(crate) fn is_tls(&self) -> bool {
        self.flags & TLS != 0
    }

    /// Returns true if there is more to do than to send its bytes: they are sealed, or noted for a checksum.
    #[inline]
    pub(crate) fn is_special(&self) -> bool {
        self.flags & (TLS | CHECKSUM) != 0
    }

    /// From now on its bytes are sealed.
    pub(crate) fn set_secrets(&mut self, secrets: Secrets) {
        self.flags |= TLS;
        self.aside.set_secrets(secrets);
    }

    /// The secrets that its bytes are sealed with.
    pub(crate) fn secrets_mut(&mut self) -> Option<SecretsMut<'_>> {
        self.aside.secrets_mut()
    }

    /// Returns true if it has to be closed, because its keys have sealed enough records.
    pub(crate) fn is_worn(&self) -> bool {
        self.is_tls() && self.aside.secrets().is_some_and(|it| it.are_worn())
    }

    /// Returns true if bytes wait for the socket.
    pub(crate) fn is_backlogged(&self) -> bool {
        self.flags & BACKLOGGED != 0
    }

    /// The bytes that wait for the socket.
    pub(crate) fn backlog(&self) -> Option<&Backlog> {
        if !self.is_backlogged() {
            return None;
        }
        self.aside.backlog()
    }

    /// The same, to be changed.
    pub(crate) fn backlog_mut(&mut self) -> Option<&mut Backlog> {
        self.aside.backlog_mut()
    }

    /// The socket, and the bytes that wait for it.
    pub(crate) fn fd_and_backlog(&mut self) -> (&OwnedFd, Option<&mut Backlog>) {
        (&self.fd, self.aside.backlog_mut())
    }

    /// The backlog, created now if there is none.
    pub(crate) fn backlog_or_new(&mut self, now: Tick) -> &mut Backlog {
        self.flags |= BACKLOGGED;
        self.aside.backlog_or_new(now)
    }

    /// Drops the backlog and frees its memory.
    pub(crate) fn drop_backlog(&mut self) {
        self.flags &= !BACKLOGGED;
        self.aside.drop_backlog();
    }

    /// Describes it for another process, except for its socket.
    pub(super) fn describe(&self, now: Tick) -> PortableCarrier {
        PortableCarrier {
            wire: self.wire,
            keeps_alive: self.keeps_alive(),
            silent_ticks: now.since(self.last_write),
            discarded: self.discarded_bytes(),
            secrets: self.aside.secrets().map(|it| it.to_portable()),
            backlog: self
                .backlog()
                .map(|backlog| PortableBacklog::of(backlog, now)),
            inbound: self.aside.inbound().map(|inbound| inbound.describe(now)),
        }
    }

    /// Takes over what another process has described. `None` if its secrets are unusable. The counterpart of
    /// [`Carrier::describe`]; the opening has the rest.
    pub(super) fn restore(&mut self, portable: &PortableCarrier, now: Tick) -> Option<()> {
        if let Some(secrets) = &portable.secrets {
            self.set_secrets(Secrets::from_portable(secrets)?);
        }
        if portable.keeps_alive {
            self.set_keeps_alive();
        }
        self.last_write = now.minus(portable.silent_ticks);
        self.note_discarded(portable.discarded);
        if let Some(backlog) = &portable.backlog {
            backlog.restore(self.backlog_or_new(now), now);
        }
        if let Some(inbound) = &portable.inbound {
            self.aside
                .put_inbound(Some(Inbound::restored(inbound, now)));
        }
        Some(())
    }

    /// The socket alone.
    #[cfg(any(test, feature = "bench"))]
    pub(crate) fn into_fd(self) -> OwnedFd {
        self.fd
    }

    /// The socket and its secrets.
    pub(crate) fn into_parts(self) -> (OwnedFd, Option<Secrets>) {
        (self.fd, self.aside.into_secrets())
    }
}
