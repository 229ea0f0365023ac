//! Says in the log why clients get 401. The client itself gets no reason, so whoever runs the
//! server has to find the reason here: one line per reason every [`EVERY_MS`], since anybody can
//! cause them. Nothing of a credential is written.

use std::collections::HashMap;
use std::net::IpAddr;

use parking_lot::Mutex;

use crate::clock::Clock;

/// Between two lines about the same reason.
pub(super) const EVERY_MS: u64 = 10_000;

/// See the module's text. Reasons are few and fixed, so the map is bounded.
#[derive(Debug, Default)]
pub(super) struct Denials(Mutex<HashMap<&'static str, Told>>);

#[derive(Debug)]
struct Told {
    at_ms: u64,
    /// Denials since that were not logged.
    suppressed: u64,
}

impl Denials {
    /// Logs a denial, or counts it for the next line about its reason.
    pub(super) fn note(
        &self,
        clock: &Clock,
        reason: &'static str,
        credential: &'static str,
        remote: Option<IpAddr>,
    ) {
        if let Some(suppressed) = self.suppressed(reason, clock.now_ms()) {
            tracing::info!(reason, credential, ?remote, suppressed, "not authenticated");
        } else {
            tracing::debug!(reason, credential, ?remote, "not authenticated");
        }
    }

    /// How many denials the line to be written stands for beside its own; `None` if none is to be
    /// written.
    fn suppressed(&self, reason: &'static str, now_ms: u64) -> Option<u64> {
        let mut told = self.0.lock();
        let at_ms = now_ms;
        let Some(last) = told.get_mut(reason) else {
            let suppressed = 0;
            told.insert(reason, Told { at_ms, suppressed });
            return Some(0);
        };
        if now_ms < last.at_ms + EVERY_MS {
            last.suppressed += 1;
            return None;
        }
        last.at_ms = now_ms;
        Some(std::mem::take(&mut last.suppressed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_reason_has_a_line_every_ten_seconds_that_counts_the_others() {
        let denials = Denials::default();
        assert_eq!(denials.suppressed("expired", 5), Some(0));
        for _ in 0..7 {
            assert_eq!(denials.suppressed("expired", EVERY_MS + 4), None);
        }
        assert_eq!(denials.suppressed("bad_signature", 6), Some(0));
        assert_eq!(denials.suppressed("expired", EVERY_MS + 5), Some(7));
        assert_eq!(denials.suppressed("expired", 2 * EVERY_MS + 5), Some(0));
    }
}
