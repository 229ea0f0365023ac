//! The summary at the top of the page: each run in a few words.

use std::fmt::Write;

use super::html::{counted, escape};
use crate::number::{grouped, number};
use crate::run::Run;

/// The result of all runs, and a list with a sentence for each figure that matters.
pub(super) fn summary(scenarios: &[(&str, Vec<(&Run, String)>)]) -> String {
    let runs = || scenarios.iter().flat_map(|(_, runs)| runs);
    let failed = runs().filter(|(run, _)| !run.problems.is_empty()).count();
    let total = counted(runs().count());
    let mut html = match failed {
        0 => "<p class=\"good\">Every run passed.</p>\n".to_owned(),
        _ => format!("<p class=\"bad\">{failed} of {total} did not pass; see below.</p>\n"),
    };
    html += "<ul class=\"summary\">\n";
    for (scenario, runs) in scenarios {
        for (run, label) in runs {
            let _ = writeln!(
                html,
                "<li><b>{}, {}:</b> {}</li>",
                escape(scenario),
                escape(label),
                escape(&sentences(run))
            ); // to a String
        }
    }
    html += "</ul>\n";
    if runs().any(|(run, _)| run.floor.is_some()) {
        html += "<p>The floor is a bare epoll server that is given the same clients and the same bytes on the \
                 same machine. 1.10 × the floor means 10 % more than the floor.</p>\n";
    }
    html
}

/// What a run shows, as far as its figures go.
fn sentences(run: &Run) -> String {
    let parts = [
        connected(run),
        memory(run),
        latency(run),
        events(run),
        recovery(run),
        cpu(run),
    ];
    let mut told: Vec<String> = parts.into_iter().flatten().collect();
    if !run.problems.is_empty() {
        told.insert(0, "Failed.".to_owned());
    }
    if told.is_empty() {
        "No figures for a summary.".to_owned()
    } else {
        told.join(" ")
    }
}

fn connected(run: &Run) -> Option<String> {
    let connected = grouped(run.measured.figure("connected")?, 0);
    Some(match run.connections {
        Some(wanted) => format!("{connected} of {} clients connected.", grouped(wanted, 0)),
        None => format!("{connected} clients connected."),
    })
}

fn memory(run: &Run) -> Option<String> {
    let user = bytes(run, "user_bytes_per_connection")?;
    Some(match bytes(run, "kernel_bytes_per_connection") {
        Some(kernel) => {
            format!("Each connection takes {user} in the process and {kernel} in the kernel.")
        }
        None => format!("Each connection takes {user} in the process."),
    })
}

fn bytes(run: &Run, key: &str) -> Option<String> {
    let bytes = grouped(run.measured.figure(key)?, 0);
    Some(format!("{bytes} bytes{}", beside_floor(run, key)))
}

fn latency(run: &Run) -> Option<String> {
    let time = |key: &str| {
        let ms = run.measured.figure(key)?;
        Some(format!("{} ms{}", number(ms), beside_floor(run, key)))
    };
    let median = time("latency_ms.p50")?;
    Some(match time("latency_ms.p99") {
        Some(p99) => format!("Half of the deliveries take at most {median}, 99 % at most {p99}."),
        None => format!("Half of the deliveries take at most {median}."),
    })
}

fn events(run: &Run) -> Option<String> {
    let missed = run.measured.figure("missed")?;
    Some(if missed == 0.0 {
        "No event was missed.".to_owned()
    } else {
        format!("Missed events: {}.", grouped(missed, 0))
    })
}

fn recovery(run: &Run) -> Option<String> {
    let back = grouped(run.measured.figure("back")?, 0);
    let back_s = grouped(run.measured.figure("back_s")?, 2);
    Some(format!("{back} clients were back after {back_s} s."))
}

fn cpu(run: &Run) -> Option<String> {
    let used_s = run.measured.figure("server_cpu_s")?;
    let took_s = run
        .measured
        .figure("measured_s")
        .filter(|took_s| *took_s > 0.0)?;
    let percent = grouped(100.0 * used_s / took_s, 1);
    let floor = beside_floor(run, "server_cpu_s");
    Some(format!("The server used {percent} % of a core{floor}."))
}

/// A figure divided by the floor's.
fn beside_floor(run: &Run, key: &str) -> String {
    let ratio = run.ratio.get(key);
    ratio.map_or_else(String::new, |ratio| {
        format!(" ({} × the floor)", grouped(*ratio, 2))
    })
}
