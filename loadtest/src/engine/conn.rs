//! One connection: its descriptor, the state of its response, and the events that it has seen.

use std::borrow::Cow;
use std::os::fd::OwnedFd;

use serde::Deserialize;

use super::Target;
use super::nodes::Nodes;
use super::tally::Tally;
use crate::parse::messages::Dialect;
use crate::parse::sse::{Block, Event};
use crate::parse::{Decoder, Malformed, Reached};
use crate::websocket::{ACCEPT_BYTES, Replies};

/// The client's state of a connection. The assertion below limits its size.
#[derive(Debug)]
pub(crate) struct Conn {
    pub(crate) fd: OwnedFd,
    /// When it was opened, in milliseconds of the engine's clock.
    pub(crate) opened_ms: u32,
    /// Its number in the run, which determines its user.
    pub(crate) number: u32,
    /// Index of its source address.
    pub(crate) source: u16,
    /// Index of its node.
    pub(crate) node: u8,
    pub(crate) phase: Phase,
    decoder: Decoder,
    seen: Sequence,
}

const _: () = assert!(
    size_of::<Conn>() < 64,
    "a connection of the client is to cost less than a cache line"
);

/// The state of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    /// The kernel is still connecting it.
    Connecting,
    /// The request was sent, and the response's head is incomplete.
    Asked,
    /// A stream.
    Open,
    /// A stream that is not read; its bytes stay in the kernel.
    Deaf,
}

impl Phase {
    /// Returns true if the stream has begun.
    pub(crate) fn streams(self) -> bool {
        matches!(self, Self::Open | Self::Deaf)
    }
}

/// The payload of a numbered event.
#[derive(Debug, Deserialize)]
struct Stamp<'a> {
    /// The scheduled time, in nanoseconds of `CLOCK_MONOTONIC`.
    scheduled_ns: u64,
    n: u32,
    /// The user, if it was published to one user.
    #[serde(borrow)]
    user: Option<Cow<'a, str>>,
}

/// The state that a client keeps when it is disconnected and reconnects.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Identity {
    pub(crate) number: u32,
    /// Index of the node that it connects to.
    pub(crate) node: u8,
    pub(crate) seen: Sequence,
}

impl Identity {
    /// A client that has seen no event.
    pub(crate) fn new(number: u32, nodes: &Nodes) -> Self {
        Self {
            number,
            node: nodes.first(number),
            seen: Sequence::default(),
        }
    }
}

impl Conn {
    /// A connection that is being opened.
    pub(crate) fn new(fd: OwnedFd, opened_ms: u32, source: u16, identity: Identity) -> Self {
        Self {
            fd,
            opened_ms,
            number: identity.number,
            source,
            node: identity.node,
            phase: Phase::Connecting,
            decoder: Decoder::new(),
            seen: identity.seen,
        }
    }

    /// Its state for a reconnect, to another node if there are several.
    pub(crate) fn identity(&self, nodes: &Nodes) -> Identity {
        Identity {
            number: self.number,
            node: nodes.next(self.node, self.number),
            seen: self.seen,
        }
    }

    /// The offset of the latest event that it has seen.
    pub(crate) fn last_offset(&self) -> Option<u32> {
        self.seen.next.checked_sub(1)
    }

    /// Its request asks for a WebSocket; the response must contain `accept`.
    pub(crate) fn expect_websocket(&mut self, accept: [u8; ACCEPT_BYTES], dialect: Dialect) {
        self.decoder = Decoder::of_websocket(accept, dialect);
    }

    /// Returns true if its WebSocket stream has begun, even if the bytes that began it also ended it.
    pub(crate) fn has_begun_messages(&self) -> bool {
        self.decoder.has_begun_messages()
    }

    /// Reads the next bytes and counts their events in `tally`. The replies that they require are added to
    /// `replies`.
    pub(crate) fn feed(
        &mut self,
        input: &[u8],
        now_ns: u64,
        target: &Target,
        scratch: &mut Block,
        replies: &mut Replies,
        tally: &mut Tally,
    ) -> Result<Reached, Malformed> {
        let (seen, number, node) = (&mut self.seen, self.number, self.node);
        let fed = self.decoder.feed(input, scratch, replies, &mut |event| {
            note(
                event,
                now_ns,
                node,
                seen,
                &|user| target.is_user(number, user),
                tally,
            );
        });
        tally.pings += replies.take_pings();
        fed
    }
}

