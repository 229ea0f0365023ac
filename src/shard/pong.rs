//! How long a WebSocket client may leave a ping unanswered.
//!
//! A client has two bytes for the time of its first unanswered ping, so the unit of that time depends on the limit:
//! a tick while the limit is below 17 minutes, and up to four seconds if it is a day.

use super::slot::{Carrier, PingTime};
use super::wheel::Tick;

/// The limit, in units that let twice its length fit into a [`PingTime`].
#[derive(Clone, Copy, Debug)]
pub(super) struct PongLimit {
    units: u16,
    /// Ticks per unit, as a power of two.
    shift: u32,
}

impl PongLimit {
    /// A limit of so many ticks, rounded up to the next unit.
    pub(super) fn of_ticks(ticks: u32) -> Self {
        const MAX_UNITS: u32 = 1 << 15;
        let mut shift = 0;
        // Rounding down twice, when a ping is sent and when it is checked, loses less than one unit.
        let units = |shift: u32| (ticks >> shift) + u32::from(shift > 0) + 1;
        while units(shift) > MAX_UNITS {
            shift += 1;
        }
        let units = if shift == 0 { ticks } else { units(shift) };
        Self {
            units: u16::try_from(units).unwrap_or(u16::MAX),
            shift,
        }
    }

    /// The time to note for a ping that is sent now.
    #[allow(clippy::cast_possible_truncation)] // it wraps
    pub(super) fn time(self, now: Tick) -> PingTime {
        PingTime((now.0 >> self.shift) as u16)
    }

    /// How long ago a ping was sent.
    pub(super) fn age_ticks(self, sent: PingTime, now: Tick) -> u32 {
        u32::from(self.time(now).0.wrapping_sub(sent.0)) << self.shift
    }

    /// Drops what a WebSocket client's reader does not have to remember any more. Returns true if the client has left
    /// a ping unanswered for too long.
    #[inline(never)] // an SSE client's timer does not get here
    pub(super) fn review(self, carrier: &mut Carrier, now: Tick) -> bool {
        carrier.review_inbound(now);
        self.due(carrier, now).is_some_and(|due| now.reached(due))
    }

    /// When a client is closed unless it answers a ping. A client with a backlog is not: it may not have received the
    /// ping, and what it sends is not read.
    pub(super) fn due(self, carrier: &Carrier, now: Tick) -> Option<Tick> {
        let sent = carrier.unanswered_ping()?;
        (!carrier.is_backlogged()).then(|| self.deadline(sent, now))
    }

    /// When a client is closed that has not answered the ping of `sent`.
    fn deadline(self, sent: PingTime, now: Tick) -> Tick {
        let age = self.time(now).0.wrapping_sub(sent.0);
        let left = self.units.saturating_sub(age);
        if left == 0 {
            return now;
        }
        // The first tick of the unit in which the limit is reached.
        let unit = (now.0 >> self.shift).wrapping_add(u32::from(left));
        Tick(unit << self.shift)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_deadline_is_the_limit_after_the_ping_rounded_up_to_a_unit(
            ticks in prop_oneof![1_u32..40_000, 1_u32..6_000_000],
            sent in any::<u32>(),
            waited in 0_u32..6_000_000,
        ) {
            let limit = PongLimit::of_ticks(ticks);
            let ping = limit.time(Tick(sent));
            let waited = waited % ticks;
            let now = Tick(sent).plus(waited);
            let deadline = limit.deadline(ping, now);
            prop_assert!(!now.reached(deadline) || deadline == now);
            let left = deadline.since(now);
            let unit = 1 << limit.shift;
            prop_assert!(waited + left >= ticks, "{waited} + {left}");
            prop_assert!(waited + left < ticks + 3 * unit, "{waited} + {left}");
            if limit.shift == 0 {
                prop_assert_eq!(waited + left, ticks);
            }
            prop_assert_eq!(limit.deadline(ping, deadline), deadline);
        }
    }
}
