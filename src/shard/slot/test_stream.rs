//! The timetable of a test stream. It is packed into the eight bytes of a position, which a test stream does not
//! need because it receives no events.

use crate::shard::wheel::{TICKS_PER_S, Tick};

/// Time between two messages of a test stream: 2 s, as in the guide.
const INTERVAL_TICKS: u32 = 64;
const _: () = assert!(INTERVAL_TICKS as u64 == 2 * TICKS_PER_S);

/// The beginning of a test stream, and its progress.
#[derive(Clone, Copy, Debug)]
pub(crate) struct TestStream {
    pub(super) started: Tick,
    /// The number of the next message.
    pub(crate) next: u32,
}

impl TestStream {
    /// How long ago it began.
    pub(super) fn age_ticks(self, now: Tick) -> u32 {
        now.0.wrapping_sub(self.started.0)
    }

    /// A stream that began so long ago.
    pub(super) fn continued(age_ticks: u32, next: u32, now: Tick) -> Self {
        Self {
            started: now.minus(age_ticks),
            next,
        }
    }

    /// The time when the next message is due.
    pub(crate) fn due(self) -> Tick {
        let ticks = self.next.wrapping_mul(INTERVAL_TICKS);
        self.started.plus(ticks)
    }

    pub(super) fn pack(self) -> u64 {
        u64::from(self.started.0) << 32 | u64::from(self.next)
    }

    #[allow(clippy::cast_possible_truncation)] // the halves of a packed pair
    pub(super) fn unpack(packed: u64) -> Self {
        Self {
            started: Tick((packed >> 32) as u32),
            next: packed as u32,
        }
    }
}
