//! What a waiting client costs: one cache line.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::OwnedFd;

use super::audience::Subscription;
use super::backlog::Backlog;
use super::returned::{Origin, Returned};
use super::wheel::{Links, Tick};
use crate::event::Position;
use crate::hub::directory::UserHandle;
use crate::hub::log::{Entry, Replay};
use crate::metrics::Transport;
use crate::tls::Secrets;
use crate::topic::Topic;
use crate::wire::Wire;

/// One client.
///
/// The descriptor is owned, so that dropping the slot closes the socket, and an unused `-1`
/// leaves the slab its tag.
#[derive(Debug)]
pub(crate) struct Slot {
    pub(crate) fd: OwnedFd,
    pub(crate) generation: u32,
    pub(crate) user: UserHandle,
    pub(crate) links: Links,
    /// When something was last written to it.
    pub(crate) last_write: Tick,
    /// When its token ends, in Unix seconds; 0 for never. Good until 2106.
    pub(crate) expires_at_s: u32,
    /// When it came, in Unix seconds.
    pub(crate) since_s: u32,
    /// The position that events come live after ([`REPLAYING`]: none does), or, of a test stream,
    /// which gets no events, its timetable ([`Slot::test_stream`]).
    joined_or_test: u64,
    pub(crate) extra: Option<Box<Extra>>,
    /// The client behind a proxy, which is the usual case; 0 without one, or with IPv6.
    forwarded_v4: u32,
    flags: u16,
    /// Bytes it sent, which nobody asked for.
    pub(crate) discarded_bytes: u16,
}

const _: () = assert!(
    size_of::<Slot>() == 64,
    "a waiting client is one cache line"
);
const _: () = assert!(
    size_of::<SlabEntry>() == 64,
    "the slab's own tag fits into the slot's descriptor"
);

/// The shape of `slab`'s private entry.
#[allow(dead_code)] // measured above, never built
enum SlabEntry {
    Vacant(usize),
    Occupied(Slot),
}

/// What few connections have.
#[derive(Debug, Default)]
pub(crate) struct Extra {
    /// The topics it gets; the table's own.
    pub(crate) subscriptions: Box<[Subscription]>,
    pub(crate) session: Option<Box<str>>,
    /// The addresses that do not fit into the slot.
    addresses: Option<Box<Addresses>>,
    /// What its bytes are sealed with. [`TLS`] says whether there are any.
    secrets: Option<Secrets>,
    behind: Option<Box<Behind>>,
}

const _: () = assert!(
    size_of::<Extra>() == 64,
    "what few connections have is one cache line more"
);

/// Addresses of a client behind a proxy, where one of four bytes is not all there is to know.
#[derive(Debug, Default)]
struct Addresses {
    /// The client, where it has an IPv6 address.
    forwarded_v6: Option<Ipv6Addr>,
    /// Whom the connection's PROXY header named, where the request's header named somebody else.
    named: Option<IpAddr>,
}

/// Why a client is not up to date.
#[derive(Debug, Default)]
struct Behind {
    /// What its socket has not taken yet. [`BACKLOGGED`] says whether there is one, so that a send
    /// need not look here.
    backlog: Option<Backlog>,
    /// What it still has to get of what it missed.
    replay: Option<Replay>,
}

impl Extra {
    fn is_needed(&self) -> bool {
        !self.subscriptions.is_empty()
            || self.session.is_some()
            || self.addresses.is_some()
            || self.secrets.is_some()
            || self.behind.is_some()
    }
}

impl Behind {
    fn is_needed(&self) -> bool {
        self.backlog.is_some() || self.replay.is_some()
    }
}

/// What a stream begins with.
#[derive(Debug)]
pub(crate) struct Opening {
    pub(crate) user: UserHandle,
    pub(crate) wire: Wire,
    pub(crate) kind: Kind,
    /// Unix seconds; `None` for never.
    pub(crate) expires_at_s: Option<u64>,
    pub(crate) topics: Box<[Topic]>,
    pub(crate) session: Option<Box<str>>,
    pub(crate) forwarded_for: Option<IpAddr>,
}

/// Which stream it is.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Kind {
    /// Events after this position of the log.
    Notifications { joined: Position },
    /// Numbered test messages.
    Test,
}

/// A test stream's timetable: packed, because only the slot knows it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct TestStream {
    pub(crate) started: Tick,
    /// The next message's number.
    pub(crate) next: u32,
}

