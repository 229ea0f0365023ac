//! Formats numbers and times for people.

/// A number with thousands separators and only significant digits.
pub(crate) fn number(value: f64) -> String {
    let decimals = match value.abs() {
        _ if value.fract() == 0.0 => 0,
        size if size >= 1_000.0 => 0,
        size if size >= 100.0 => 1,
        size if size >= 1.0 => 2,
        _ => 4,
    };
    grouped(value, decimals)
}

/// A number with `decimals` places and a comma every three digits.
pub(crate) fn grouped(value: f64, decimals: usize) -> String {
    let text = format!("{:.decimals$}", value.abs());
    let (whole, rest) = text.split_at(text.find('.').unwrap_or(text.len()));
    let mut out = String::new();
    if value < 0.0 {
        out.push('−');
    }
    for (at, digit) in whole.chars().enumerate() {
        if at > 0 && (whole.len() - at).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out + rest
}

/// Seconds since the Unix epoch as `2026-11-24 09:15 UTC`.
pub(crate) fn utc(unix_s: u64) -> String {
    let (days, minute) = (unix_s / 86_400, unix_s % 86_400 / 60);
    // Years start in March, so that a leap day is the last day of its year. 400 years have 146,097 days.
    let since = days + 719_468;
    let (era, day) = (since / 146_097, since % 146_097);
    let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
    let of_year = day - (365 * year + year / 4 - year / 100);
    let month = (5 * of_year + 2) / 153;
    let of_month = of_year - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    let year = era * 400 + year + u64::from(month <= 2);
    format!(
        "{year}-{month:02}-{of_month:02} {:02}:{:02} UTC",
        minute / 60,
        minute % 60
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_thousands_and_few_decimals() {
        let shown = [0.0, 15_000.0, 1_234.56, 236.544, 8.158, 0.0412, -1_500.0].map(number);
        assert_eq!(
            shown,
            ["0", "15,000", "1,235", "236.5", "8.16", "0.0412", "−1,500"]
        );
    }

    #[test]
    fn dates_are_right_across_leap_years() {
        assert_eq!(utc(0), "1970-01-01 00:00 UTC");
        assert_eq!(utc(951_782_400), "2000-02-29 00:00 UTC");
        assert_eq!(utc(1_767_225_599), "2025-12-31 23:59 UTC");
        assert_eq!(utc(1_795_511_700), "2026-11-24 09:15 UTC");
    }
}
