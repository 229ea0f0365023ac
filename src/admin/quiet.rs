//! A log line that says at most once a second what may happen a thousand times.

use parking_lot::Mutex;

/// Between two lines.
const QUIET_MS: u64 = 1_000;

/// When the line was last written, and how often it was not since.
#[derive(Debug, Default)]
pub(super) struct Quiet(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    written_ms: Option<u64>,
    suppressed: u64,
}

impl Quiet {
    /// How many lines were suppressed since the last one, if it is time for another.
    pub(super) fn suppressed(&self, now_ms: u64) -> Option<u64> {
        let mut state = self.0.lock();
        let is_quiet = |written_ms| now_ms.saturating_sub(written_ms) < QUIET_MS;
        if state.written_ms.is_some_and(is_quiet) {
            state.suppressed += 1;
            return None;
        }
        state.written_ms = Some(now_ms);
        Some(std::mem::take(&mut state.suppressed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_has_one_line_that_says_how_many_it_stands_for() {
        let quiet = Quiet::default();
        let written: Vec<_> = [0, 1, 999, 1_000, 1_001, 3_000]
            .map(|now_ms| quiet.suppressed(now_ms))
            .into();
        assert_eq!(written, [Some(0), None, None, Some(2), None, Some(1)]);
    }
}
