//! How many spans wait and how many were lost, and when that is worth a log line.

use std::fmt::Display;
use std::time::Duration;

use hyper::Uri;
use parking_lot::Mutex;

use crate::clock::Clock;
use crate::quiet::Quiet;

/// Between two log lines about the export: a collector that comes and goes must not fill the log.
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
    /// Spans that were let in and whose batch is not yet done.
    waiting: usize,
    /// Spans lost since that was last said.
    lost: u64,
    /// That batches do not arrive was said, and none has since.
    is_said: bool,
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

    /// Whether there is room for another span; it is lost where there is none.
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

    // Lines are written without the lock: whoever ends a span would wait for stderr.

    /// A batch has arrived.
    pub(super) fn arrived(&self, spans: usize) {
        let now_ms = self.clock.now_ms();
        let lost = {
            let mut state = self.state.lock();
            state.waiting = state.waiting.saturating_sub(spans);
            state.is_said = false;
            let has_lost = state.lost > 0 && self.may_say(now_ms);
            has_lost.then(|| std::mem::take(&mut state.lost))
        };
        if let Some(lost) = lost {
            tracing::warn!(lost, endpoint = %self.endpoint, "telemetry: spans are exported, but some were lost");
        }
    }

    /// A batch has not arrived and is gone.
    pub(super) fn failed(&self, spans: usize, error: &impl Display) {
        let now_ms = self.clock.now_ms();
        let is_news = {
            let mut state = self.state.lock();
            state.waiting = state.waiting.saturating_sub(spans);
            state.lost += spans as u64;
            let is_news = !state.is_said && self.may_say(now_ms);
            state.is_said |= is_news;
            is_news
        };
        if is_news {
            tracing::warn!(%error, endpoint = %self.endpoint, "telemetry: cannot export spans; they are dropped until that works again");
        }
    }

    /// Nothing is exported any more.
    pub(super) fn close(&self) {
        let lost = {
            let state = self.state.lock();
            state.lost + state.waiting as u64
        };
        if lost > 0 {
            tracing::warn!(lost, endpoint = %self.endpoint, "telemetry: spans were lost");
        }
    }

    /// Whether it is time for another line. How many there would have been is of no interest: each
    /// counts spans.
    fn may_say(&self, now_ms: u64) -> bool {
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
    fn what_waits_is_bounded_and_what_is_done_makes_room() {
        let (tally, _) = tally();
        let admitted = (0..5).filter(|_| tally.admit()).count();
        assert_eq!((admitted, tally.state.lock().lost), (3, 2));
        tally.failed(2, &"gone");
        assert_eq!(tally.state.lock().lost, 4);
        assert!(tally.admit() && tally.admit() && !tally.admit());
    }

    #[test]
    fn an_outage_that_begins_in_the_quiet_minute_is_said_after_it() {
        let (tally, clock) = tally();
        let said = || tally.lines.written_ms();
        tally.failed(1, &"gone");
        clock.advance(Duration::from_secs(30));
        tally.arrived(1);
        clock.advance(Duration::from_secs(10));
        tally.failed(1, &"gone again");
        assert_eq!(said(), Some(0));
        clock.advance(Duration::from_secs(20));
        tally.failed(1, &"still gone");
        assert_eq!(said(), Some(60_000));
        clock.advance(Duration::from_secs(60));
        tally.failed(1, &"still gone");
        assert_eq!(said(), Some(60_000), "once an outage");
    }

    #[test]
    fn a_collector_that_comes_and_goes_is_said_once_a_minute() {
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
        let said_ms = tally.lines.written_ms();
        assert_eq!((said_ms, tally.state.lock().lost), (Some(60_000), 0));
    }
}
