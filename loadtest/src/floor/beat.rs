//! Schedules the floor's heartbeats.

/// Heartbeats spread evenly over a period.
#[derive(Debug, Default)]
pub(super) struct Beat {
    period_ms: u64,
    start_ns: u64,
    sent: u64,
    /// The next connection in turn.
    pub(super) turn: usize,
}

impl Beat {
    /// One heartbeat to each connection per `period_ms`, from `start_ns`; 0 means none.
    pub(super) fn new(period_ms: u64, start_ns: u64) -> Self {
        Self {
            period_ms,
            start_ns,
            sent: 0,
            turn: 0,
        }
    }

    pub(super) fn is_on(&self) -> bool {
        self.period_ms > 0
    }

    /// The number of heartbeats due by `now_ns` for `conns` connections; counts them as sent.
    pub(super) fn due(&mut self, conns: usize, now_ns: u64) -> u64 {
        if !self.is_on() {
            return 0;
        }
        let elapsed_us = now_ns.saturating_sub(self.start_ns) / 1_000;
        let total = elapsed_us * conns as u64 / (self.period_ms * 1_000);
        let due = total.saturating_sub(self.sent);
        self.sent = self.sent.max(total);
        due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_period_has_one_heartbeat_per_connection_however_often_it_is_asked() {
        let mut beat = Beat::new(1_000, 0);
        let sent: u64 = (1..=100).map(|tick| beat.due(7, tick * 10_000_000)).sum();
        assert_eq!(sent, 7);
    }
}
