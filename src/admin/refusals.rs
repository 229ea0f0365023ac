//! The log's word of what the admin side refuses: the keys that are none, and what could not be
//! done. A publisher that is told so a thousand times a second must not fill the log.

use std::net::SocketAddr;

use hyper::{Method, StatusCode};
use parking_lot::Mutex;

use super::answer::Problem;
use super::span;
use crate::clock::Clock;

/// Between two lines.
const QUIET_MS: u64 = 1_000;

/// See the module's text.
#[derive(Debug, Default)]
pub(super) struct Refusals {
    /// Anybody can be refused for his key, and must not hide what the server cannot do.
    of_key: Mutex<State>,
    of_server: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    said_ms: Option<u64>,
    /// Refused since then without a line.
    unsaid: u64,
}

impl Refusals {
    /// Notes a refusal, if an operator has to know it: what is only wrong in a request, its sender
    /// is told.
    pub(super) fn note(
        &self,
        problem: &Problem,
        method: &Method,
        route: Option<&'static str>,
        peer: Option<SocketAddr>,
        clock: &Clock,
    ) {
        let status = problem.status();
        let state = match status {
            StatusCode::UNAUTHORIZED => &self.of_key,
            status if status.is_server_error() => &self.of_server,
            _ => return,
        };
        let Some(unsaid) = state.lock().unsaid(clock.now_ms()) else {
            return;
        };
        tracing::warn!(
            status = status.as_u16(),
            method = span::known(method).unwrap_or("other"),
            route,
            peer = peer.map(tracing::field::display),
            reason = problem.message(),
            unsaid,
            "admin request refused"
        );
    }
}

impl State {
    /// How many were passed over since the last line, when it is time for another.
    fn unsaid(&mut self, now_ms: u64) -> Option<u64> {
        let is_quiet = |said_ms| now_ms.saturating_sub(said_ms) < QUIET_MS;
        if self.said_ms.is_some_and(is_quiet) {
            self.unsaid += 1;
            return None;
        }
        self.said_ms = Some(now_ms);
        Some(std::mem::take(&mut self.unsaid))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_has_one_line_that_says_how_many_it_stands_for() {
        let mut state = State::default();
        let said: Vec<_> = [0, 1, 999, 1_000, 1_001, 3_000]
            .map(|now_ms| state.unsaid(now_ms))
            .into();
        assert_eq!(said, [Some(0), None, None, Some(2), None, Some(1)]);
    }
}
