//! Going down without a stampede: streams end at a rate, each with a reconnect delay of its own.

use super::Shard;
use super::wheel::{TICKS_PER_S, Tick};
use crate::frame::Frame;
use crate::metrics::DisconnectReason;

/// A drain under way.
#[derive(Debug)]
pub(super) struct Drain {
    started_ms: u64,
    streams_per_s: u32,
    ended: u64,
    /// The next slot to look at.
    next: u32,
}

impl Shard {
    /// Does what was ordered past the queue; true once everything has been ended.
    pub(super) fn take_orders(&mut self) -> bool {
        let inbox = self.shared.inbox(self.number);
        inbox.note_turn();
        let (rate, is_stopped) = (inbox.drain_order(), inbox.is_stopped());
        if let Some(streams_per_s) = rate {
            self.start_drain(streams_per_s);
        }
        if is_stopped {
            self.end_everything();
        }
        is_stopped
    }

    fn start_drain(&mut self, streams_per_s: u32) {
        if self.drain.is_none() {
            self.drain = Some(Drain {
                started_ms: self.shared.clock.now_ms(),
                streams_per_s,
                ended: 0,
                next: 0,
            });
        }
    }

    /// Whether the shard accepts no more.
    pub(super) fn is_draining(&self) -> bool {
        self.drain.is_some()
    }

    /// Ends as many streams as the rate allows by now.
    pub(super) fn run_drain(&mut self) {
        let Some(mut drain) = self.drain.take() else {
            return;
        };
        let elapsed_ms = self.shared.clock.now_ms().saturating_sub(drain.started_ms);
        // The first tick's share ends at once, so that an almost empty server goes at once.
        let allowed = (elapsed_ms + 1_000 / TICKS_PER_S) * u64::from(drain.streams_per_s) / 1_000;
        while drain.ended <= allowed && drain.next < self.table.end() {
            let key = drain.next;
            drain.next += 1;
            if self.end_drained(key) {
                drain.ended += 1;
            }
        }
        self.drain = Some(drain);
    }

    /// When the drain goes on; `None` when all streams have been told.
    pub(super) fn next_drain_tick(&self, now: Tick) -> Option<Tick> {
        let drain = self.drain.as_ref()?;
        (drain.next < self.table.end()).then(|| now.plus(1))
    }

    /// Ends all streams now; what then stays unsent is lost with the socket.
    fn end_everything(&mut self) {
        self.start_drain(u32::MAX);
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
        let retry = Frame::retry(self.draw_retry_ms());
        self.end(key, Some(&retry), DisconnectReason::Drained);
        true
    }
}
