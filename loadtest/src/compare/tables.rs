//! The tables of the servers, as Markdown.

use std::fmt::Write;

use super::rows::Row;
use crate::number::grouped;
use crate::run::Run;

/// A column: its heading, and its text for a server. An empty text means that it was not measured.
type Column = (&'static str, fn(&Row) -> String);

const CLIENTS: &[Column] = &[
    ("clients", |row| text(row.clients)),
    ("user bytes per client", |row| text(row.user_bytes)),
    ("kernel bytes per client", |row| text(row.kernel_bytes)),
    ("all processes: empty, with all", |row| {
        pair(row.empty_mib, row.full_mib, " MiB")
    }),
    ("connects per second", |row| text(row.connects_per_s)),
];
const EVENTS: &[Column] = &[
    ("last client: median, worst", |row| {
        pair(row.last_ms, row.last_ms_max, " ms")
    }),
    ("CPU per delivery", |row| with_unit(row.delivery_us, " µs")),
    ("1 KiB on the wire", |row| {
        with_unit(row.wire_bytes, " bytes")
    }),
    ("to one user: median, 99 %", |row| {
        pair(row.unicast_ms, row.unicast_ms_p99, " ms")
    }),
    ("the same, CPU", |row| with_unit(row.unicast_us, " µs")),
];

/// The tables, and why runs failed.
pub(super) fn tables(rows: &[Row], runs: &[Run]) -> String {
    let tables = [CLIENTS, EVENTS].map(|columns| table(rows, columns));
    let tables = tables.iter().filter(|table| !table.is_empty());
    let mut page = tables.map(String::as_str).collect::<Vec<_>>().join("\n");
    let failed: Vec<&Run> = runs.iter().filter(|run| !run.problems.is_empty()).collect();
    if !failed.is_empty() {
        page += "\nNot every run passed:\n\n";
    }
    for run in failed {
        let name = run.file.strip_suffix(".json").unwrap_or(&run.file);
        let _ = writeln!(page, "- `{name}`: {}", run.problems.join("; ")); // to a String
    }
    page
}

/// A row for each server of which something was measured; empty if there is none.
fn table(rows: &[Row], columns: &[Column]) -> String {
    let mut lines = String::new();
    for row in rows {
        let cells: Vec<String> = columns.iter().map(|(_, cell)| cell(row)).collect();
        if cells.iter().all(String::is_empty) {
            continue;
        }
        lines.extend(["| ", row.label(), " |"]);
        for cell in cells {
            let space = if cell.is_empty() { "" } else { " " };
            lines.extend([space, &cell, " |"]);
        }
        lines.push('\n');
    }
    if lines.is_empty() {
        return lines;
    }
    let headings = columns.iter().map(|(heading, _)| format!(" {heading} |"));
    let rule = "---|".repeat(columns.len());
    format!("| |{}\n|---|{rule}\n{lines}", headings.collect::<String>())
}

/// A number with at most two significant decimals.
pub(super) fn short(value: f64) -> String {
    let decimals = match value.abs() {
        size if size >= 99.5 => 0,
        size if size >= 9.95 => usize::from(value.fract() != 0.0 && size < 20.0),
        size if size >= 1.0 => 1,
        _ => 2,
    };
    grouped(value, decimals)
}

fn text(value: Option<f64>) -> String {
    let whole = value.map(f64::round);
    whole.map_or_else(String::new, |whole| grouped(whole, 0))
}

fn with_unit(value: Option<f64>, unit: &str) -> String {
    value.map_or_else(String::new, |value| short(value) + unit)
}

fn pair(one: Option<f64>, other: Option<f64>, unit: &str) -> String {
    let both = one.zip(other);
    both.map_or_else(String::new, |(one, other)| {
        format!("{}, {}{unit}", short(one), short(other))
    })
}

#[cfg(test)]
mod tests {
    use super::super::rows::{rows, tests::runs};
    use super::*;

    #[test]
    fn a_server_without_figures_for_a_table_is_not_in_it() {
        let runs = runs(&[
            (
                "hold-go.json",
                r#"{"scenario": "hold", "connected": 6000, "user_bytes_per_connection": 17234.4,
                    "pss_mib": {"warm": 8.04, "full": 112.2}, "problems": []}"#,
            ),
            (
                "wire-idlewild-gzip.json",
                r#"{"scenario": "wire", "wire_bytes_per_delivery": 391}"#,
            ),
        ]);
        assert_eq!(
            tables(&rows(&runs), &runs),
            "| | clients | user bytes per client | kernel bytes per client | all processes: empty, with all | connects per second |\n\
             |---|---|---|---|---|---|\n\
             | Go net/http | 6,000 | 17,234 | | 8.0, 112 MiB | |\n\
             \n\
             | | last client: median, worst | CPU per delivery | 1 KiB on the wire | to one user: median, 99 % | the same, CPU |\n\
             |---|---|---|---|---|---|\n\
             | Idlewild, gzip | | | 391 bytes | | |\n"
        );
    }

    #[test]
    fn a_run_that_failed_is_named_with_its_reasons() {
        let runs = runs(&[(
            "broadcast-ws-2.json",
            r#"{"scenario": "broadcast", "problems": ["7 events missed", "2 streams lost"]}"#,
        )]);
        let page = tables(&rows(&runs), &runs);
        assert_eq!(
            page,
            "\nNot every run passed:\n\n- `broadcast-ws-2`: 7 events missed; 2 streams lost\n"
        );
    }

    #[test]
    fn small_numbers_have_decimals_and_large_ones_none() {
        let shown = [0.184, 2.04, 10.0, 14.26, 83.4, 99.7, 13_711.2].map(short);
        assert_eq!(shown, ["0.18", "2.0", "10", "14.3", "83", "100", "13,711"]);
    }
}
