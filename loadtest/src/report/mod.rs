//! `report`: makes one self-contained HTML page from the JSON of runs.
//!
//! [`series`] extracts the points of a run, [`scale`] makes the axes, [`plot`] the drawing; [`charts`]
//! chooses the charts of a scenario, [`table`] lists its figures, [`summary`] puts them into words, [`html`]
//! escapes texts, and [`page`] combines everything.

mod charts;
mod html;
mod page;
mod plot;
mod scale;
mod series;
mod summary;
mod table;

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};

use crate::cli::Report;
use crate::clock;
use crate::files::write_whole;
use crate::run::Run;

/// Limit of files per page: with more, the page is too large to read.
const MAX_FILES: usize = 1_000;

/// Writes the page.
pub(crate) fn run(report: &Report) -> Result<()> {
    let runs = files(&report.dir)?
        .iter()
        .map(|path| Run::read(path))
        .collect::<Result<Vec<_>>>()?;
    let page = page::page(&runs, clock::unix_s())?;
    write_whole(&report.out, &page)
}

/// The `*.json` files of a directory, sorted by name.
pub(crate) fn files(dir: &Path) -> Result<Vec<PathBuf>> {
    let named = || dir.display().to_string();
    let mut files = Vec::new();
    for entry in std::fs::read_dir(dir).with_context(named)? {
        let path = entry.with_context(named)?.path();
        if path
            .extension()
            .is_some_and(|extension| extension == "json")
        {
            files.push(path);
        }
        ensure!(
            files.len() <= MAX_FILES,
            "{}: more than {MAX_FILES} files of JSON; make a page of some of them",
            dir.display()
        );
    }
    ensure!(
        !files.is_empty(),
        "{}: no *.json there; a scenario writes one with --json FILE",
        dir.display()
    );
    files.sort_by(|one, other| one.file_stem().cmp(&other.file_stem())); // `hold` before `hold-2`
    Ok(files)
}

#[cfg(test)]
mod tests {
    use std::fs::read_to_string;

    use super::*;
    use crate::files::tests::Scratch;

