//! Ends all streams before a shutdown. The streams end at a fixed rate and with random reconnect delays, so
//! that the clients do not all reconnect at once. Each delay is drawn by `Connections::draw_retry_ms`.

use super::connection::Gone;
use super::connections::Connections;
use super::wheel::{TICKS_PER_S, next_tick_ms};
use crate::metrics::DisconnectReason;

/// A drain in progress.
#[derive(Debug)]
pub(super) struct Drain {
    started_ms: u64,
    streams_per_s: u32,
    ended: u64,
    /// The next slot to look at.
    next: u32,
    /// The time at which the next stream may end, computed from the last run's clock reading.
    due_ms: u64,
}

impl Drain {
    /// Starts to end streams at this rate. From now on, connections are closed after their stream.
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

    /// Ends as many streams as the rate allows until `now_ms`, the turn's clock reading.
    pub(super) fn run(&mut self, connections: &mut Connections, now_ms: u64) {
        let elapsed_ms = now_ms.saturating_sub(self.started_ms);
        // The first tick's share ends at once, so that an almost empty server does not wait.
        let allowed = (elapsed_ms + 1_000 / TICKS_PER_S) * u64::from(self.streams_per_s) / 1_000;
        while self.ended <= allowed && self.next < connections.table.end() {
            let key = self.next;
            self.next += 1;
            let Some(connection) = connections.get(key) else {
                continue;
            };
            match connection.end_drained() {
                Err(Gone) => self.ended += 1,
                // It waits for its client's answer, and from now on not for long.
                Ok(mut connection) => connection.arm(),
            }
        }
        // Computed from the turn's reading: a later one would skip streams that became due in between.
        self.due_ms = next_tick_ms(now_ms);
    }

    /// The time at which the drain continues; `None` if it has ended every stream.
    pub(super) fn due_ms(&self, connections: &Connections) -> Option<u64> {
        (self.next < connections.table.end()).then_some(self.due_ms)
    }

    /// Ends all streams now. Bytes that their sockets do not take are lost.
    pub(super) fn stop(connections: &mut Connections) {
        for key in 0..connections.table.end() {
            if let Some(connection) = connections.get(key) {
                // Sends the end first, as far as the socket takes it.
                let _ = connection.end_drained();
            }
            if let Some(connection) = connections.get(key) {
                connection.close(DisconnectReason::Drained);
            }
        }
    }
}

#[cfg(test)]
mod tests;
