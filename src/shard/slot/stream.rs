//! The part of a slot that belongs to the stream, not to the socket: its user, its position in the log, and its
//! timers.
//!
//! ```text
//! live ◀──finish_catch_up── replaying ──leave──▶ leaving
//!   └─────────────────────────end────────────────────────▶ ended
//! ```
//!
//! Deliveries, replays and timers use a stream. The state that few streams have is in the slot's box, and the
//! slot's methods give access to it.

use super::opening::Kind;
use super::test_stream::TestStream;
use crate::event::Position;
use crate::hub::directory::UserHandle;
use crate::hub::log::Entry;
use crate::shard::wheel::{Links, Tick};

/// One client's stream.
#[derive(Debug)]
pub(crate) struct Stream {
    user: UserHandle,
    /// The links of its timer.
    links: Links,
    /// When its token expires, in Unix seconds; 0 for never. Works until 2106.
    expires_at_s: u32,
    /// When it began, in Unix seconds.
    since_s: u32,
    /// Events after this position are sent live ([`REPLAYING`]: none are). A test stream receives no events,
    /// and stores its timetable here ([`TestStream`]).
    joined_or_test: u64,
    /// The address of a client behind a proxy, which is the usual case; 0 without a proxy, or with IPv6.
    pub(super) forwarded_v4: u32,
    flags: u8,
}

const _: () = assert!(size_of::<Stream>() == 40);

const TEST: u8 = 1 << 0;
/// The timer is armed for a random point in the last quarter of the heartbeat interval.
const BEATS_EARLY: u8 = 1 << 1;
/// Its session is over. It receives only what came before that, and its end.
const LEAVING: u8 = 1 << 2;
/// Its end is written.
const ENDED: u8 = 1 << 3;
/// Streams with one of these take no entries.
const TAKES_NOTHING: u8 = TEST | LEAVING | ENDED;

/// In [`Stream::joined_or_test`]: no event is sent live yet.
const REPLAYING: u64 = u64::MAX;

impl Stream {
    #[inline] // as Slot::new
    pub(super) fn new(
        user: UserHandle,
        kind: Kind,
        expires_at_s: Option<u64>,
        forwarded_v4: u32,
        now: Tick,
        unix_s: u64,
    ) -> Self {
        let (joined_or_test, flags) = match kind {
            Kind::Notifications { joined } => (joined.0, 0),
            Kind::Test => {
                let test = TestStream {
                    started: now,
                    next: 0,
                };
                (test.pack(), TEST)
            }
        };
        Self {
            user,
            links: Links::UNARMED,
            expires_at_s: expires_at_s.map_or(0, |at| u32::try_from(at).unwrap_or(0)),
            since_s: u32::try_from(unix_s).unwrap_or(u32::MAX),
            joined_or_test,
            forwarded_v4,
            flags,
        }
    }

    pub(crate) fn user(&self) -> UserHandle {
        self.user
    }

    pub(crate) fn since_s(&self) -> u32 {
        self.since_s
    }

    /// When its token expires, if that ends the stream.
    pub(crate) fn expires_at_ms(&self) -> Option<u64> {
        (self.expires_at_s != 0).then(|| u64::from(self.expires_at_s) * 1_000)
    }

    #[inline]
    pub(crate) fn links_mut(&mut self) -> &mut Links {
        &mut self.links
    }

    #[cfg(test)]
    pub(crate) fn is_armed(&self) -> bool {
        self.links.is_armed()
    }

    /// Returns true if its heartbeat may be sent in the last quarter of the interval, at the random point that the timer
    /// is armed for.
    pub(crate) fn beats_early(&self) -> bool {
        self.flags & BEATS_EARLY != 0
    }

    pub(crate) fn set_beats_early(&mut self, beats_early: bool) {
        if beats_early {
            self.flags |= BEATS_EARLY;
        } else {
            self.flags &= !BEATS_EARLY;
        }
    }

    /// Returns true if an entry addressed to this client has to be sent now. A kept entry is sent if it came
    /// after the client joined; the client has earlier ones already, or gets them by replay. A fleeting entry is in no
    /// replay, so it is sent to every client that is connected when it passes, except for
    /// [newcomers](crate::shard::newcomers).
    pub(crate) fn takes(&self, entry: &Entry) -> bool {
        self.flags & TAKES_NOTHING == 0
            && (entry.position.0 > self.joined_or_test || entry.is_fleeting())
    }

    /// Returns true if it takes every entry from this one on.
    pub(crate) fn takes_all_from(&self, entry: &Entry) -> bool {
        self.flags & TAKES_NOTHING == 0 && entry.position.0 > self.joined_or_test
    }

    /// Its position in the log: later events are sent live. [`REPLAYING`] is after all positions.
    pub(crate) fn joined(&self) -> Position {
        Position(self.joined_or_test)
    }

    /// Returns true if its client has, or does not need, something that came after `position`, and gets no replay of it.
    pub(crate) fn is_ahead_of(&self, position: Position) -> bool {
        let is_live = self.test_stream().is_none() && self.joined_or_test != REPLAYING;
        is_live && self.joined() > position
    }

    /// No kept event is sent live until the stream joins.
    pub(super) fn start_catch_up(&mut self) {
        self.joined_or_test = REPLAYING;
    }

    /// Events after `position` are sent live.
    pub(super) fn join(&mut self, position: Position) {
        self.joined_or_test = position.0;
    }

    pub(super) fn leave(&mut self) {
        self.flags |= LEAVING;
    }

    /// Returns true if its end has been written.
    pub(crate) fn is_ended(&self) -> bool {
        self.flags & ENDED != 0
    }

    pub(super) fn end(&mut self) {
        self.flags |= ENDED;
    }

    /// Returns true if its session is over and its end is still to come.
    pub(crate) fn is_leaving(&self) -> bool {
        self.flags & LEAVING != 0
    }

    /// Continues a stream that began in another process.
    pub(super) fn continue_from(&mut self, since_s: u32, test: Option<TestStream>) {
        self.since_s = since_s;
        if let Some(test) = test {
            self.joined_or_test = test.pack();
        }
    }

    pub(crate) fn expires_at_s(&self) -> Option<u64> {
        (self.expires_at_s != 0).then_some(self.expires_at_s.into())
    }

    pub(crate) fn is_test(&self) -> bool {
        self.flags & TEST != 0
    }

    pub(crate) fn test_stream(&self) -> Option<TestStream> {
        self.is_test()
            .then(|| TestStream::unpack(self.joined_or_test))
    }

    pub(crate) fn count_test_message(&mut self) {
        if let Some(mut test) = self.test_stream() {
            test.next = test.next.wrapping_add(1);
            self.joined_or_test = test.pack();
        }
    }
}
