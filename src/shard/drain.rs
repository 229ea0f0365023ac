//! Ends all streams before a shutdown, at a rate and each with its own reconnect delay, so that the clients do not
//! all come back at once.

use super::connections::Connections;
use super::wheel::{TICKS_PER_S, next_tick_ms};
use crate::metrics::DisconnectReason;

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

impl Drain {
    /// Begins to end streams, so many a second. From now on all connections are closed.
    pub(super) fn begin(connections: &mut Connections, streams_per_s: u32, now_ms: u64) -> Self {
        connections.exits.is_draining = true;
        Self {
            started_ms: now_ms,
            streams_per_s,
            ended: 0,
            next: 0,
            due_ms: now_ms,
        }
    }

    /// Ends as many streams as the rate allows by `now_ms`, the turn's reading of the clock.
    pub(super) fn run(&mut self, connections: &mut Connections, now_ms: u64) {
        let elapsed_ms = now_ms.saturating_sub(self.started_ms);
        // The first tick's share ends at once, so that an almost empty server goes at once.
        let allowed = (elapsed_ms + 1_000 / TICKS_PER_S) * u64::from(self.streams_per_s) / 1_000;
        while self.ended <= allowed && self.next < connections.table.end() {
            let key = self.next;
            self.next += 1;
            if let Some(connection) = connections.get(key)
                && connection.end_drained().is_err()
            {
                self.ended += 1;
            }
        }
        // A later reading would skip what became due in between.
        self.due_ms = next_tick_ms(now_ms);
    }

    /// When the drain continues; `None` when the end of every stream has been sent.
    pub(super) fn due_ms(&self, connections: &Connections) -> Option<u64> {
        (self.next < connections.table.end()).then_some(self.due_ms)
    }

    /// Ends all streams now. Bytes that their sockets do not take are lost.
    pub(super) fn stop(connections: &mut Connections) {
        for key in 0..connections.table.end() {
            if let Some(connection) = connections.get(key) {
                // The end is sent first, as far as the socket takes it.
                let _ = connection.end_drained();
            }
            if let Some(connection) = connections.get(key) {
                connection.close(DisconnectReason::Drained);
            }
        }
    }
}
