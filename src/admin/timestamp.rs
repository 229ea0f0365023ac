//! Formats times for the admin side's responses (RFC 3339, in UTC).

use chrono::{DateTime, SecondsFormat};

/// Formats a time in Unix seconds, to the second.
pub(super) fn of_seconds(unix_s: u64) -> String {
    format(unix_s.saturating_mul(1_000), SecondsFormat::Secs)
}

/// Formats a time in Unix milliseconds, to the millisecond.
pub(super) fn of_millis(unix_ms: u64) -> String {
    format(unix_ms, SecondsFormat::Millis)
}

fn format(unix_ms: u64, to: SecondsFormat) -> String {
    let unix_ms = i64::try_from(unix_ms).unwrap_or_default();
    let moment = DateTime::from_timestamp_millis(unix_ms).unwrap_or_default();
    moment.to_rfc3339_opts(to, true)
}
