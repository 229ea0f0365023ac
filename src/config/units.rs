//! Durations (`250ms`, `30s`) and sizes (`64KiB`) as written in the configuration.
//!
//! Parses them, and writes the shortest text that reads back as the same value.

use std::time::Duration;

use toml::Value;

use super::findings::Findings;
use super::setting::{Form, Setting, shown};

const DAY_MS: u64 = 24 * 60 * 60 * 1000;

/// Units of time, longest first, in milliseconds.
const TIMES_MS: [(&str, u64); 5] = [
    ("d", DAY_MS),
    ("h", 60 * 60 * 1000),
    ("m", 60 * 1000),
    ("s", 1000),
    ("ms", 1),
];

/// Units of size, largest first, in bytes.
const SIZES_BYTES: [(&str, usize); 3] = [("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)];

/// Parses a duration such as `250ms`, `30s`, `10m`, `24h` or `30d`. Only `0` needs no unit.
///
/// # Errors
/// One line with the text and the valid forms.
pub(crate) fn parse_duration(text: &str) -> Result<Duration, String> {
    let refused = |what: &str| format!("`{text}` {what} (write e.g. 250ms, 30s, 10m, 24h or 30d)");
    let (number, unit) = split(text);
    let number: u64 = number
        .parse()
        .map_err(|_| refused("is not a duration, a whole number with a unit"))?;
    if unit.is_empty() && number == 0 {
        return Ok(Duration::ZERO);
    }
    if unit.is_empty() {
        return Err(format!(
            "`{text}` has no unit (write e.g. {number}s for seconds; other units: ms, m, h, d)"
        ));
    }
    let (_, unit_ms) = TIMES_MS
        .into_iter()
        .find(|(name, _)| *name == unit)
        .ok_or_else(|| refused("has an unknown unit"))?;
    number
        .checked_mul(unit_ms)
        .map(Duration::from_millis)
        .ok_or_else(|| refused("is longer than can be counted"))
}

/// Parses a size such as `64KiB`, `64MiB`, or a plain number of bytes.
///
/// # Errors
/// One line with the text and the valid forms.
pub(crate) fn parse_size(text: &str) -> Result<usize, String> {
    let refused = |what: &str| format!("`{text}` {what} (write e.g. 64KiB, 64MiB or plain bytes)");
    let (number, unit) = split(text);
    let number: usize = number
        .parse()
        .map_err(|_| refused("is not a size, a whole number with or without a unit"))?;
    if unit.is_empty() {
        return Ok(number);
    }
    let (_, unit_bytes) = SIZES_BYTES
        .into_iter()
        .find(|(name, _)| *name == unit)
        .ok_or_else(|| refused("has an unknown unit"))?;
    number
        .checked_mul(unit_bytes)
        .ok_or_else(|| refused("is more than can be counted"))
}

/// Splits a text into its leading digits and the rest (`10 m` is the same as `10m`).
fn split(text: &str) -> (&str, &str) {
    let text = text.trim();
    let end = text
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    (number, unit.trim_start())
}

/// The shortest text for `duration`, in whole milliseconds. One day is written as 24 hours, as is usual.
pub(super) fn duration_text(duration: Duration) -> String {
    let ms = crate::clock::millis(duration);
    if ms == 0 {
        return "0s".to_owned();
    }
    TIMES_MS
        .into_iter()
        .find(|(_, unit_ms)| ms.is_multiple_of(*unit_ms) && !(ms == DAY_MS && *unit_ms == DAY_MS))
        .map_or_else(String::new, |(name, unit_ms)| {
            format!("{}{name}", ms / unit_ms)
        })
}

/// The shortest text for `bytes`, in the largest unit that divides it.
fn size_text(bytes: usize) -> String {
    SIZES_BYTES
        .into_iter()
        .find(|(_, unit_bytes)| bytes > 0 && bytes.is_multiple_of(*unit_bytes))
        .map_or_else(
            || bytes.to_string(),
            |(name, unit_bytes)| format!("{}{name}", bytes / unit_bytes),
        )
}

impl Setting for Duration {
    type Value = Self;
    const FORM: Form = Form::Text;
    const IS_SHOWN: bool = true;

    fn read(value: Value, key: &str, findings: &mut Findings) -> Option<Self> {
        let read = match value {
            Value::Integer(0) => Ok(Self::ZERO),
            Value::Integer(number) if number > 0 => Err(format!(
                "`{number}` has no unit (write e.g. \"{number}s\" for seconds; other units: ms, m, h, d)"
            )),
            Value::String(text) => parse_duration(&text),
            other => Err(format!("{} (write e.g. \"30s\")", shown(&other))),
        };
        findings.note(key, read)
    }

    fn write(value: &Self) -> Value {
        Value::String(duration_text(*value))
    }
}

/// Reads and writes sizes in bytes: `"64KiB"`, or a number.
pub(super) enum Size {}

impl Setting for Size {
    type Value = usize;
    const FORM: Form = Form::Text;
    const IS_SHOWN: bool = true;

    fn read(value: Value, key: &str, findings: &mut Findings) -> Option<usize> {
        let read = match value {
            Value::Integer(bytes) => parse_size(&bytes.to_string()),
            Value::String(text) => parse_size(&text),
            other => Err(format!(
                "{} (write e.g. \"64KiB\" or plain bytes)",
                shown(&other)
            )),
        };
        findings.note(key, read)
    }

    fn write(value: &usize) -> Value {
        match size_text(*value) {
            // Without a unit.
            text if text.bytes().all(|byte| byte.is_ascii_digit()) => {
                i64::try_from(*value).map_or(Value::String(text), Value::Integer)
            }
            text => Value::String(text),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn durations_read_as_documented() {
        for (text, ms) in [
            ("250ms", 250),
            ("30s", 30_000),
            ("10m", 600_000),
            ("24h", 86_400_000),
            ("1d", 86_400_000),
            ("30d", 2_592_000_000),
            (" 2 s ", 2_000),
            ("0s", 0),
            ("0", 0),
        ] {
            assert_eq!(
                parse_duration(text),
                Ok(Duration::from_millis(ms)),
                "{text:?}"
            );
        }
    }

    #[test]
    fn sizes_read_as_documented() {
        for (text, bytes) in [
            ("65536", 65_536),
            ("64KiB", 65_536),
            ("64MiB", 64 << 20),
            ("1GiB", 1 << 30),
            ("0", 0),
        ] {
            assert_eq!(parse_size(text), Ok(bytes), "{text:?}");
        }
    }

    #[test]
    fn anything_else_is_rejected_with_its_text_and_a_remedy() {
        for text in [
            "",
            "s",
            "-1s",
            "1.5s",
            "30 sec",
            "1w",
            "1h30m",
            "99999999999999999999s",
            "18446744073709551615h",
        ] {
            let error = parse_duration(text).unwrap_err();
            assert!(
                error.contains(&format!("`{text}`")) && error.contains("250ms"),
                "{error}"
            );
        }
        for text in [
            "",
            "KiB",
            "-1",
            "1.5MiB",
            "64KB",
            "64kib",
            "18446744073709551615GiB",
        ] {
            let error = parse_size(text).unwrap_err();
            assert!(
                error.contains(&format!("`{text}`")) && error.contains("64KiB"),
                "{error}"
            );
        }
    }

    #[test]
    fn a_number_without_a_unit_is_rejected_with_the_way_to_write_it() {
        let error = parse_duration("30").unwrap_err();
        assert!(
            error.starts_with("`30` ") && error.contains("30s "),
            "{error}"
        );
    }

    #[test]
    fn values_are_written_in_their_largest_whole_unit() {
        for (ms, text) in [
            (0, "0s"),
            (1, "1ms"),
            (1_000, "1s"),
            (90_000, "90s"),
            (86_400_000, "24h"),
            (90_000_000, "25h"),
            (30 * 86_400_000, "30d"),
        ] {
            assert_eq!(duration_text(Duration::from_millis(ms)), text);
        }
        for (bytes, text) in [
            (0, "0"),
            (1_000, "1000"),
            (1_024, "1KiB"),
            (64 << 20, "64MiB"),
        ] {
            assert_eq!(size_text(bytes), text);
        }
    }

    proptest! {
        #[test]
        fn a_written_duration_reads_back(ms: u64) {
            let duration = Duration::from_millis(ms);
            prop_assert_eq!(parse_duration(&duration_text(duration)), Ok(duration));
        }

        #[test]
        fn a_written_size_reads_back(bytes: usize, shift in 0_u32..40) {
            let bytes = bytes >> shift << shift; // many trailing zeros, so that units occur
            prop_assert_eq!(parse_size(&size_text(bytes)), Ok(bytes));
        }

        #[test]
        fn no_text_makes_the_parsers_panic(text: String) {
            let _ = (parse_duration(&text), parse_size(&text));
        }
    }
}
