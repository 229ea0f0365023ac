//! `docs/benchmarks.md`: what is recorded, how it is compared, and the last line as tables.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use crate::history::Line;
use crate::judge::{MOST_MORE_BYTES, MOST_MORE_INSTRUCTIONS, judge};
use crate::measured::Figures;

/// The text of the page.
pub(crate) fn text(lines: &[Line]) -> String {
    let mut text = preface();
    if let [.., last] = lines {
        let before = lines.len().checked_sub(2).and_then(|at| lines.get(at));
        text += &figures(last, before);
        text += &never_judged(last);
        text += &accepted(lines);
    }
    text
}

fn preface() -> String {
    format!(
        "# Benchmarks over time

Written by `scripts/bench` from [`benches/history.jsonl`](../benches/history.jsonl); do not edit.

![Instruction counts relative to the first line, and bytes per connection, by commit](benchmarks.svg)

`scripts/bench` measures the checked-out commit, adds a line to the history and draws this page. It exits 1 and adds \
no line if a figure is missing, or if the run is worse than the last line: **over {:.0} % more instructions in any \
benchmark, or over {:.0} % more bytes per connection** (user or kernel). A new benchmark has nothing to be compared \
with. Times are recorded, but do not fail a run. `scripts/test` compares in the same way with `scripts/bench --gate`, \
which records nothing.

`scripts/bench --accept` records a change that costs more on purpose. Later runs are compared with that line, and it \
is listed under *Accepted* below.

**Instructions** of [`benches/instructions`](../benches/instructions) are counted by callgrind. Each figure is the \
count of a batch, whose size is in its source file, so only its growth is meaningful. Kernel time is not included. \
valgrind does not support SHA instructions, so a token check appears more expensive than it is. The counts depend on \
the compiler, the C library, valgrind and the processor's features. If any of these, or the kernel, differs on a \
machine, the last line's commit is measured there first, and the run is compared with that. So the clone must contain \
that commit (`git fetch --unshallow`).

**Bytes** are the slope of `idlewild-load hold` between 22,000 and 88,000 connections: the median of five runs, which \
vary by about 4 %. The kernel's figure is for the whole machine, and only root can read it. Without root, it is shown \
as not measured and does not fail the run.

",
        MOST_MORE_INSTRUCTIONS * 100.0,
        MOST_MORE_BYTES * 100.0,
    )
}

fn figures(last: &Line, before: Option<&Line>) -> String {
    let nothing = Figures::default();
    let compared = last.before.as_ref().or(before.map(|line| &line.figures));
    let machine = &last.machine;
    let mut text = format!(
        "## Last line\n\n`{}`, {}: {}, Linux {}, {}, {}, {}.\n\n| figure | value | change |\n|---|--:|--:|\n",
        last.short_commit(),
        last.date,
        machine.cpu,
        machine.kernel,
        machine.rustc,
        machine.libc,
        machine.valgrind,
    );
    for change in judge(compared.unwrap_or(&nothing), &last.figures) {
        let value = change
            .now
            .map_or_else(|| "not measured".to_owned(), |now| thousands(now.round()));
        let growth = change.growth().map_or_else(
            || "–".to_owned(),
            |growth| format!("{:+.2} %", growth * 100.0),
        );
        let _ = writeln!(text, "| {} | {value} | {growth} |", change.name);
    }
    text + "\n"
}

fn never_judged(last: &Line) -> String {
    let mut text = "## Times of the same run\n\nFor information only: they vary with the machine's load.\n\n| benchmark | median |\n|---|--:|\n".to_owned();
    for (name, ns) in &last.times_ns {
        let _ = writeln!(text, "| {name} | {} |", time(*ns));
    }
    text += "\n| scenario | figure | value |\n|---|---|--:|\n";
    for (scenario, figures) in &last.scenarios {
        let rows: &BTreeMap<String, f64> = figures;
        for (figure, value) in rows {
            let _ = writeln!(text, "| {scenario} | {figure} | {value:.2} |");
        }
    }
    text
}

fn accepted(lines: &[Line]) -> String {
    let mut text = String::new();
    for line in lines.iter().rev() {
        for what in &line.accepted {
            let _ = writeln!(text, "- `{}`, {}: {what}", line.short_commit(), line.date);
        }
    }
    if text.is_empty() {
        text
    } else {
        format!("\n## Accepted\n\n{text}")
    }
}

fn time(ns: f64) -> String {
    if ns < 1e3 {
        format!("{ns:.1} ns")
    } else if ns < 1e6 {
        format!("{:.2} µs", ns / 1e3)
    } else {
        format!("{:.2} ms", ns / 1e6)
    }
}

/// A whole number, in groups of three digits.
fn thousands(value: f64) -> String {
    let digits = format!("{value:.0}");
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::tests::line;

    #[test]
    fn the_last_line_is_shown_next_to_the_previous_one() {
        let mut last = line("0123456789", 1_010_000, 121.4);
        last.accepted = vec!["delivery/broadcast: 3.00 % more, over 2 %".to_owned()];
        last.times_ns.insert("frame".to_owned(), 1_250.0);
        let text = text(&[line("a", 1_000_000, 120.0), last]);
        assert!(
            text.contains("| delivery/broadcast | 1,010,000 | +1.00 % |"),
            "{text}"
        );
        assert!(
            text.contains("| user bytes per connection | 121 | +1.17 % |"),
            "{text}"
        );
        assert!(text.contains("| frame | 1.25 µs |"), "{text}");
        assert!(
            text.contains("- `01234567`, 2026-01-02T03:04:05Z: delivery"),
            "{text}"
        );
    }
}
