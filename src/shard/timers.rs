//! What happens to a client when time passes: heartbeat, expiry, test message, stall.
//!
//! One timer a connection stands for the earliest of them. Writing something only notes the
//! tick; a timer that fires early is armed again at a random point of the last quarter of the
//! heartbeat interval, so that a broadcast does not line everybody's heartbeats up.

use super::connection::{Connection, Gone};
use super::connections::Connections;
use super::heartbeat::{Heartbeat, Served, UnderWay};
use super::slot::Slot;
use super::wheel::{TICKS_PER_S, Tick};
use crate::metrics::DisconnectReason;
use crate::wire::{End, Signal, Wire};

/// Timers taken in one turn, about a millisecond of heartbeats, before the shard looks at its
/// sockets and its inbox again.
const SLICE_TIMERS: usize = 128;
/// A token's end further off is looked at again by then; far below half the range of a tick.
const MAX_EXPIRY_TICKS: u64 = 24 * 3_600 * TICKS_PER_S;

/// Takes the timers that are due at `now`; true where there may be more.
pub(super) fn run(
    connections: &mut Connections,
    served: &mut Served,
    under_way: impl Fn() -> UnderWay,
    now: Tick,
) -> bool {
    let mut heartbeat = None;
    for _ in 0..SLICE_TIMERS {
        let Some(key) = connections.pop_due(now) else {
            return false;
        };
        // Nothing is delivered meanwhile, so it holds for the whole slice.
        let heartbeat =
            heartbeat.get_or_insert_with(|| served.heartbeat(connections, under_way(), now));
        if let Some(connection) = connections.get(key)
            && let Ok(mut connection) = connection.fire(now, heartbeat)
        {
            connection.arm_at(now);
        }
    }
    true
}

impl Connection<'_> {
    /// Does what is due; gone where that ended the client, or its end is on the way out.
    fn fire(mut self, now: Tick, heartbeat: &Heartbeat) -> Result<Self, Gone> {
        let Slot { carrier, stream } = self.all.table.at(self.key);
        let is_stalled = carrier
            .backlog()
            .is_some_and(|backlog| now.since(backlog.progress()) >= self.all.stall_ticks);
        if is_stalled {
            return Err(self.close(DisconnectReason::Stalled));
        }
        if stream.is_ended() {
            let has_waited = now.since(carrier.last_write()) >= self.all.stall_ticks;
            if has_waited && !carrier.is_backlogged() {
                return Err(self.close(DisconnectReason::Stalled));
            }
            return Ok(self);
        }
        self.slot_mut().carrier.review_inbound(now);
        let Slot { carrier, stream } = self.all.table.at(self.key);
        if self.pong_deadline(now).is_some_and(|due| now.reached(due)) {
            return Err(self.close(DisconnectReason::Stalled));
        }
        if carrier.is_worn() {
            return self.end_drained();
        }
        let unix_ms = || self.all.shared.clock.unix_ms();
        if stream
            .expires_at_ms()
            .is_some_and(|at_ms| at_ms <= unix_ms())
        {
            // An end that waits in the backlog has armed its own timer.
            self.end(End::Expired, None);
            return Err(Gone);
        }
        if let Some(test) = stream.test_stream() {
            if now.reached(test.due()) {
                return self.send_test_message();
            }
        } else if !carrier.is_backlogged() {
            return self.beat(now, heartbeat);
        }
        Ok(self)
    }

    /// Sends a heartbeat if the silence is long enough for this timer: the whole interval, or
    /// its last quarter where the timer was drawn from that.
    fn beat(self, now: Tick, heartbeat: &Heartbeat) -> Result<Self, Gone> {
        let (interval, least) = (self.all.heartbeat_ticks, self.all.least_silence());
        let Slot { carrier, stream } = self.all.table.at_mut(self.key);
        let silence = now.since(carrier.last_write());
        let enough = if stream.is_rearmed() { least } else { interval };
        let is_due = silence >= enough;
        stream.set_rearmed(!is_due);
        if is_due {
            self.send_heartbeat(heartbeat, now)
        } else {
            Ok(self)
        }
    }

    /// Sends a heartbeat.
    pub(super) fn send_heartbeat(self, heartbeat: &Heartbeat, now: Tick) -> Result<Self, Gone> {
        let beat = heartbeat.beat(self.slot().stream.joined());
        let mut this = self.send_shared(|wire| beat.piece(wire), now)?;
        this.metrics().heartbeats.increment();
        let pong_limit = this.all.pong_limit;
        let carrier = &mut this.slot_mut().carrier;
        if carrier.wire() == Wire::WebSocket {
            carrier.note_ping(pong_limit.time(now));
        }
        Ok(this)
    }

    /// When a WebSocket client is closed that answers no ping. A client with a backlog is not: it may not have
    /// received the ping, and what it sends is not read.
    fn pong_deadline(&self, now: Tick) -> Option<Tick> {
        let carrier = &self.slot().carrier;
        let ping = carrier.unanswered_ping()?;
        (!carrier.is_backlogged()).then(|| self.all.pong_limit.deadline(ping, now))
    }

    /// Sends a test stream's next message.
    pub(super) fn send_test_message(mut self) -> Result<Self, Gone> {
        let Some(test) = self.slot().stream.test_stream() else {
            return Ok(self);
        };
        self.slot_mut().stream.count_test_message();
        let unix_ms = self.all.shared.clock.unix_ms();
        let unix_ms = i64::try_from(unix_ms).unwrap_or(i64::MAX);
        let time = chrono::DateTime::from_timestamp_millis(unix_ms).unwrap_or_default();
        let time = time.with_timezone(&chrono::Local).format("%H:%M:%S");
        let line = format!("Test message {} at {time}", test.next);
        self.send_signals([Signal::TestLine(&line)])
    }

    /// The earliest thing that may have to happen to a client; nothing to one whose end is out, unless it has to
    /// answer.
    pub(super) fn due(&self, now: Tick) -> Option<Tick> {
        let (interval, stall_ticks) = (self.all.heartbeat_ticks, self.all.stall_ticks);
        let Slot { carrier, stream } = self.all.table.at(self.key);
        let stall = carrier
            .backlog()
            .map(|backlog| backlog.progress().plus(stall_ticks));
        if stream.is_ended() {
            let answer = carrier.wire().has_closing_handshake();
            return stall.or_else(|| answer.then(|| carrier.last_write().plus(stall_ticks)));
        }
        if carrier.is_worn() {
            return Some(now);
        }
        let mut due = if let Some(test) = stream.test_stream() {
            test.due()
        } else if let Some(stall) = stall {
            // The silence is the client's own; it needs no heartbeat before it reads.
            stall
        } else if stream.is_rearmed() {
            let early = fastrand::u32(0..=interval / 4);
            carrier.last_write().plus(interval - early)
        } else {
            carrier.last_write().plus(interval)
        };
        if let Some(stall) = stall {
            due = due.min(stall);
        }
        if let Some(deadline) = self.pong_deadline(now) {
            due = due.min(deadline);
        }
        if let Some(at_ms) = stream.expires_at_ms() {
            let unix_ms = self.all.shared.clock.unix_ms();
            let left = (at_ms.saturating_sub(unix_ms) * TICKS_PER_S)
                .div_ceil(1_000)
                .min(MAX_EXPIRY_TICKS);
            due = due.min(now.plus(u32::try_from(left).unwrap_or(u32::MAX)));
        }
        Some(due)
    }
}

impl Connections {
    /// The shortest silence that a heartbeat ends.
    pub(super) fn least_silence(&self) -> u32 {
        self.heartbeat_ticks - self.heartbeat_ticks / 4
    }
}
