//! A slot: one cache line with a stream and the socket that carries it. It is what a waiting client costs.
//!
//! The two halves do not know each other. Changes of both, and access to the box that they share, are here.
//! Everything in a slot is a value. It refers to other parts of the server only by number (the user in the
//! directory, the topics in the table), so a connection can be described to another process.

use std::net::{IpAddr, Ipv4Addr};
use std::os::fd::OwnedFd;
use std::sync::Arc;

use super::carrier::Carrier;
use super::extra::Extra;
use super::opening::Opening;
use super::stream::Stream;
use crate::event::Position;
use crate::hub::log::{Entry, Replay};
use crate::metrics::Transport;
use crate::shard::audience::Subscription;
use crate::shard::returned::{Origin, Returned};
use crate::shard::wheel::Tick;
use crate::wire::Wire;
use bytes::Bytes;

/// One client.
#[derive(Debug)]
pub(crate) struct Slot {
    pub(crate) carrier: Carrier,
    pub(crate) stream: Stream,
}

const _: () = assert!(
    size_of::<Slot>() == 64,
    "a waiting client is one cache line"
);
const _: () = assert!(
    size_of::<SlabEntry>() == 64,
    "the slab needs no tag of its own"
);

/// The shape of `slab`'s private entry.
#[allow(dead_code)] // measured above, never built
enum SlabEntry {
    Vacant(usize),
    Occupied(Slot),
}

impl Slot {
    #[inline] // called from one place; apart, its seven arguments cost a fifth of a join
    pub(crate) fn new(
        fd: OwnedFd,
        generation: u32,
        opening: Opening,
        subscriptions: Box<[Subscription]>,
        now: Tick,
        unix_s: u64,
    ) -> Self {
        let (forwarded_v4, forwarded_v6) = match opening.forwarded_for {
            None => (0, None),
            Some(IpAddr::V4(address)) => (address.to_bits(), None),
            Some(IpAddr::V6(address)) => (0, Some(address)),
        };
        let extra = Extra::new(subscriptions, opening.session, forwarded_v6);
        Self {
            carrier: Carrier::new(fd, generation, opening.wire, now, extra),
            stream: Stream::new(
                opening.user,
                opening.kind,
                opening.expires_at_s,
                forwarded_v4,
                now,
                unix_s,
            ),
        }
    }

    /// The transport that the metrics count it under.
    pub(crate) fn transport(&self) -> Transport {
        if self.stream.is_test() {
            return Transport::Test;
        }
        match self.carrier.wire() {
            Wire::SseChunked | Wire::SseRaw | Wire::SseGzip => Transport::Sse,
            Wire::WebSocket => Transport::WebSocket,
        }
    }

    /// The topics of the stream, by their numbers in the table.
    pub(crate) fn subscriptions(&self) -> &[Subscription] {
        self.carrier.aside.subscriptions()
    }

    /// The same, to be changed.
    pub(crate) fn subscriptions_mut(&mut self) -> &mut [Subscription] {
        self.carrier.aside.subscriptions_mut()
    }

    /// The stream's session.
    pub(crate) fn session(&self) -> Option<&str> {
        self.carrier.aside.session()
    }

    /// The client's address, if a proxy named it. Without a proxy, it is the socket's peer.
    pub(crate) fn forwarded_for(&self) -> Option<IpAddr> {
        if self.stream.forwarded_v4 != 0 {
            return Some(Ipv4Addr::from_bits(self.stream.forwarded_v4).into());
        }
        Some(self.carrier.aside.forwarded_v6()?.into())
    }

    /// Stores what came before the connection's first request. A PROXY header usually names the client of the
    /// stream; the address is then stored only once.
    pub(crate) fn set_origin(&mut self, origin: Origin) {
        if origin.proxy_header {
            let is_ours = origin.named == self.forwarded_for();
            self.carrier
                .set_proxy_header(origin.named.filter(|_| !is_ours));
        }
    }

    pub(super) fn origin(&self) -> Origin {
        let proxy_header = self.carrier.has_proxy_header();
        let named = || self.carrier.aside.named().or(self.forwarded_for());
        Origin {
            proxy_header,
            named: proxy_header.then(named).flatten(),
        }
    }

    /// Starts a replay. Until it is finished, the client receives no kept events live.
    pub(crate) fn start_catch_up(&mut self, replay: Replay) {
        self.stream.start_catch_up();
        self.carrier.aside.set_replay(replay);
    }

    /// The rest of the replay.
    pub(crate) fn replay_mut(&mut self) -> Option<&mut Replay> {
        self.carrier.aside.replay_mut()
    }

