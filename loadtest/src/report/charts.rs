//! Chooses the charts of a scenario's runs.

use anyhow::Result;

use super::plot::{COLOURS, Line, Plot};
use super::scale::Axis;
use super::series::{self, Points};
use crate::run::{Run, Side};

/// The percentiles of a run, by key, with their positions on the axis.
const PERCENTILES: [(&str, f64); 6] = [
    ("min", 0.0),
    ("p50", 1.0),
    ("p90", 2.0),
    ("p99", 3.0),
    ("p999", 4.0),
    ("max", 5.0),
];
/// Their labels on the axis.
const PERCENTILE_NAMES: [&str; 6] = ["min", "p50", "p90", "p99", "p99.9", "max"];
/// Limit of sets of percentiles drawn; a scenario has two.
const MAX_SETS: usize = 6;

/// A chart with its caption.
#[derive(Debug)]
pub(super) struct Chart {
    pub(super) title: String,
    pub(super) note: &'static str,
    pub(super) legend: Vec<Entry>,
    pub(super) svg: String,
}

/// An entry of the legend.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) label: String,
    /// Index into [`COLOURS`].
    pub(super) colour: usize,
    pub(super) dashed: bool,
}

/// The charts of a scenario's runs. A chart without data is omitted.
pub(super) fn charts(runs: &[&Run], labels: &[String]) -> Result<Vec<Chart>> {
    let lines = |parts: &dyn Fn(&Side) -> (Vec<Points>, Points)| lines(runs, labels, parts);
    let mut charts = vec![chart(
        "Memory against connections",
        "Proportional set size of the process while clients connect; dots are the readings on a plateau. \
         Kernel memory is not included.",
        (Axis::Linear("connections"), Axis::Linear("PSS, MiB")),
        lines(&|side| {
            let (climb, plateaus) = (series::memory(side), series::plateaus(side));
            let line = if climb.is_empty() {
                plateaus.clone()
            } else {
                climb
            };
            (vec![line], plateaus)
        }),
    )?];
    for set in percentile_sets(runs) {
        charts.push(chart(
            &format!("Percentiles of {set}"),
            "From the scheduled time of an event; logarithmic scale.",
            (
                Axis::Steps("percentile", &PERCENTILE_NAMES),
                Axis::Log("milliseconds"),
            ),
            lines(&|side| {
                let points = percentiles(side, &set);
                (vec![points.clone()], points)
            }),
        )?);
    }
    charts.push(chart(
        "Connections over time",
        "Seconds since the first sample of each process. A gap means that nothing was measured.",
        (Axis::Linear("seconds"), Axis::Linear("connections")),
        lines(&|side| (series::ramp(side), Points::new())),
    )?);
    charts.push(chart(
        "Memory over time",
        "Proportional set size of the process over the same seconds.",
        (Axis::Linear("seconds"), Axis::Linear("PSS, MiB")),
        lines(&|side| (series::memory_over_time(side), Points::new())),
    )?);
    charts.push(chart(
        "CPU over time",
        "Of the server process; 100 % is one core.",
        (Axis::Linear("seconds"), Axis::Linear("% of a core")),
        lines(&|side| (series::cpu(side), Points::new())),
    )?);
    Ok(charts.into_iter().flatten().collect())
}

fn chart(
    title: &str,
    note: &'static str,
    (x, y): (Axis, Axis),
    drawn: Vec<(Entry, Line)>,
) -> Result<Option<Chart>> {
    let drawn = drawn.into_iter().filter(|(_, line)| !line.is_empty());
    let (legend, lines): (Vec<_>, Vec<_>) = drawn.unzip();
    if lines.is_empty() {
        return Ok(None);
    }
    Ok(Some(Chart {
        title: title.to_owned(),
        note,
        legend,
        svg: Plot { x, y, lines }.svg()?,
    }))
}

/// A line per run and a dashed line for its floor, in the same colour, for as many runs as there are colours.
fn lines(
    runs: &[&Run],
    labels: &[String],
    parts: &dyn Fn(&Side) -> (Vec<Points>, Points),
) -> Vec<(Entry, Line)> {
    let mut all = Vec::new();
    for (colour, (run, label)) in runs.iter().zip(labels).enumerate().take(COLOURS.len()) {
        let mut add = |label: String, side: &Side, dashed| {
            let (parts, marks) = parts(side);
            let line = Line {
                colour,
                dashed,
                parts,
                marks,
            };
            let entry = Entry {
                label,
                colour,
                dashed,
            };
            all.push((entry, line));
        };
        add(label.clone(), &run.measured, false);
        if let Some(floor) = &run.floor {
            let whose = if runs.len() > 1 {
                format!("floor beside {label}")
            } else {
                "floor".to_owned()
            };
            add(whose, floor, true);
        }
    }
    all
}

/// Names of the figures that have a median and a maximum: `latency_ms`, `time_to_last_ms`.
fn percentile_sets(runs: &[&Run]) -> Vec<String> {
    let mut sets: Vec<String> = Vec::new();
    for side in runs
        .iter()
        .flat_map(|run| Some(&run.measured).into_iter().chain(&run.floor))
    {
        let medians = side
            .figures
            .keys()
            .filter_map(|key| key.strip_suffix(".p50"));
        for set in medians.filter(|set| set.contains("_ms")) {
            let whole = side.figure(&format!("{set}.max")).is_some();
            if whole && sets.len() < MAX_SETS && !sets.iter().any(|known| known == set) {
                sets.push(set.to_owned());
            }
        }
    }
    sets.sort();
    sets
}

fn percentiles(side: &Side, set: &str) -> Points {
    PERCENTILES
        .iter()
        .filter_map(|(key, at)| Some((*at, side.figure(&format!("{set}.{key}"))?)))
        .collect()
}
