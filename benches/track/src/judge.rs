//! Decides what is a regression: over 2 % more instructions in any benchmark, or over 5 % more bytes per
//! connection, than the line that a run is compared with. A figure of that line that the run lacks is a
//! regression, too. Times are never compared.

use std::fmt;

use crate::measured::{Figures, KERNEL, USER};

/// Instructions are counted, not measured: more of them are caused by the code.
pub(crate) const MOST_MORE_INSTRUCTIONS: f64 = 0.02;
/// The process grows by whole pages of the allocator; the median of five runs varies by about 2 %.
pub(crate) const MOST_MORE_BYTES: f64 = 0.05;

/// The change of one figure.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Change {
    pub(crate) name: String,
    pub(crate) before: Option<f64>,
    pub(crate) now: Option<f64>,
    /// The limit of its growth, as a fraction.
    most_more: f64,
    pub(crate) verdict: Verdict,
}

/// The meaning of a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    Fine,
    /// There is nothing to compare it with.
    New,
    /// The growth exceeds the limit.
    Regressed,
    /// It was measured before, and is missing now.
    Missing,
    /// It needs root, so it was not measured.
    NotMeasured,
}

impl Verdict {
    /// Returns true if it makes a run fail.
    pub(crate) fn is_bad(self) -> bool {
        matches!(self, Self::Regressed | Self::Missing)
    }
}

impl Change {
    /// The growth, as a fraction.
    pub(crate) fn growth(&self) -> Option<f64> {
        let before = self.before.filter(|&before| before > 0.0)?;
        Some(self.now? / before - 1.0)
    }

    /// A description of the failure.
    pub(crate) fn sentence(&self) -> String {
        match self.growth() {
            Some(growth) => format!(
                "{}: {:.2} % more, over {:.0} %",
                self.name,
                growth * 100.0,
                self.most_more * 100.0
            ),
            None => format!("{}: was measured before, now it is not", self.name),
        }
    }
}

/// Compares a run with the previous one, figure by figure.
pub(crate) fn judge(before: &Figures, now: &Figures) -> Vec<Change> {
    let mut changes = Vec::new();
    let names = before.instructions.keys().chain(now.instructions.keys());
    let names: std::collections::BTreeSet<&String> = names.collect();
    for name in names {
        let of = |figures: &Figures| figures.instructions.get(name).map(|&count| as_f64(count));
        changes.push(change(
            name.clone(),
            of(before),
            of(now),
            MOST_MORE_INSTRUCTIONS,
        ));
    }
    for name in [USER, KERNEL] {
        let of = |figures: &Figures| figures.bytes.get(name).copied();
        let label = format!("{name} bytes per connection");
        let mut change = change(label, of(before), of(now), MOST_MORE_BYTES);
        if name == KERNEL && change.now.is_none() {
            change.verdict = Verdict::NotMeasured;
        } else if change.now.is_none() {
            change.verdict = Verdict::Missing;
        }
        changes.push(change);
    }
    changes
}

fn change(name: String, before: Option<f64>, now: Option<f64>, most_more: f64) -> Change {
    let verdict = match (before, now) {
        (Some(before), Some(now)) if now > before * (1.0 + most_more) => Verdict::Regressed,
        (Some(_), Some(_)) => Verdict::Fine,
        (None, _) => Verdict::New,
        (Some(_), None) => Verdict::Missing,
    };
    Change {
        name,
        before,
        now,
        most_more,
        verdict,
    }
}

#[expect(clippy::cast_precision_loss, reason = "counts, far below 2^53")]
pub(crate) fn as_f64(count: u64) -> f64 {
    count as f64
}

impl fmt::Display for Change {
    /// A row of the table on the terminal.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let number = |value: Option<f64>| {
            value.map_or_else(|| "-".to_owned(), |value| format!("{value:.0}"))
        };
        let growth = self
            .growth()
            .map_or_else(String::new, |growth| format!("{:+.2} %", growth * 100.0));
        let verdict = match self.verdict {
            Verdict::Fine => "",
            Verdict::New => "new",
            Verdict::Regressed => "REGRESSED",
            Verdict::Missing => "MISSING",
            Verdict::NotMeasured => "not measured: only root may read /proc/slabinfo",
        };
        let row = format!(
            "  {:<32}{:>12}{:>12}{growth:>11}  {verdict}",
            self.name,
            number(self.before),
            number(self.now),
        );
        f.write_str(row.trim_end())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::tests::line;

    fn bad(before: &Figures, now: &Figures) -> Vec<(String, Verdict)> {
        judge(before, now)
            .into_iter()
            .filter(|change| change.verdict.is_bad())
            .map(|change| (change.name, change.verdict))
            .collect()
    }

    fn figures(count: u64, user_bytes: f64) -> Figures {
        line("x", count, user_bytes).figures
    }

    #[test]
    fn two_percent_more_instructions_are_the_limit() {
        let before = figures(100_000, 120.0);
        assert_eq!(bad(&before, &figures(101_900, 120.0)), []);
        assert_eq!(bad(&before, &figures(102_000, 120.0)), []);
        let regressed = [("delivery/broadcast".to_owned(), Verdict::Regressed)];
        assert_eq!(bad(&before, &figures(102_100, 120.0)), regressed);
        assert_eq!(bad(&before, &figures(1, 120.0)), []);
    }

    #[test]
    fn five_percent_more_bytes_are_the_limit() {
        let before = figures(1, 100.0);
        assert_eq!(bad(&before, &figures(1, 104.9)), []);
        let user = ("user bytes per connection".to_owned(), Verdict::Regressed);
        assert_eq!(bad(&before, &figures(1, 105.1)), [user]);
        let (mut before, mut now) = (before.clone(), before);
        before.bytes.insert(KERNEL.to_owned(), 4_000.0);
        now.bytes.insert(KERNEL.to_owned(), 4_201.0);
        let kernel = ("kernel bytes per connection".to_owned(), Verdict::Regressed);
        assert_eq!(bad(&before, &now), [kernel]);
    }

    #[test]
    fn a_missing_figure_is_a_regression() {
        let before = figures(100, 120.0);
        let mut now = before.clone();
        now.instructions.clear();
        let missing = ("delivery/broadcast".to_owned(), Verdict::Missing);
        assert_eq!(bad(&before, &now), [missing]);
        let mut now = before.clone();
        now.bytes.clear();
        let missing = ("user bytes per connection".to_owned(), Verdict::Missing);
        assert_eq!(bad(&before, &now), [missing]);
    }

    #[test]
    fn missing_kernel_bytes_are_reported_and_do_not_fail() {
        let (mut before, now) = (figures(100, 120.0), figures(100, 120.0));
        before.bytes.insert(KERNEL.to_owned(), 4_000.0);
        let changes = judge(&before, &now);
        let kernel = changes.last().unwrap();
        assert_eq!(kernel.verdict, Verdict::NotMeasured);
        assert!(
            kernel
                .to_string()
                .ends_with("only root may read /proc/slabinfo")
        );
        assert_eq!(bad(&before, &now), []);
    }

    #[test]
    fn a_new_benchmark_cannot_regress() {
        let before = figures(100, 120.0);
        let mut now = before.clone();
        now.instructions.insert("tls/join".to_owned(), 1);
        assert_eq!(bad(&before, &now), []);
    }
}
