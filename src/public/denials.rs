//! Logs why clients get a 401. The response gives no reason, so the log is where operators find it.
//! Anyone can cause these lines, so each reason is logged at most every 10 s. Credentials are never logged.

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::Duration;

use parking_lot::Mutex;

use crate::clock::Clock;
use crate::quiet::Quiet;

/// The minimum interval between two lines with the same reason.
const EVERY: Duration = Duration::from_secs(10);

/// The rate limit of the log lines about 401, per reason. Reasons are few and fixed, so the map is bounded.
#[derive(Debug, Default)]
pub(super) struct Denials(Mutex<HashMap<&'static str, Quiet>>);

impl Denials {
    /// Logs a denial, or counts it for the next line about its reason.
    pub(super) fn note(
        &self,
        clock: &Clock,
        reason: &'static str,
        credential: &'static str,
        remote: Option<IpAddr>,
    ) {
        let remote = remote.map(tracing::field::display);
        if let Some(suppressed) = self.suppressed(reason, clock.now_ms()) {
            tracing::info!(reason, credential, remote, suppressed, "not authenticated");
        } else {
            tracing::debug!(reason, credential, remote, "not authenticated");
        }
    }

    fn suppressed(&self, reason: &'static str, now_ms: u64) -> Option<u64> {
        let mut lines = self.0.lock();
        let line = lines.entry(reason).or_insert_with(|| Quiet::new(EVERY));
        line.suppressed(now_ms)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::millis;

    #[test]
    fn each_reason_is_logged_every_ten_seconds_with_the_number_of_suppressed_lines() {
        let denials = Denials::default();
        let every_ms = millis(EVERY);
        assert_eq!(denials.suppressed("expired", 5), Some(0));
        for _ in 0..7 {
            assert_eq!(denials.suppressed("expired", every_ms + 4), None);
        }
        assert_eq!(denials.suppressed("bad_signature", 6), Some(0));
        assert_eq!(denials.suppressed("expired", every_ms + 5), Some(7));
        assert_eq!(denials.suppressed("expired", 2 * every_ms + 5), Some(0));
    }
}
