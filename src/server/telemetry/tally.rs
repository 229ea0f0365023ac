//! Counts waiting and lost spans, and decides when to write log lines about them.

use std::fmt::Display;
use std::time::Duration;

use hyper::Uri;
use parking_lot::Mutex;

use crate::clock::Clock;
use crate::quiet::Quiet;

/// Shortest time between two log lines. A collector with short outages must not fill the log.
const EVERY: Duration = Duration::from_secs(60);

/// Counts of waiting and lost spans, and the log lines about them.
#[derive(Debug)]
pub(super) struct Tally {
    max_waiting: usize,
    endpoint: Uri,
    clock: Clock,
    lines: Quiet,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// Spans that were admitted and whose batch is not finished.
    waiting: usize,
    /// Spans lost since this number was last logged.
    lost: u64,
    /// The current outage has been logged.
    is_logged: bool,
}

impl Tally {
    pub(super) fn new(max_waiting: usize, endpoint: Uri, clock: Clock) -> Self {
        Self {
            max_waiting,
            endpoint,
            clock,
            lines: Quiet::new(EVERY),
            state: Mutex::default(),
        }
    }

    /// Admits a span and returns true if there is room for it. Otherwise, counts it as lost.
    pub(super) fn admit(&self) -> bool {
        let mut state = self.state.lock();
        let has_room = state.waiting < self.max_waiting;
        if has_room {
            state.waiting += 1;
        } else {
            state.lost += 1;
        }
        has_room
    }

    // Lines are written without the lock. Otherwise, threads that end a span could wait for stderr.

    /// Records that a batch has arrived.
    pub(super) fn arrived(&self, spans: usize) {
        let now_ms = self.clock.now_ms();
        let lost = {
            let mut state = self.state.lock();
            state.waiting = state.waiting.saturating_sub(spans);
            state.is_logged = false;
            let has_lost = state.lost > 0 && self.may_log(now_ms);
            has_lost.then(|| std::mem::take(&mut state.lost))
        };
        if let Some(lost) = lost {
            tracing::warn!(lost, endpoint = %self.endpoint, "telemetry: spans are exported, but some were lost");
        }
    }

    /// Records that a batch is lost.
    pub(super) fn failed(&self, spans: usize, error: &impl Display) {
        let now_ms = self.clock.now_ms();
        let is_due = {
            let mut state = self.state.lock();
            state.waiting = state.waiting.saturating_sub(spans);
            state.lost += spans as u64;
            let is_due = !state.is_logged && self.may_log(now_ms);
            state.is_logged |= is_due;
            is_due
        };
        if is_due {
            tracing::warn!(%error, endpoint = %self.endpoint, "telemetry: cannot export spans; dropping them until the export works again");
        }
    }

    /// Ends the export: spans that still wait are lost.
    pub(super) fn close(&self) {
        let lost = {
            let state = self.state.lock();
            state.lost + state.waiting as u64
        };
        if lost > 0 {
            tracing::warn!(lost, endpoint = %self.endpoint, "telemetry: spans were lost");
        }
    }

    /// Returns true if it is time for another line. The number of suppressed lines does not matter,
    /// because each line contains the number of lost spans.
    fn may_log(&self, now_ms: u64) -> bool {
        self.lines.suppressed(now_ms).is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tally() -> (Tally, Clock) {
        let clock = Clock::manual(0);
        let endpoint = Uri::from_static("http://127.0.0.1:4318/v1/traces");
        (Tally::new(3, endpoint, clock.clone()), clock)
    }

    #[test]
    fn waiting_spans_are_bounded_and_finished_batches_make_room() {
        let (tally, _) = tally();
        let admitted = (0..5).filter(|_| tally.admit()).count();
        assert_eq!((admitted, tally.state.lock().lost), (3, 2));
        tally.failed(2, &"gone");
        assert_eq!(tally.state.lock().lost, 4);
        assert!(tally.admit() && tally.admit() && !tally.admit());
    }

    #[test]
    fn an_outage_that_begins_in_the_quiet_minute_is_logged_after_it() {
        let (tally, clock) = tally();
        let logged_ms = || tally.lines.written_ms();
        tally.failed(1, &"gone");
        clock.advance(Duration::from_secs(30));
        tally.arrived(1);
        clock.advance(Duration::from_secs(10));
        tally.failed(1, &"gone again");
        assert_eq!(logged_ms(), Some(0));
        clock.advance(Duration::from_secs(20));
        tally.failed(1, &"still gone");
        assert_eq!(logged_ms(), Some(60_000));
        clock.advance(Duration::from_secs(60));
        tally.failed(1, &"still gone");
        assert_eq!(logged_ms(), Some(60_000), "once per outage");
    }

    #[test]
    fn a_collector_that_comes_and_goes_is_logged_once_a_minute() {
        let (tally, clock) = tally();
        tally.failed(1, &"gone");
        assert_eq!(tally.lines.written_ms(), Some(0));
        for _ in 0..59 {
            clock.advance(Duration::from_secs(1));
            tally.arrived(1);
            tally.failed(1, &"gone");
        }
        assert_eq!(tally.lines.written_ms(), Some(0));
        clock.advance(Duration::from_secs(1));
        tally.arrived(1);
        let logged_ms = tally.lines.written_ms();
        assert_eq!((logged_ms, tally.state.lock().lost), (Some(60_000), 0));
    }
}
