//! Limits the rate of a log line whose cause may occur a thousand times a second.

use std::time::Duration;

use parking_lot::Mutex;

use crate::clock::millis;

/// When the line was last written, and how often it was suppressed since then.
#[derive(Debug)]
pub(crate) struct Quiet {
    every_ms: u64,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    written_ms: Option<u64>,
    suppressed: u64,
}

impl Quiet {
    /// Allows one line per `every`.
    pub(crate) fn new(every: Duration) -> Self {
        Self {
            every_ms: millis(every),
            state: Mutex::default(),
        }
    }

    /// Returns the number of suppressed lines if a line may be written now; otherwise counts one more.
    pub(crate) fn suppressed(&self, now_ms: u64) -> Option<u64> {
        let mut state = self.state.lock();
        let is_early = |written_ms| now_ms.saturating_sub(written_ms) < self.every_ms;
        if state.written_ms.is_some_and(is_early) {
            state.suppressed += 1;
            return None;
        }
        state.written_ms = Some(now_ms);
        Some(std::mem::take(&mut state.suppressed))
    }

    #[cfg(test)]
    pub(crate) fn written_ms(&self) -> Option<u64> {
        self.state.lock().written_ms
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_counts_those_that_were_suppressed_before_it() {
        let quiet = Quiet::new(Duration::from_secs(1));
        let written: Vec<_> = [0, 1, 999, 1_000, 1_001, 3_000]
            .map(|now_ms| quiet.suppressed(now_ms))
            .into();
        assert_eq!(written, [Some(0), None, None, Some(2), None, Some(1)]);
    }
}
