//! Moments as the admin side's answers have them (RFC 3339, in UTC).

use chrono::{DateTime, SecondsFormat};

/// A moment in Unix seconds, to the second.
pub(super) fn of_seconds(unix_s: u64) -> String {
    written(unix_s.saturating_mul(1_000), SecondsFormat::Secs)
}

/// A moment in Unix milliseconds, to the millisecond.
pub(super) fn of_millis(unix_ms: u64) -> String {
    written(unix_ms, SecondsFormat::Millis)
}

fn written(unix_ms: u64, to: SecondsFormat) -> String {
    let unix_ms = i64::try_from(unix_ms).unwrap_or_default();
    let moment = DateTime::from_timestamp_millis(unix_ms).unwrap_or_default();
    moment.to_rfc3339_opts(to, true)
}
