//! What happens to a client when time passes: heartbeat, expiry, test message, stall.
//!
//! One timer a connection stands for the earliest of them. Writing something only notes the
//! tick; a timer that fires early is armed again at a random point of the last quarter of the
//! heartbeat interval, so that a broadcast does not line everybody's heartbeats up.

use super::heartbeat::Heartbeat;
use super::wheel::{TICKS_PER_S, Tick};
use super::{Shard, Sleep};
use crate::metrics::DisconnectReason;
use crate::wire::{End, Signal};

/// Timers taken in one turn, about a millisecond of heartbeats, before the shard looks at its
/// sockets and its inbox again.
const SLICE_TIMERS: usize = 128;
/// Between two messages of a test stream (API.md).
const TEST_INTERVAL_TICKS: u32 = 64;
const _: () = assert!(TEST_INTERVAL_TICKS as u64 == 2 * TICKS_PER_S);
/// A token's end further off is looked at again by then; far below half the range of a tick.
const MAX_EXPIRY_TICKS: u64 = 24 * 3_600 * TICKS_PER_S;

impl Shard {
    /// Takes the timers that are due at `now`; true where there may be more.
    pub(super) fn run_timers(&mut self, now: Tick) -> bool {
        let mut heartbeat = None;
        for _ in 0..SLICE_TIMERS {
            let Some(key) = self.wheel.pop_due(&mut self.table, now) else {
                return false;
            };
            // Nothing is delivered meanwhile, so it holds for the whole slice.
            let heartbeat = heartbeat.get_or_insert_with(|| self.heartbeat(now));
            if self.fire(key, now, heartbeat) {
                self.arm(key);
            }
        }
        true
    }

    /// Arms the client's timer for whatever comes first.
    pub(super) fn arm(&mut self, key: u32) {
        let now = self.now();
        let Some(due) = self.due(key, now) else {
            return;
        };
        self.wheel.arm(&mut self.table, key, due);
        let is_overslept = match self.sleep {
            Sleep::Awake => false,
            Sleep::Until(until) => !due.reached(until),
            Sleep::Unbounded => true,
        };
        if is_overslept {
            self.rearmed.notify_one();
        }
    }

    /// Does what is due; false where that ended the client or its end is on the way out.
    fn fire(&mut self, key: u32, now: Tick, heartbeat: &Heartbeat) -> bool {
        let Some(slot) = self.table.get(key) else {
            return false;
        };
        let is_stalled = slot
            .backlog()
            .is_some_and(|backlog| now.since(backlog.progress()) >= self.stall_ticks);
        if is_stalled {
            self.close(key, DisconnectReason::Stalled);
            return false;
        }
        if slot.is_ending() {
            return true;
        }
        if slot.is_worn() {
            self.end_drained(key);
            return false;
        }
        let expired = slot.expires_at_s != 0
            && u64::from(slot.expires_at_s) * 1_000 <= self.shared.clock.unix_ms();
        if expired {
            self.end(key, End::Expired, None);
            // An end that waits in the backlog has armed its own timer.
            return false;
        }
        if let Some(test) = slot.test_stream() {
            if now.reached(
                test.started
                    .plus(test.next.wrapping_mul(TEST_INTERVAL_TICKS)),
            ) {
                self.send_test_message(key);
            }
        } else if !slot.is_backlogged() {
            return self.beat(key, now, heartbeat);
        }
        self.table.get(key).is_some()
    }

    /// Sends a heartbeat if the silence is long enough for this timer: the whole interval, or
    /// its last quarter where the timer was drawn from that.
    fn beat(&mut self, key: u32, now: Tick, heartbeat: &Heartbeat) -> bool {
        let (interval, least) = (self.heartbeat_ticks, self.least_silence());
        let Some(slot) = self.table.get_mut(key) else {
            return false;
        };
        let silence = now.since(slot.last_write);
        let enough = if slot.is_rearmed() { least } else { interval };
        if silence < enough {
            slot.set_rearmed(true);
            return true;
        }
        slot.set_rearmed(false);
        self.send_position(key, heartbeat)
    }

    /// Sends a heartbeat for now; false where that ended the client.
    pub(super) fn send_heartbeat(&mut self, key: u32) -> bool {
        let now = self.now();
        let heartbeat = self.heartbeat(now);
        self.send_position(key, &heartbeat)
    }

    fn send_position(&mut self, key: u32, heartbeat: &Heartbeat) -> bool {
        let Some(slot) = self.table.get(key) else {
            return false;
        };
        let beat = heartbeat.beat(slot.joined());
        if self.send_shared(key, |wire| beat.piece(wire)) {
            self.metrics().heartbeats.increment();
            true
        } else {
            false
        }
    }

    pub(super) fn send_test_message(&mut self, key: u32) {
        let Some(slot) = self.table.get_mut(key) else {
            return;
        };
        let Some(test) = slot.test_stream() else {
            return;
        };
        slot.count_test_message();
        let unix_ms = i64::try_from(self.shared.clock.unix_ms()).unwrap_or(i64::MAX);
        let time = chrono::DateTime::from_timestamp_millis(unix_ms).unwrap_or_default();
        let time = time.with_timezone(&chrono::Local).format("%H:%M:%S");
        let line = format!("Test message {} at {time}", test.next);
        self.send_signals(key, [Signal::TestLine(&line)]);
    }

    /// The earliest thing that may have to happen to a client.
    fn due(&self, key: u32, now: Tick) -> Option<Tick> {
        let slot = self.table.get(key)?;
        let stall = slot
            .backlog()
            .map(|backlog| backlog.progress().plus(self.stall_ticks));
        if slot.is_ending() {
            return stall;
        }
        if slot.is_worn() {
            return Some(now);
        }
        let mut due = if let Some(test) = slot.test_stream() {
            test.started
                .plus(test.next.wrapping_mul(TEST_INTERVAL_TICKS))
        } else if let Some(stall) = stall {
            // The silence is the client's own; it needs no heartbeat before it reads.
            stall
        } else if slot.is_rearmed() {
            let quarter = self.heartbeat_ticks / 4;
            let early = fastrand::u32(0..=quarter);
            slot.last_write.plus(self.heartbeat_ticks - early)
        } else {
            slot.last_write.plus(self.heartbeat_ticks)
        };
        if let Some(stall) = stall {
            due = due.min(stall);
        }
        if slot.expires_at_s != 0 {
            let at_ms = u64::from(slot.expires_at_s) * 1_000;
            let left_ms = at_ms.saturating_sub(self.shared.clock.unix_ms());
            let left = (left_ms * TICKS_PER_S)
                .div_ceil(1_000)
                .min(MAX_EXPIRY_TICKS);
            due = due.min(now.plus(u32::try_from(left).unwrap_or(u32::MAX)));
        }
        Some(due)
    }
}
