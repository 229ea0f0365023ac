//! Going down without a stampede: streams end at a rate, each with a reconnect delay of its own.

use super::Shard;
use super::wheel::{TICKS_PER_S, next_tick_ms};
use crate::metrics::DisconnectReason;
use crate::wire::End;

/// A drain under way.
#[derive(Debug)]
pub(super) struct Drain {
    started_ms: u64,
    streams_per_s: u32,
    ended: u64,
    /// The next slot to look at.
    next: u32,
    /// When another stream may end, from the reading that ended the last one.
    due_ms: u64,
}

impl Shard {
    /// Does what was ordered past the queue; true once everything has been ended.
    pub(super) fn take_orders(&mut self, now_ms: u64) -> bool {
        let inbox = self.shared.hub.inbox(self.number);
        inbox.note_turn();
        let (rate, is_stopped) = (inbox.drain_order(), inbox.is_stopped());
        if let Some(streams_per_s) = rate {
            self.start_drain(streams_per_s, now_ms);
        }
        if is_stopped {
            self.end_everything(now_ms);
        }
        is_stopped
    }

    fn start_drain(&mut self, streams_per_s: u32, now_ms: u64) {
        if self.drain.is_none() {
            self.drain = Some(Drain {
                started_ms: now_ms,
                streams_per_s,
                ended: 0,
                next: 0,
                due_ms: now_ms,
            });
        }
    }

    /// Whether the shard accepts no more.
    pub(super) fn is_draining(&self) -> bool {
        self.drain.is_some()
    }

    /// Ends as many streams as the rate allows by `now_ms`, the turn's reading of the clock.
    pub(super) fn run_drain(&mut self, now_ms: u64) {
        let Some(mut drain) = self.drain.take() else {
            return;
        };
        let elapsed_ms = now_ms.saturating_sub(drain.started_ms);
        // The first tick's share ends at once, so that an almost empty server goes at once.
        let allowed = (elapsed_ms + 1_000 / TICKS_PER_S) * u64::from(drain.streams_per_s) / 1_000;
        while drain.ended <= allowed && drain.next < self.table.end() {
            let key = drain.next;
            drain.next += 1;
            if self.end_drained(key) {
                drain.ended += 1;
            }
        }
        // A later reading would skip what became due in between.
        drain.due_ms = next_tick_ms(now_ms);
        self.drain = Some(drain);
    }

    /// When the drain goes on; `None` when all streams have been told.
    pub(super) fn drain_due_ms(&self) -> Option<u64> {
        let drain = self.drain.as_ref()?;
        (drain.next < self.table.end()).then_some(drain.due_ms)
    }

    /// Ends all streams now; what then stays unsent is lost with the socket.
    fn end_everything(&mut self, now_ms: u64) {
        self.start_drain(u32::MAX, now_ms);
        for key in 0..self.table.end() {
            self.end_drained(key);
            self.close(key, DisconnectReason::Drained);
        }
    }

    /// Ends a stream so that its client comes back; false where it is ending already.
    pub(super) fn end_drained(&mut self, key: u32) -> bool {
        if self.table.get(key).is_none_or(super::slot::Slot::is_ending) {
            return false;
        }
        let retry_ms = self.draw_retry_ms();
        self.end(key, End::GoingAway { retry_ms }, None);
        true
    }
}
