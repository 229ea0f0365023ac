//! A slot as it is described to another process of the server, which continues the stream on the same socket.
//!
//! It is JSON with a name for each value, so that another version of the server understands it. Ticks are counted
//! from the start of a process, so times are described by how long ago they were.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use super::opening::{Kind, Opening};
use super::portable::PortableCarrier;
use super::slot::Slot;
use super::test_stream::TestStream;
use crate::event::Position;
use crate::hub::directory::UserHandle;
use crate::shard::returned::Origin;
use crate::shard::wheel::Tick;
use crate::topic::Topic;
use crate::wire::Checksum;

/// A connection without its socket.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Portable {
    /// `None` for a test stream.
    pub(crate) user: Option<String>,
    pub(crate) session: Option<String>,
    #[serde(default)]
    topics: Vec<String>,
    /// Unix seconds; `None` for never.
    expires_at_s: Option<u64>,
    /// Unix seconds.
    since_s: u32,
    forwarded_for: Option<IpAddr>,
    /// The client has, or has in its backlog, everything that is for it up to this position of the log.
    position: u64,
    /// A client that is catching up has only what is kept up to this id.
    pub(crate) replayed: Option<String>,
    test: Option<PortableTest>,
    /// The time since the first ping that a WebSocket client has not answered.
    pub(crate) ping_ticks: Option<u32>,
    origin: Origin,
    /// What a compressed stream was sent, which is also what waits in its backlog.
    #[serde(default)]
    pub(crate) sent: Option<Checksum>,
    /// It began when other streams may have left already, so that it was admitted without regard to them.
    #[serde(default)]
    pub(crate) is_late: bool,
    carrier: PortableCarrier,
}

#[derive(Debug, Serialize, Deserialize)]
struct PortableTest {
    age_ticks: u32,
    /// The number of the next message.
    next: u32,
}

/// The parts of a description that the slot does not contain.
#[derive(Debug)]
pub(crate) struct Named {
    pub(crate) user: Option<String>,
    pub(crate) topics: Vec<String>,
    /// Everything that is for the client was sent up to here, unless it is catching up.
    pub(crate) served: Position,
    /// The time since the first ping that it has not answered.
    pub(crate) ping_ticks: Option<u32>,
    /// If it is catching up: the id up to which it has what is kept.
    pub(crate) replayed: Option<String>,
    /// If its stream is compressed: what it was sent.
    pub(crate) sent: Option<Checksum>,
    /// It began after the streams were ordered to leave.
    pub(crate) is_late: bool,
}

impl Slot {
    /// Describes a stream that has not ended.
    pub(crate) fn describe(&self, named: Named, now: Tick) -> Portable {
        let Named {
            user,
            topics,
            served,
            ping_ticks,
            replayed,
            sent,
            is_late,
        } = named;
        let test = self.stream.test_stream().map(|test| PortableTest {
            age_ticks: test.age_ticks(now),
            next: test.next,
        });
        Portable {
            user,
            session: self.session().map(Into::into),
            topics,
            expires_at_s: self.stream.expires_at_s(),
            since_s: self.stream.since_s(),
            forwarded_for: self.forwarded_for(),
            position: served.0,
            replayed,
            test,
            ping_ticks,
            origin: self.origin(),
            sent,
            is_late,
            carrier: self.carrier.describe(now),
        }
    }

    /// Continues what was described as [`Portable::opening`] began it. `None` if that is not possible.
    pub(crate) fn continue_from(&mut self, portable: &Portable, now: Tick) -> Option<()> {
        let test = portable.test.as_ref();
        let test = test.map(|test| TestStream::continued(test.age_ticks, test.next, now));
        self.stream.continue_from(portable.since_s, test);
        self.carrier.restore(&portable.carrier, now)
    }
}

impl Portable {
    /// The initial values of its slot.
    pub(crate) fn opening(&self, user: UserHandle) -> Opening {
        let topics = self.topics.iter();
        Opening {
            wire: self.carrier.wire,
            user,
            kind: match self.test {
                Some(_) => Kind::Test,
                None => Kind::Notifications {
                    joined: self.position(),
                },
            },
            expires_at_s: self.expires_at_s,
            // All were valid when the stream began.
            topics: topics
                .filter_map(|topic| Topic::parse(topic).ok())
                .collect(),
            session: self.session.as_deref().map(Into::into),
            forwarded_for: self.forwarded_for,
        }
    }

    /// When the stream began, in Unix seconds.
    pub(crate) fn since_s(&self) -> u32 {
        self.since_s
    }

    /// The position in the log up to which the client was served.
    pub(crate) fn position(&self) -> Position {
        Position(self.position)
    }

    /// What came before the connection's first request.
    pub(crate) fn origin(&self) -> Origin {
        self.origin
    }

