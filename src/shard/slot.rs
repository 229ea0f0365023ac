//! What a waiting client costs: one cache line.

use std::net::IpAddr;
use std::os::fd::OwnedFd;

use super::backlog::Backlog;
use super::wheel::{Links, Tick};
use crate::directory::UserHandle;
use crate::frame::Framing;
use crate::log::Position;
use crate::metrics::Transport;
use crate::topic::Topic;

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
    /// See [`Slot::joined`] and [`Slot::test_stream`]; a test stream gets no events and needs no
    /// position.
    joined_or_test: u64,
    pub(crate) backlog: Option<Box<Backlog>>,
    pub(crate) extra: Option<Box<Extra>>,
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
    pub(crate) topics: Box<[Topic]>,
    pub(crate) session: Option<Box<str>>,
    /// The client behind a proxy; without one the socket knows its peer.
    pub(crate) forwarded_for: Option<IpAddr>,
}

impl Extra {
    fn is_needed(&self) -> bool {
        !self.topics.is_empty() || self.session.is_some() || self.forwarded_for.is_some()
    }
}

/// What the shard is told about a client that is let in.
#[derive(Debug)]
pub(crate) struct Tenant {
    pub(crate) user: UserHandle,
    pub(crate) framing: Framing,
    pub(crate) kind: Kind,
    /// Unix seconds; `None` for never.
    pub(crate) expires_at_s: Option<u64>,
    pub(crate) extra: Extra,
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
/// The last bytes are in the backlog; when they are out, the socket is closed.
const ENDING: u16 = 1 << 2;
/// The timer was armed for the last quarter of the heartbeat interval.
const REARMED: u16 = 1 << 3;

impl Slot {
    pub(crate) fn new(
        fd: OwnedFd,
        generation: u32,
        tenant: Tenant,
        now: Tick,
        unix_s: u64,
    ) -> Self {
        let (joined_or_test, kind) = match tenant.kind {
            Kind::Notifications { joined } => (joined.0, 0),
            Kind::Test => (u64::from(now.0) << 32, TEST),
        };
        let framing = match tenant.framing {
            Framing::Chunked => 0,
            Framing::Raw => RAW,
        };
        Self {
            fd,
            generation,
            user: tenant.user,
            links: Links::UNARMED,
            last_write: now,
            expires_at_s: tenant
                .expires_at_s
                .map_or(0, |at| u32::try_from(at).unwrap_or(0)),
            since_s: u32::try_from(unix_s).unwrap_or(u32::MAX),
            joined_or_test,
            backlog: None,
            extra: tenant.extra.is_needed().then(|| Box::new(tenant.extra)),
            flags: kind | framing,
            discarded_bytes: 0,
        }
    }

    pub(crate) fn framing(&self) -> Framing {
        if self.flags & RAW == 0 {
            Framing::Chunked
        } else {
            Framing::Raw
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

    /// Whether an event at `position` is for this tenant: it came before the event, and takes
    /// events at all.
    pub(crate) fn takes(&self, position: Position) -> bool {
        self.flags & (TEST | ENDING) == 0 && position.0 > self.joined_or_test
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
