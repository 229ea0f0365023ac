//! Parsers of command-line values that clap does not provide.

use std::time::Duration;

/// A rate per second.
pub(super) fn rate(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(rate) if (0.001..=1e6).contains(&rate) => Ok(rate),
        _ => Err("expected a number a second, from 0.001 to 1000000".to_owned()),
    }
}

/// `KEY=VALUE`.
pub(super) fn setting(text: &str) -> Result<(String, String), String> {
    let (key, value) = text
        .split_once('=')
        .ok_or("expected KEY=VALUE, the value in TOML")?;
    Ok((key.trim().to_owned(), value.trim().to_owned()))
}

/// `10%` or `10`, from 1 to 99.
pub(super) fn per_cent(text: &str) -> Result<u32, String> {
    match text.strip_suffix('%').unwrap_or(text).parse() {
        Ok(share @ 1..=99) => Ok(share),
        _ => Err("expected a share from 1% to 99%".to_owned()),
    }
}

/// `250ms`, `10s`, `5m`, up to an hour.
pub(super) fn duration(text: &str) -> Result<Duration, String> {
    let digits = text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    let (number, unit) = text.split_at(digits);
    let unit_ms = match unit {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        _ => return Err("expected a time such as 250ms, 10s or 5m".to_owned()),
    };
    let ms = number
        .parse::<u32>()
        .ok()
        .and_then(|number| number.checked_mul(unit_ms));
    match ms {
        Some(ms @ 0..=3_600_000) => Ok(Duration::from_millis(u64::from(ms))),
        _ => Err("expected a time of at most an hour".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_is_from_1_to_99_percent() {
        assert_eq!((per_cent("10%"), per_cent("99")), (Ok(10), Ok(99)));
        for bad in ["0%", "100%", "-1", "1.5%", "%"] {
            assert!(per_cent(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn times_have_a_unit_and_a_limit() {
        assert_eq!(duration("250ms"), Ok(Duration::from_millis(250)));
        assert_eq!(duration("5m"), Ok(Duration::from_secs(300)));
        for bad in ["", "5", "s", "61m", "-1s", "99999999999s"] {
            assert!(duration(bad).is_err(), "{bad}");
        }
    }
}
