//! Tables with the figures of a scenario's runs.

use std::collections::BTreeSet;
use std::fmt::Write;

use super::html::escape;
use crate::number::{grouped, number};
use crate::run::Run;

/// Limit of runs per table; more would not fit on a page.
const RUNS_A_TABLE: usize = 3;
/// Figures in reading order; others follow by name.
const ORDER: &[&str] = &[
    "connected",
    "failed",
    "lost",
    "connects_per_s",
    "tls",
    "user_bytes_per_connection",
    "kernel_bytes_per_connection",
    "kernel_bytes_both_ends",
    "pss_mib",
    "pss_file_mib",
    "server_cpu_s",
    "measured_s",
    "heartbeats",
    "pings",
    "received",
    "expected",
    "missed",
    "duplicates",
    "out_of_order",
    "foreign",
    "misdirected",
    "back",
    "back_s",
    "slow_clients",
    "slow_dropped",
    "upgrades",
    "streams_moved",
    "streams_not_moved",
    "upgrade_ms_max",
    "pause_ms_max",
    "churned",
    "pss_growth_mib",
    "publish_late_ms_max",
    "publish_ms",
    "latency_ms",
    "latency_ms_without",
    "time_to_last_ms",
    "time_to_last_ms_without",
];
/// The same for the part after the dot.
const LEAVES: &[&str] = &[
    "empty", "warm", "plateau", "full", "after", "min", "p50", "p90", "p99", "p999", "max",
];
/// Figures that explain another one, in a separate table.
const DETAIL: &str = "kernel_bytes_by_object.";

/// The tables of a scenario.
pub(super) fn tables(scenario: &str, runs: &[&Run], labels: &[String]) -> String {
    let mut html = String::new();
    for (runs, labels) in runs.chunks(RUNS_A_TABLE).zip(labels.chunks(RUNS_A_TABLE)) {
        let keys = keys(runs);
        let (detail, main): (Vec<&str>, Vec<&str>) =
            keys.into_iter().partition(|key| key.starts_with(DETAIL));
        let all = labels.join(", ");
        let name = format!("Figures of {scenario}: {all}");
        html += &table(runs, labels, (&name, "figure"), &main, "");
        let name = format!("Kernel memory of {scenario}: {all}");
        html += &table(
            runs,
            labels,
            (
                &name,
                "kernel bytes per connection, both ends, by slab cache",
            ),
            &detail,
            DETAIL,
        );
    }
    html
}

/// A table in a box that scrolls, also with the keyboard. `name` is for screen readers, `what` heads the first column.
fn table(
    runs: &[&Run],
    labels: &[String],
    (name, what): (&str, &str),
    keys: &[&str],
    prefix: &str,
) -> String {
    if keys.is_empty() {
        return String::new();
    }
    let mut html = format!(
        "<div class=\"wide\" tabindex=\"0\" role=\"region\" aria-label=\"{}\"><table>\n\
         <thead><tr><th rowspan=\"2\">{what}</th>",
        escape(name)
    );
    for (run, label) in runs.iter().zip(labels) {
        let span = if run.floor.is_some() { 3 } else { 1 };
        let _ = write!(
            html,
            "<th class=\"run\" colspan=\"{span}\">{}</th>",
            escape(label)
        ); // to a String
    }
    html += "</tr>\n<tr>";
    for run in runs {
        html += "<th class=\"run\">measured</th>";
        if run.floor.is_some() {
            html += "<th>floor</th><th>ratio</th>";
        }
    }
    html += "</tr></thead>\n<tbody>\n";
    for key in keys {
        let name = key.strip_prefix(prefix).unwrap_or(key);
        let _ = write!(html, "<tr><th>{}</th>", escape(name)); // to a String
        for run in runs {
            html += &cell("run", run.measured.figure(key).map(number));
            if let Some(floor) = &run.floor {
                html += &cell("", floor.figure(key).map(number));
                html += &cell("", run.ratio.get(*key).map(|&ratio| grouped(ratio, 3)));
            }
        }
        html += "</tr>\n";
    }
    html + "</tbody></table></div>\n"
}

fn cell(class: &str, text: Option<String>) -> String {
    let text = text.unwrap_or_default();
    if class.is_empty() {
        format!("<td>{text}</td>")
    } else {
        format!("<td class=\"{class}\">{text}</td>")
    }
}

/// All keys of the runs or floors, in reading order.
fn keys<'a>(runs: &[&'a Run]) -> Vec<&'a str> {
    let sides = runs
        .iter()
        .flat_map(|run| Some(&run.measured).into_iter().chain(&run.floor));
    let keys: BTreeSet<&str> = sides
        .flat_map(|side| side.figures.keys().map(String::as_str))
        .collect();
    let mut keys: Vec<&str> = keys.into_iter().collect();
    let place = |list: &[&str], name: &str| list.iter().position(|&known| known == name);
    keys.sort_by_key(|key| {
        let (head, leaf) = key.split_once('.').unwrap_or((key, ""));
        let (head, leaf) = (place(ORDER, head), place(LEAVES, leaf));
        (head.unwrap_or(ORDER.len()), leaf.unwrap_or(LEAVES.len()))
    });
    keys
}
