//! The page, with inline styles and drawings, without scripts and external resources.

use std::collections::BTreeMap;
use std::fmt::Write;

use anyhow::Result;

use super::charts::{Chart, charts};
use super::html::{counted, escape};
use super::plot::{COLOURS, dark_style, hex};
use super::summary::summary;
use super::table::tables;
use crate::number::{grouped, utc};
use crate::run::Run;

const STYLE: &str = include_str!("page.css");
/// Scenarios in reading order; others follow by name.
const ORDER: &[&str] = &[
    "hold",
    "idle",
    "broadcast",
    "unicast",
    "mixed",
    "storm",
    "slow",
    "upgrade",
    "churn",
];

/// The whole page.
pub(super) fn page(runs: &[Run], made_unix_s: u64) -> Result<String> {
    let mut scenarios: BTreeMap<(usize, &str), Vec<&Run>> = BTreeMap::new();
    for run in runs {
        let known = ORDER.iter().position(|name| *name == run.scenario);
        let place = (known.unwrap_or(ORDER.len()), run.scenario.as_str());
        scenarios.entry(place).or_default().push(run);
    }
    let scenarios: Vec<(&str, Vec<(&Run, String)>)> = scenarios
        .into_iter()
        .map(|((_, scenario), runs)| (scenario, labelled(&runs)))
        .collect();
    let mut html = format!(
        "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\
         <meta name=\"color-scheme\" content=\"light dark\">\n\
         <title>Load runs</title>\n<style>\n{STYLE}{}</style></head>\n<body>\n<main>\n\
         <h1>Load runs</h1>\n<p>Made {} from {}.</p>\n{}",
        dark_style(),
        utc(made_unix_s),
        counted(runs.len()),
        summary(&scenarios),
    );
    for (scenario, runs) in &scenarios {
        let (runs, labels): (Vec<&Run>, Vec<String>) = runs.iter().cloned().unzip();
        html += &section(scenario, &runs, &labels)?;
    }
    Ok(html + "</main>\n</body></html>\n")
}

fn section(scenario: &str, runs: &[&Run], labels: &[String]) -> Result<String> {
    let mut html = format!(
        "<section>\n<h2>{}</h2>\n<ul class=\"files\">\n",
        escape(scenario)
    );
    for (run, label) in runs.iter().zip(labels) {
        html += &origin(run, label);
    }
    html += "</ul>\n";
    let charts = charts(runs, labels)?;
    if charts.is_empty() {
        html += "<p>No plots: these files have neither a timeline, nor plateaus, nor percentiles.</p>\n";
    } else if runs.len() > COLOURS.len() {
        let _ = writeln!(
            html,
            "<p>The first {} are drawn.</p>",
            counted(COLOURS.len())
        ); // to a String
    }
    html += "<div class=\"plots\">\n";
    for chart in &charts {
        html += &figure(chart);
    }
    html += "</div>\n";
    html += &tables(scenario, runs, labels);
    Ok(html + "</section>\n")
}

/// The origin of a run, and its problems.
fn origin(run: &Run, label: &str) -> String {
    let mut facts = vec![format!("<b>{}</b>", escape(label))];
    facts.extend(
        run.connections
            .map(|n| format!("{} connections", grouped(n, 0))),
    );
    facts.extend(run.ended_unix_s.map(|at| format!("ended {}", utc(at))));
    facts.push(format!("<code>{}</code>", escape(&run.file)));
    let mut html = format!("<li>{}", facts.join(", "));
    if !run.notes.is_empty() {
        html += "<ul>";
        for note in &run.notes {
            let _ = write!(html, "<li>{}</li>", escape(note)); // to a String
        }
        html += "</ul>";
    }
    if !run.problems.is_empty() {
        html += "<ul class=\"bad\">";
        for problem in &run.problems {
            let _ = write!(html, "<li>Failed: {}</li>", escape(problem)); // to a String
        }
        html += "</ul>";
    }
    html + "</li>\n"
}

fn figure(chart: &Chart) -> String {
    let title = escape(&chart.title);
    let mut html = format!("<figure>\n<h3>{title}</h3>\n<p class=\"legend\">");
    for entry in &chart.legend {
        let colour = hex(COLOURS[entry.colour % COLOURS.len()].light);
        let dashes = if entry.dashed {
            " stroke-dasharray=\"6 4\""
        } else {
            ""
        };
        let _ = write!(
            html,
            "<span><svg width=\"30\" height=\"10\" aria-hidden=\"true\"><path d=\"M1 5h28\" \
             stroke=\"{colour}\" stroke-width=\"3\"{dashes}/></svg> {}</span> ",
            escape(&entry.label)
        ); // to a String
    }
    let svg = chart.svg.replacen(
        "<svg ",
        &format!("<svg role=\"img\" aria-label=\"{title}\" "),
        1,
    );
    html + "</p>\n" + &svg + "<figcaption>" + &escape(chart.note) + "</figcaption>\n</figure>\n"
}

/// Each run with its name: its subject, and its file if the subject is not unique.
fn labelled<'a>(runs: &[&'a Run]) -> Vec<(&'a Run, String)> {
    let named = |subject: &str| runs.iter().filter(|run| run.subject == subject).count();
    let label = |run: &Run| {
        let stem = run.file.strip_suffix(".json").unwrap_or(&run.file);
        if named(&run.subject) > 1 {
            format!("{} ({stem})", run.subject)
        } else {
            run.subject.clone()
        }
    };
    runs.iter().map(|&run| (run, label(run))).collect()
}