    const HOLD: &str = r#"{"scenario": "hold", "subject": "idlewild", "connections": 6000, "connected": 6000,
        "user_bytes_per_connection": 236.544, "kernel_bytes_by_object": {"TCP": 4717.6},
        "pss_mib": {"warm": 6.7, "plateau": 7.3, "full": 8.2, "after": 7.2}, "problems": [],
        "timeline": [{"at_s": 0.5, "connected": 0, "pss_mib": 6.7, "server_cpu_s": 0.1},
                     {"at_s": 1.0, "connected": 6000, "pss_mib": 8.2, "server_cpu_s": 0.4}],
        "floor": {"connected": 6000, "user_bytes_per_connection": 18.432},
        "ratio": {"user_bytes_per_connection": 0.582}}"#;
    const BARE: &str = r#"{"scenario": "idle", "connected": 3141}"#;
    const BROADCAST: &str = r#"{"scenario": "broadcast", "subject": "nchan", "problems": ["7 events missed"],
        "notes": ["the floor is <plain>"],
        "latency_ms": {"min": 0.4, "p50": 14.25, "p90": 31, "p99": 44, "p999": 46, "max": 48}}"#;

    fn page_of(runs: &[(&str, &str)]) -> Result<String> {
        let scratch = Scratch::new();
        for (name, json) in runs {
            scratch.put(name, json);
        }
        let report = Report {
            dir: scratch.0.clone(),
            out: scratch.0.join("page.html"),
        };
        run(&report)?;
        Ok(read_to_string(&report.out)?)
    }

    fn refusal(runs: &[(&str, &str)]) -> String {
        format!("{:#}", page_of(runs).unwrap_err())
    }

    #[test]
    fn a_page_has_the_figures_of_every_run() {
        let page = page_of(&[("h.json", HOLD), ("i.json", BARE), ("b.json", BROADCAST)]).unwrap();
        for shown in [
            "236.5",
            "18.43",
            "4,718",
            "0.582",
            "3,141",
            "14.25",
            "7 events missed",
            "the floor is &lt;plain&gt;",
            "1 of 3 runs",
        ] {
            assert!(page.contains(shown), "{shown}");
        }
        for drawn in [
            "Memory against",
            "Percentiles of latency_ms",
            "Connections over",
            "CPU over",
        ] {
            assert!(page.contains(drawn), "{drawn}");
        }
    }

    #[test]
    fn the_page_begins_with_a_summary_in_words() {
        let page = page_of(&[("h.json", HOLD), ("i.json", BARE), ("b.json", BROADCAST)]).unwrap();
        let (summary, _) = page.split_once("<section").unwrap();
        for sentence in [
            "1 of 3 runs did not pass",
            "<b>hold, idlewild:</b> 6,000 of 6,000 clients connected. \
             Each connection takes 237 bytes (0.58 × the floor) in the process.",
            "<b>idle, server:</b> 3,141 clients connected.",
            "<b>broadcast, nchan:</b> Failed. Half of the deliveries take at most 14.25 ms, 99 % at most 44 ms.",
            "The floor is a bare epoll server",
        ] {
            assert!(summary.contains(sentence), "{sentence}\n{summary}");
        }
    }

    #[test]
    fn every_colour_of_a_chart_has_a_counterpart_in_the_dark() {
        let page = page_of(&[("h.json", HOLD), ("b.json", BROADCAST)]).unwrap();
        let (style, body) = page.split_once("</style>").unwrap();
        let (_, dark) = style.split_once(plot::DARK_QUERY).unwrap();
        let colours = body.match_indices("=\"#").map(|(at, _)| {
            let from = body[..at].rfind(' ').unwrap() + 1;
            &body[from..at + "=\"#rrggbb\"".len()]
        });
        for colour in colours {
            assert!(dark.contains(&format!("[{colour}]")), "{colour}");
        }
    }

    #[test]
    fn a_lone_run_without_floor_or_timeline_is_still_a_page() {
        let page = page_of(&[("i.json", BARE)]).unwrap();
        assert!(page.contains("No plots") && page.contains("Every run passed"));
        assert!(!page.contains("<figure"));
    }

    #[test]
    fn the_page_loads_nothing_and_runs_nothing() {
        let page = page_of(&[("h.json", HOLD), ("b.json", BROADCAST)]).unwrap();
        for loads in [
            "<script", "src=", "href", "url(", "@import", "<link", "<iframe", "<object", " on",
        ] {
            let found = page
                .match_indices(loads)
                .any(|(at, _)| loads != " on" || handler(&page[at..]));
            assert!(!found, "{loads}");
        }
    }

    /// Returns true if text that starts with ` on` is an attribute such as ` onload=`.
    fn handler(text: &str) -> bool {
        let name = text[1..]
            .split(|c: char| !c.is_ascii_alphabetic())
            .next()
            .unwrap();
        text[1 + name.len()..].starts_with('=')
    }

    #[test]
    fn free_text_is_shown_and_not_obeyed() {
        let hostile = "<img src=x onerror='alert(1)'>";
        let json = serde_json::json!({"scenario": hostile, "subject": hostile,
            "problems": [hostile], hostile: 1, "latency_ms": {"p50": 1, "max": 2},
            format!("{hostile}_ms"): {"p50": 1, "max": 2}, "kernel_bytes_by_object": {hostile: 1}, "floor": {}});
        let page = page_of(&[("<b>.json", &json.to_string())]).unwrap();
        assert!(!page.contains("<img") && !page.contains("<b>.json") && page.contains("&lt;img"));
    }

    #[test]
    fn a_broken_file_is_refused_by_name_and_no_page_is_written() {
        let broken = refusal(&[("h.json", HOLD), ("cut.json", &HOLD[..200])]);
        assert!(
            broken.contains("cut.json") && broken.contains("not JSON"),
            "{broken}"
        );
        let other = refusal(&[("package.json", r#"{"name": "x"}"#)]);
        assert!(
            other.contains("package.json") && other.contains("scenario"),
            "{other}"
        );
    }

    #[test]
    fn a_directory_without_runs_is_refused() {
        let empty = refusal(&[("notes.txt", "")]);
        assert!(empty.contains("--json"), "{empty}");
    }

    #[test]
    fn values_no_reading_can_have_do_not_stop_the_page() {
        let wild = r#"{"scenario": "hold", "connected": 1e300, "pss_mib": {"warm": -1e300, "full": 1e300},
            "latency_ms": {"p50": 0, "max": 1e-300},
            "timeline": [{"at_s": -1e300, "connected": 1e308, "pss_mib": -1, "server_cpu_s": -1e308},
                         {"at_s": 1e300, "connected": -1e308, "pss_mib": 1e300, "server_cpu_s": 1e308}]}"#;
        let page = page_of(&[("w.json", wild)]).unwrap();
        assert!(!page.contains("NaN") && !page.contains("inf\""));
    }
}