    /// Ends the replay: the client receives events live from `position` on. Frees the replay's memory.
    pub(crate) fn finish_catch_up(&mut self, position: Position) {
        self.stream.join(position);
        self.carrier.aside.drop_replay();
    }

    /// Ends the replay at the change that ended the client's session. Nothing after it is sent. Returns false
    /// if there is no replay.
    pub(crate) fn leave(&mut self, change: &Arc<Entry>) -> bool {
        let Some(replay) = self.replay_mut() else {
            return false;
        };
        replay.end_at(Arc::clone(change));
        self.stream.leave();
        true
    }

    /// The end of the stream is written. The socket carries nothing after it.
    pub(crate) fn end(&mut self) {
        self.stream.end();
        self.carrier.finish();
    }

    /// Turns the slot into what goes back to HTTP.
    pub(crate) fn into_returned(self) -> Returned {
        let origin = self.origin();
        let (fd, secrets) = self.carrier.into_parts();
        Returned {
            fd,
            secrets,
            origin,
            is_taken_in: false,
            received: Bytes::new(),
        }
    }

    /// Returns true if anything is still under way to the client.
    #[cfg(test)]
    pub(crate) fn is_behind(&self) -> bool {
        self.carrier.aside.is_behind()
    }

    /// Returns true if it takes no memory beside the slot.
    #[cfg(test)]
    pub(crate) fn is_bare(&self) -> bool {
        self.carrier.aside.is_none()
    }

    /// Checks what both halves have to agree on.
    #[cfg(test)]
    pub(crate) fn check(&self) {
        assert_eq!(self.stream.is_ended(), self.carrier.is_finishing());
        let backlog = self.carrier.backlog();
        assert_eq!(self.carrier.is_backlogged(), backlog.is_some());
        assert_eq!(
            self.carrier.is_tls(),
            self.carrier.aside.secrets().is_some()
        );
    }
}

#[cfg(test)]
mod tests {
    use super::super::opening::Kind;
    use super::*;
    use crate::hub::directory::UserHandle;
    use crate::shard::backlog::UnsentBytes;

    fn slot(forwarded_for: Option<IpAddr>) -> Slot {
        let opening = Opening {
            wire: Wire::SseChunked,
            user: UserHandle::NONE,
            kind: Kind::Test,
            expires_at_s: None,
            topics: Box::default(),
            session: None,
            forwarded_for,
        };
        let fd = std::fs::File::open("/dev/null").unwrap().into();
        Slot::new(fd, 1, opening, Box::default(), Tick(0), 0)
    }

    #[test]
    fn the_ipv4_address_of_a_client_behind_a_proxy_fits_into_the_slot() {
        let address = IpAddr::from([192, 0, 2, 7]);
        let slot = slot(Some(address));
        assert_eq!(slot.forwarded_for(), Some(address));
        assert!(slot.carrier.aside.is_none());
    }

    #[test]
    fn an_ipv6_address_is_in_the_box() {
        let address: IpAddr = "2001:db8::7".parse().unwrap();
        let mut slot = slot(Some(address));
        slot.carrier.backlog_or_new(Tick(0));
        slot.carrier.drop_backlog();
        assert_eq!(slot.forwarded_for(), Some(address));
    }

    #[test]
    fn the_client_that_a_proxy_header_named_is_kept_until_the_end() {
        let clients = [None, Some("192.0.2.7"), Some("2001:db8::7")];
        let clients = clients.map(|client| client.map(|address| address.parse().unwrap()));
        for named in clients {
            // A request may name another client, if its connection comes from a trusted proxy.
            for forwarded in clients
                .into_iter()
                .filter(|it| named.is_some() || it.is_none())
            {
                let origin = Origin {
                    proxy_header: true,
                    named,
                };
                let mut slot = slot(forwarded.or(named));
                slot.set_origin(origin);
                slot.carrier.backlog_or_new(Tick(0));
                slot.carrier.drop_backlog();
                assert_eq!(slot.forwarded_for(), forwarded.or(named));
                assert_eq!(slot.into_returned().origin, origin);
            }
        }
        let slot = slot(Some("192.0.2.7".parse().unwrap()));
        assert_eq!(slot.into_returned().origin, Origin::default());
    }

    #[test]
    fn the_memory_of_a_backlog_is_freed() {
        let mut slot = slot(None);
        let carrier = &mut slot.carrier;
        assert!(!carrier.is_backlogged() && carrier.backlog().is_none());
        carrier
            .backlog_or_new(Tick(0))
            .push(UnsentBytes::copy(b"rest"));
        assert_eq!(carrier.backlog_or_new(Tick(9)).bytes(), 4);
        assert!(carrier.is_backlogged());
        carrier.drop_backlog();
        assert!(!carrier.is_backlogged() && carrier.aside.is_none());
    }
}
