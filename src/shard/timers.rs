//! The timed actions of a stream: heartbeat, expiry, test message, stall.
//!
//! Each connection has one timer, which is armed for the earliest of them. A write only records its tick. A
//! heartbeat timer that fires too early is armed again, for a random point in the last quarter of the
//! heartbeat interval. So a broadcast does not synchronize the heartbeats of all clients.

use super::connection::{Connection, Gone};
use super::connections::Connections;
use super::heartbeat::{Heartbeat, Served, UnderWay};
use super::slot::Slot;
use super::wheel::{TICKS_PER_S, Tick};
use crate::metrics::DisconnectReason;
use crate::wire::{End, Signal, Wire};

/// The most timers fired in one turn, before the shard looks at its sockets and its inbox again. With
/// heartbeats, this takes about a millisecond.
const SLICE_TIMERS: usize = 128;
/// The longest timer for a token's expiry; a later expiry is checked again then. It is far below half the
/// range of a tick.
const MAX_EXPIRY_TICKS: u64 = 24 * 3_600 * TICKS_PER_S;

/// Fires the timers that are due at `now`. Returns true if there may be more.
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
        // Nothing is delivered meanwhile, so this heartbeat is valid for the whole slice.
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
    /// Does what is due. Returns [`Gone`] if that closed the stream or wrote its end.
    fn fire(self, now: Tick, heartbeat: &Heartbeat) -> Result<Self, Gone> {
        let Slot { carrier, stream } = self.all.table.at_mut(self.key);
        let is_stalled = carrier
            .backlog()
            .is_some_and(|backlog| now.since(backlog.progress()) >= self.all.stall_ticks);
        if is_stalled {
            return Err(self.close(DisconnectReason::Stalled));
        }
        if stream.is_ended() {
            return self.check_answer_to_end(now);
        }
        if carrier.wire() == Wire::WebSocket && self.all.pong_limit.review(carrier, now) {
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
            // If the end waits in the backlog, `end` has armed the timer.
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

    /// Sends a heartbeat if the time since the last write is long enough: the whole interval, or three
    /// quarters of it if the timer was armed for a random point after that.
    fn beat(self, now: Tick, heartbeat: &Heartbeat) -> Result<Self, Gone> {
        let (interval, least) = (self.all.heartbeat_ticks, self.all.least_silence());
        let Slot { carrier, stream } = self.all.table.at_mut(self.key);
        let silence = now.since(carrier.last_write());
        let enough = if stream.beats_early() {
            least
        } else {
            interval
        };
        let is_due = silence >= enough;
        stream.set_beats_early(!is_due);
        if is_due {
            self.send_heartbeat(heartbeat, now)
        } else {
            Ok(self)
        }
    }

    /// Sends a heartbeat.
    pub(super) fn send_heartbeat(mut self, heartbeat: &Heartbeat, now: Tick) -> Result<Self, Gone> {
        let slot = self.slot();
        let beat = heartbeat.beat(slot.stream.joined());
        if slot.carrier.wire() == Wire::WebSocket {
            self.note_ping(now);
        }
        let this = self.send_shared(|wire| beat.piece(wire), now)?;
        this.metrics().heartbeats.increment();
        Ok(this)
    }

    #[inline(never)] // an SSE client's heartbeat has no ping
    fn note_ping(&mut self, now: Tick) {
        let ping = self.all.pong_limit.time(now);
        self.slot_mut().carrier.note_ping(ping);
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

    /// The earliest tick at which the client's timer has to fire; `None` if its end has been sent and needs no answer.
    pub(super) fn due(&self, now: Tick) -> Option<Tick> {
        let (interval, stall_ticks) = (self.all.heartbeat_ticks, self.all.stall_ticks);
        let Slot { carrier, stream } = self.all.table.at(self.key);
        let stall = carrier
            .backlog()
            .map(|backlog| backlog.progress().plus(stall_ticks));
        if stream.is_ended() {
            return stall.or_else(|| self.answer_to_end_due());
        }
        if carrier.is_worn() {
            return Some(now);
        }
        let mut due = if let Some(test) = stream.test_stream() {
            test.due()
        } else if let Some(stall) = stall {
            // The client does not read, so a heartbeat would not reach it.
            stall
        } else if stream.beats_early() {
            let early = fastrand::u32(0..=interval / 4);
            carrier.last_write().plus(interval - early)
        } else {
            carrier.last_write().plus(interval)
        };
        if let Some(stall) = stall {
            due = due.min(stall);
        }
        if carrier.unanswered_ping().is_some() {
            due = self.pong_due(now).map_or(due, |pong| due.min(pong));
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

    #[inline(never)] // only WebSocket clients have pings to answer
    fn pong_due(&self, now: Tick) -> Option<Tick> {
        self.all.pong_limit.due(&self.slot().carrier, now)
    }
}

impl Connections {
    /// The shortest time since the last write, in ticks, after which a heartbeat may be sent.
    pub(super) fn least_silence(&self) -> u32 {
        self.heartbeat_ticks - self.heartbeat_ticks / 4
    }
}