const RAW: u16 = 1 << 0;
const TEST: u16 = 1 << 1;
/// The last bytes are in the backlog; when they are out, the socket goes back to HTTP or closes.
const ENDING: u16 = 1 << 2;
/// The timer was armed for the last quarter of the heartbeat interval.
const REARMED: u16 = 1 << 3;
/// Its session is over; it gets nothing but what came before that, and its end.
const LEAVING: u16 = 1 << 4;
/// [`Extra::backlog`] is there.
const BACKLOGGED: u16 = 1 << 5;
/// [`Extra::secrets`] are there.
const TLS: u16 = 1 << 6;
/// The client may use its connection again when the stream has ended.
const KEEPS_ALIVE: u16 = 1 << 7;
/// The connection began with a PROXY header.
const PROXY_HEADER: u16 = 1 << 8;
/// The client speaks WebSocket.
const WEBSOCKET: u16 = 1 << 9;

/// In [`Slot::joined_or_test`]: no event comes live yet.
const REPLAYING: u64 = u64::MAX;

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
        let (joined_or_test, kind) = match opening.kind {
            Kind::Notifications { joined } => (joined.0, 0),
            Kind::Test => (u64::from(now.0) << 32, TEST),
        };
        let wire = match opening.wire {
            Wire::SseChunked => 0,
            Wire::SseRaw => RAW,
            Wire::WebSocket => WEBSOCKET,
        };
        let (forwarded_v4, forwarded_v6) = match opening.forwarded_for {
            None => (0, None),
            Some(IpAddr::V4(address)) => (address.to_bits(), None),
            Some(IpAddr::V6(address)) => (0, Some(address)),
        };
        let is_plain =
            subscriptions.is_empty() && opening.session.is_none() && forwarded_v6.is_none();
        let extra = (!is_plain).then(|| {
            Box::new(Extra {
                subscriptions,
                session: opening.session,
                addresses: forwarded_v6.map(|address| {
                    Box::new(Addresses {
                        forwarded_v6: Some(address),
                        named: None,
                    })
                }),
                secrets: None,
                behind: None,
            })
        });
        Self {
            fd,
            generation,
            user: opening.user,
            links: Links::UNARMED,
            last_write: now,
            expires_at_s: opening
                .expires_at_s
                .map_or(0, |at| u32::try_from(at).unwrap_or(0)),
            since_s: u32::try_from(unix_s).unwrap_or(u32::MAX),
            joined_or_test,
            extra,
            forwarded_v4,
            flags: kind | wire,
            discarded_bytes: 0,
        }
    }

    pub(crate) fn subscriptions(&self) -> &[Subscription] {
        self.extra
            .as_deref()
            .map_or(&[], |extra| &extra.subscriptions)
    }

    pub(crate) fn wire(&self) -> Wire {
        match self.flags & (RAW | WEBSOCKET) {
            0 => Wire::SseChunked,
            RAW => Wire::SseRaw,
            _ => Wire::WebSocket,
        }
    }

    pub(crate) fn transport(&self) -> Transport {
        if self.flags & TEST == 0 {
            Transport::Sse
        } else {
            Transport::Test
        }
    }

    pub(crate) fn is_ending(&self) -> bool {
        self.flags & ENDING != 0
    }

    pub(crate) fn set_ending(&mut self) {
        self.flags |= ENDING;
    }

    /// Whether the timer stands for a point inside the last quarter of the heartbeat interval.
    pub(crate) fn is_rearmed(&self) -> bool {
        self.flags & REARMED != 0
    }

    pub(crate) fn set_rearmed(&mut self, rearmed: bool) {
        if rearmed {
            self.flags |= REARMED;
        } else {
            self.flags &= !REARMED;
        }
    }

    /// Whether an entry that is for this client is to be sent to it now. One that is kept is,
    /// where it came after the client joined; what came before, the client has or gets by replay.
    /// One that is not kept is for whoever is there when it passes.
    pub(crate) fn takes(&self, entry: &Entry) -> bool {
        self.flags & (TEST | ENDING | LEAVING) == 0
            && (entry.position.0 > self.joined_or_test || entry.is_fleeting())
    }

    /// Whether it takes every entry from this one on.
    pub(crate) fn takes_all_from(&self, entry: &Entry) -> bool {
        self.flags & (TEST | ENDING | LEAVING) == 0 && entry.position.0 > self.joined_or_test
    }

    /// Where it stands in the log: live events come after it. [`REPLAYING`] is after all places.
    pub(crate) fn joined(&self) -> Position {
        Position(self.joined_or_test)
    }

    /// Lets the client wait for what it missed: nothing that is kept comes live.
    pub(crate) fn start_catch_up(&mut self, replay: Replay) {
        self.joined_or_test = REPLAYING;
        let extra = self.extra.get_or_insert_default();
        extra.behind.get_or_insert_default().replay = Some(replay);
    }

    /// Whether anything is still under way to it.
    #[cfg(test)]
    pub(crate) fn is_behind(&self) -> bool {
        self.extra.as_ref().is_some_and(|it| it.behind.is_some())
    }

    /// What it still has to get of what it missed.
    pub(crate) fn replay(&mut self) -> Option<&mut Replay> {
        self.extra.as_mut()?.behind.as_mut()?.replay.as_mut()
    }

    /// Lets the client get events live from `position` on. What catching up took is given back.
    pub(crate) fn finish_catch_up(&mut self, position: Position) {
        self.joined_or_test = position.0;
        if let Some(behind) = self.behind_mut() {
            behind.replay = None;
        }
        self.drop_unneeded();
    }

    /// The client, where a proxy said who it is; without one the socket knows its peer.
    pub(crate) fn forwarded_for(&self) -> Option<IpAddr> {
        if self.forwarded_v4 != 0 {
            return Some(Ipv4Addr::from_bits(self.forwarded_v4).into());
        }
        Some(self.addresses()?.forwarded_v6?.into())
    }

    fn addresses(&self) -> Option<&Addresses> {
        self.extra.as_deref()?.addresses.as_deref()
    }

    /// Its connection began with a PROXY header, which named this client.
    pub(crate) fn set_named(&mut self, named: Option<IpAddr>) {
        self.flags |= PROXY_HEADER;
        if named != self.forwarded_for() {
            let extra = self.extra.get_or_insert_default();
            extra.addresses.get_or_insert_default().named = named;
        }
    }

    fn origin(&self) -> Origin {
        let proxy_header = self.flags & PROXY_HEADER != 0;
        let named = || {
            let aside = self.addresses().and_then(|addresses| addresses.named);
            aside.or(self.forwarded_for())
        };
        Origin {
            proxy_header,
            named: proxy_header.then(named).flatten(),
        }
    }

    /// Whether its connection goes back to HTTP when the stream has ended.
    pub(crate) fn keeps_alive(&self) -> bool {
        self.flags & KEEPS_ALIVE != 0
    }

    pub(crate) fn set_keeps_alive(&mut self) {
        self.flags |= KEEPS_ALIVE;
    }

    /// Its connection ends with the stream.
    pub(crate) fn set_closes(&mut self) {
        self.flags &= !KEEPS_ALIVE;
    }

    /// What goes back to HTTP.
    pub(crate) fn into_returned(self) -> Returned {
        let origin = self.origin();
        Returned {
            origin,
            fd: self.fd,
            secrets: self.extra.and_then(|extra| extra.secrets),
        }
    }

    /// Whether something waits for its socket to take more.
    pub(crate) fn is_backlogged(&self) -> bool {
        self.flags & BACKLOGGED != 0
    }

    /// What waits for its socket to take more.
    pub(crate) fn backlog(&self) -> Option<&Backlog> {
        self.extra.as_deref()?.behind.as_deref()?.backlog.as_ref()
    }

    /// The same, to be changed.
    pub(crate) fn backlog_mut(&mut self) -> Option<&mut Backlog> {
        self.behind_mut()?.backlog.as_mut()
    }

    /// The socket beside what waits for it.
    pub(crate) fn fd_and_backlog(&mut self) -> (&OwnedFd, Option<&mut Backlog>) {
        let behind = self
            .extra
            .as_deref_mut()
            .and_then(|extra| extra.behind.as_deref_mut());
        (&self.fd, behind.and_then(|behind| behind.backlog.as_mut()))
    }

    /// The same, begun now where there is none.
    pub(crate) fn backlog_or_new(&mut self, now: Tick) -> &mut Backlog {
        self.flags |= BACKLOGGED;
        let extra = self.extra.get_or_insert_default();
        let behind = extra.behind.get_or_insert_default();
        behind.backlog.get_or_insert_with(|| Backlog::new(now))
    }

    /// Forgets the backlog; what it took is given back.
    pub(crate) fn drop_backlog(&mut self) {
        self.flags &= !BACKLOGGED;
        if let Some(behind) = self.behind_mut() {
            behind.backlog = None;
        }
        self.drop_unneeded();
    }

    fn behind_mut(&mut self) -> Option<&mut Behind> {
        self.extra.as_deref_mut()?.behind.as_deref_mut()
    }

    fn drop_unneeded(&mut self) {
        if let Some(extra) = &mut self.extra
            && extra.behind.as_ref().is_some_and(|it| !it.is_needed())
        {
            extra.behind = None;
        }
        if self.extra.as_ref().is_some_and(|extra| !extra.is_needed()) {
            self.extra = None;
        }
    }

    /// Whether its bytes are sealed.
    pub(crate) fn is_tls(&self) -> bool {
        self.flags & TLS != 0
    }

    /// From now on its bytes are sealed.
    pub(crate) fn set_secrets(&mut self, secrets: Secrets) {
        self.flags |= TLS;
        self.extra.get_or_insert_default().secrets = Some(secrets);
    }

    /// Whether it has to end, for its keys have sealed enough.
    pub(crate) fn is_worn(&self) -> bool {
        let secrets = || self.extra.as_deref()?.secrets.as_ref();
        self.is_tls() && secrets().is_some_and(Secrets::are_worn)
    }

    /// What its bytes are sealed with.
    pub(crate) fn secrets_mut(&mut self) -> Option<&mut Secrets> {
        self.extra.as_deref_mut()?.secrets.as_mut()
    }

    pub(crate) fn set_leaving(&mut self) {
        self.flags |= LEAVING;
    }

    pub(crate) fn test_stream(&self) -> Option<TestStream> {
        (self.flags & TEST != 0).then(|| TestStream {
            started: Tick(high(self.joined_or_test)),
            next: low(self.joined_or_test),
        })
    }

    pub(crate) fn count_test_message(&mut self) {
        if let Some(TestStream { started, next }) = self.test_stream() {
            self.joined_or_test = u64::from(started.0) << 32 | u64::from(next.wrapping_add(1));
        }
    }
}