    /// Returns true if it is a test stream.
    pub(crate) fn is_test(&self) -> bool {
        self.test.is_some()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::shard::audience::Subscription;
    use crate::tls::Secrets;
    use crate::wire::Wire;

    const NOW: Tick = Tick(1_000_000);
    /// The other process was started at another time.
    const THERE: Tick = Tick(77_000);

    fn slot(opening: Opening, now: Tick) -> Slot {
        let fd = std::fs::File::open("/dev/null").unwrap().into();
        let subscriptions: Box<[Subscription]> = Box::default();
        Slot::new(fd, 1, opening, subscriptions, now, 7)
    }

    fn named(user: Option<&str>, topics: &[&str], served: u64) -> Named {
        Named {
            user: user.map(Into::into),
            topics: topics.iter().map(ToString::to_string).collect(),
            served: Position(served),
            ping_ticks: None,
            replayed: None,
            sent: None,
            is_late: false,
        }
    }

    /// Moves a slot to another process and describes it there.
    fn moved(slot: &Slot, named: impl Fn() -> Named) -> (String, String) {
        let before = slot.describe(named(), NOW);
        let json = serde_json::to_string(&before).unwrap();
        let portable: Portable = serde_json::from_str(&json).unwrap();
        let mut there = self::slot(portable.opening(UserHandle::NONE), THERE);
        there.set_origin(portable.origin());
        there.continue_from(&portable, THERE).unwrap();
        there.check();
        let after = there.describe(named(), THERE);
        (json, serde_json::to_string(&after).unwrap())
    }

    proptest! {
        #[test]
        fn a_stream_is_the_same_in_the_other_process(
            wire in prop_oneof![Just(Wire::SseChunked), Just(Wire::SseRaw), Just(Wire::SseGzip), Just(Wire::WebSocket)],
            is_test in any::<bool>(),
            session in prop::option::of("[a-z]{1,9}"),
            forwarded in prop::option::of(any::<std::net::IpAddr>()),
            proxied in prop::option::of(prop::option::of(any::<std::net::Ipv4Addr>())),
            expires in prop::option::of(1u64..u64::from(u32::MAX)),
            (joined, served) in (0u64..100, 0u64..100),
            cipher in prop::option::of(0usize..3),
            unsent in prop::collection::vec(prop::collection::vec(any::<u8>(), 1..40), 0..4),
            (silent, discarded, keeps_alive) in (0u32..9_999, 0u16..8_000, any::<bool>()),
        ) {
            let opening = Opening {
                wire,
                user: UserHandle::NONE,
                kind: if is_test {
                    Kind::Test
                } else {
                    Kind::Notifications { joined: Position(joined) }
                },
                expires_at_s: expires,
                topics: Box::default(),
                session: session.as_deref().map(Into::into),
                forwarded_for: forwarded,
            };
            let mut slot = slot(opening, NOW.minus(silent));
            if let Some(named) = proxied {
                let named = named.map(Into::into);
                slot.set_origin(Origin { proxy_header: true, named });
            }
            if let Some(cipher) = cipher {
                slot.carrier.set_secrets(Secrets::pair(cipher).0);
            }
            for bytes in &unsent {
                slot.carrier.backlog_or_new(NOW.minus(3)).push(crate::shard::backlog::UnsentBytes::copy(bytes));
            }
            slot.carrier.note_discarded(discarded);
            if keeps_alive {
                slot.carrier.set_keeps_alive();
            }
            slot.stream.count_test_message();
            let (before, after) = moved(&slot, || named(Some("42"), &["news", "orders/7"], served));
            prop_assert_eq!(before, after);
        }
    }

    #[test]
    fn a_torn_frame_and_the_rate_of_messages_move() {
        let opening = Opening {
            wire: Wire::WebSocket,
            user: UserHandle::NONE,
            kind: Kind::Notifications {
                joined: Position(1),
            },
            expires_at_s: None,
            topics: Box::default(),
            session: None,
            forwarded_for: None,
        };
        let mut slot = slot(opening, NOW);
        let mut inbound = slot.carrier.take_inbound();
        inbound.keep_torn(b"\x89\x85abc");
        inbound.keep_record(b"\x17\x03\x03");
        assert!(inbound.count_message(100, NOW.minus(5)));
        // The header of a masked text.
        assert_eq!(inbound.reader.read(b"\x01\x83mask").taken, 6);
        slot.carrier.put_inbound(inbound, NOW);
        let (before, after) = moved(&slot, || named(Some("42"), &[], 5));
        assert!(before.contains("\"message_bytes\":100"), "{before}");
        assert_eq!(before, after);
    }

    #[test]
    fn only_a_client_that_joined_live_after_a_position_is_ahead_of_it() {
        let with = |kind| {
            let opening = Opening {
                wire: Wire::SseChunked,
                user: UserHandle::NONE,
                kind,
                expires_at_s: None,
                topics: Box::default(),
                session: None,
                forwarded_for: None,
            };
            slot(opening, NOW)
        };
        let joined = Position(7);
        let mut slot = with(Kind::Notifications { joined });
        let ahead_of = |slot: &Slot| [3, 6, 7, 9].map(|it| slot.stream.is_ahead_of(Position(it)));
        assert_eq!(ahead_of(&slot), [true, true, false, false]);
        slot.stream.start_catch_up();
        assert_eq!(ahead_of(&slot), [false; 4]);
        assert_eq!(ahead_of(&with(Kind::Test)), [false; 4]);
    }
}