fn note(
    event: Event<'_>,
    now_ns: u64,
    node: u8,
    seen: &mut Sequence,
    is_mine: &dyn Fn(&str) -> bool,
    tally: &mut Tally,
) {
    // With or without an id, it is not an event of the window. A stream also begins with one, which does not
    // end a silence.
    if event.name == b"heartbeat" {
        tally.heartbeats += u64::from(!event.has_retry);
        return;
    }
    if event.name == b"replay_gap" {
        tally.on(node).replay_gaps += 1;
    }
    let stamp = match serde_json::from_slice::<Stamp<'_>>(event.data) {
        Ok(stamp) if event.name == b"message" => stamp,
        _ => return tally.foreign += 1,
    };
    let Some(offset) = stamp
        .n
        .checked_sub(tally.window.first)
        .filter(|&offset| offset < tally.window.count)
    else {
        return tally.foreign += 1;
    };
    if stamp.user.is_some_and(|user| !is_mine(&user)) {
        return tally.misdirected += 1;
    }
    let arrival = seen.take(offset);
    match arrival {
        Arrival::InOrder => {}
        Arrival::OutOfOrder => tally.out_of_order += 1,
        Arrival::Duplicate => return tally.duplicates += 1,
    }
    tally.arrived(offset, stamp.scheduled_ns, now_ns);
    tally.on(node).received += 1;
    if let Some(id) = event.id {
        tally.named(offset, id);
    }
}

/// The events of the window that a connection has received: the highest, and a bit for each of the 64 up to
/// it. An event that is more than 64 positions late counts as a duplicate; either way the run fails.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Sequence {
    /// One past the highest offset seen.
    next: u32,
    /// Bit `i` stands for offset `next - 1 - i`.
    recent: [u32; 2],
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Arrival {
    InOrder,
    OutOfOrder,
    Duplicate,
}

impl Sequence {
    fn take(&mut self, offset: u32) -> Arrival {
        let recent = u64::from(self.recent[0]) | u64::from(self.recent[1]) << 32;
        let (arrival, recent) = if offset >= self.next {
            let shift = offset - self.next + 1;
            self.next = offset + 1;
            (Arrival::InOrder, recent.checked_shl(shift).unwrap_or(0) | 1)
        } else {
            let bit = 1u64.checked_shl(self.next - 1 - offset).unwrap_or(0);
            let fresh = bit != 0 && recent & bit == 0;
            (
                if fresh {
                    Arrival::OutOfOrder
                } else {
                    Arrival::Duplicate
                },
                recent | bit,
            )
        };
        // Two halves, because a u64 would align the slot's tail to eight bytes.
        self.recent = [low_half(recent), low_half(recent >> 32)];
        arrival
    }
}

fn low_half(bits: u64) -> u32 {
    u32::try_from(bits & u64::from(u32::MAX)).expect("masked to 32 bits")
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;
    use crate::engine::tally::NodeCounts;
    use crate::engine::window::Window;

    #[test]
    fn a_gap_is_not_counted_and_an_event_that_fills_it_is_out_of_order() {
        use Arrival::{Duplicate, InOrder, OutOfOrder};
        let mut seen = Sequence::default();
        let arrivals = [0, 1, 3, 2, 2, 3, 4].map(|offset| seen.take(offset));
        assert_eq!(
            arrivals,
            [
                InOrder, InOrder, InOrder, OutOfOrder, Duplicate, Duplicate, InOrder
            ]
        );
    }

    proptest! {
        #[test]
        fn it_agrees_with_a_set_within_its_window(offsets in proptest::collection::vec(0u32..60, 0..100)) {
            let mut seen = Sequence::default();
            let mut model = BTreeSet::new();
            for offset in offsets {
                let expected = match model.last() {
                    Some(&highest) if offset < highest && !model.contains(&offset) => Arrival::OutOfOrder,
                    _ if model.contains(&offset) => Arrival::Duplicate,
                    _ => Arrival::InOrder,
                };
                model.insert(offset);
                prop_assert_eq!(seen.take(offset), expected);
            }
        }
    }

    #[test]
    fn events_and_gaps_are_counted_for_the_clients_node() {
        let mut tally = Tally::new(Window { first: 0, count: 3 }, 2);
        let mut seen = Sequence::default();
        let mut take = |name: &[u8], data: &[u8], node| {
            let event = Event {
                name,
                data,
                id: None,
                has_retry: false,
            };
            note(event, 5, node, &mut seen, &|_| true, &mut tally);
        };
        take(b"message", br#"{"n":0,"scheduled_ns":1}"#, 0);
        take(b"replay_gap", b"{}", 1);
        take(b"message", br#"{"n":1,"scheduled_ns":1}"#, 1);
        take(b"message", br#"{"n":1,"scheduled_ns":1}"#, 1);
        let counts = |node: &NodeCounts| (node.received, node.replay_gaps);
        let counts: Vec<_> = tally.nodes.iter().map(counts).collect();
        assert_eq!(counts, [(1, 0), (1, 1)]);
        assert_eq!((tally.duplicates, tally.foreign), (1, 1));
    }

    #[test]
    fn a_jump_beyond_the_window_is_in_order() {
        let mut seen = Sequence::default();
        assert_eq!(seen.take(5), Arrival::InOrder);
        assert_eq!(seen.take(5000), Arrival::InOrder);
        assert_eq!(seen.take(5000), Arrival::Duplicate);
    }
}