#[allow(clippy::cast_possible_truncation)] // the halves of a packed pair
fn high(packed: u64) -> u32 {
    (packed >> 32) as u32
}

#[allow(clippy::cast_possible_truncation)] // the halves of a packed pair
fn low(packed: u64) -> u32 {
    packed as u32
}

#[cfg(test)]
mod tests {
    use super::super::backlog::Chunk;
    use super::*;

    fn slot(forwarded_for: Option<IpAddr>) -> Slot {
        let opening = Opening {
            user: UserHandle::NONE,
            wire: Wire::SseChunked,
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
    fn a_client_behind_a_proxy_is_one_cache_line_too() {
        let address = IpAddr::from([192, 0, 2, 7]);
        let slot = slot(Some(address));
        assert_eq!(slot.forwarded_for(), Some(address));
        assert!(slot.extra.is_none());
    }

    #[test]
    fn an_address_of_ipv6_stands_aside() {
        let address: IpAddr = "2001:db8::7".parse().unwrap();
        let mut slot = slot(Some(address));
        slot.backlog_or_new(Tick(0));
        slot.drop_backlog();
        assert_eq!(slot.forwarded_for(), Some(address));
    }

    #[test]
    fn the_client_that_a_proxy_header_named_is_known_to_the_end() {
        let clients = [None, Some("192.0.2.7"), Some("2001:db8::7")];
        let clients = clients.map(|client| client.map(|address| address.parse().unwrap()));
        for named in clients {
            // A request may name another one, if its connection comes from a proxy that may.
            for forwarded in clients
                .into_iter()
                .filter(|it| named.is_some() || it.is_none())
            {
                let mut slot = slot(forwarded.or(named));
                slot.set_named(named);
                slot.backlog_or_new(Tick(0));
                slot.drop_backlog();
                assert_eq!(slot.forwarded_for(), forwarded.or(named));
                let origin = Origin {
                    proxy_header: true,
                    named,
                };
                assert_eq!(slot.into_returned().origin, origin);
            }
        }
        let slot = slot(Some("192.0.2.7".parse().unwrap()));
        assert_eq!(slot.into_returned().origin, Origin::default());
    }

    #[test]
    fn what_a_backlog_took_is_given_back() {
        let mut slot = slot(None);
        assert!(!slot.is_backlogged() && slot.backlog().is_none());
        slot.backlog_or_new(Tick(0)).push(Chunk::copy(b"rest"));
        assert_eq!(slot.backlog_or_new(Tick(9)).bytes(), 4);
        assert!(slot.is_backlogged());
        slot.drop_backlog();
        assert!(!slot.is_backlogged() && slot.extra.is_none());
    }
}
