//! `benches/history.jsonl`: one line per recorded commit, newest last.

use std::collections::BTreeMap;
use std::fs::{self, OpenOptions};
use std::io::{ErrorKind, Write};
use std::path::Path;

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use crate::machine::Machine;
use crate::measured::Figures;

/// A recorded run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Line {
    /// The full hash, because the commit may have to be checked out again.
    pub(crate) commit: String,
    /// The time of the measurement, in UTC.
    pub(crate) date: String,
    pub(crate) machine: Machine,
    /// The figures that are checked.
    #[serde(flatten)]
    pub(crate) figures: Figures,
    /// The figures of the previous line's commit on this line's machine, if the machine has changed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) before: Option<Figures>,
    /// Regressions that were recorded on purpose.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) accepted: Vec<String>,
    /// Medians of criterion, in nanoseconds. Never checked.
    pub(crate) times_ns: BTreeMap<String, f64>,
    /// Figures of the load scenarios. Never checked.
    pub(crate) scenarios: BTreeMap<String, BTreeMap<String, f64>>,
}

impl Line {
    /// The abbreviated commit.
    pub(crate) fn short_commit(&self) -> &str {
        self.commit.get(..8).unwrap_or(&self.commit)
    }
}

/// Reads the lines, oldest first; a missing file has none.
pub(crate) fn read(path: &Path) -> Result<Vec<Line>> {
    let text = match fs::read_to_string(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        other => other.with_context(|| path.display().to_string())?,
    };
    let lines = text.lines().enumerate().map(|(number, line)| {
        serde_json::from_str(line).with_context(|| {
            format!(
                "{}, line {}: not a line of the history; take it back from git",
                path.display(),
                number + 1
            )
        })
    });
    lines.collect()
}

/// Appends a line.
pub(crate) fn append(path: &Path, line: &Line) -> Result<()> {
    let mut file = OpenOptions::new()
        .append(true)
        .create(true)
        .open(path)
        .with_context(|| path.display().to_string())?;
    let text = serde_json::to_string(line)? + "\n";
    file.write_all(text.as_bytes())
        .with_context(|| path.display().to_string())
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A line for `commit`, with one count and the process's bytes.
    pub(crate) fn line(commit: &str, count: u64, user_bytes: f64) -> Line {
        Line {
            commit: commit.to_owned(),
            date: "2026-01-02T03:04:05Z".to_owned(),
            machine: Machine::default(),
            figures: Figures {
                instructions: BTreeMap::from([("delivery/broadcast".to_owned(), count)]),
                bytes: BTreeMap::from([("user".to_owned(), user_bytes)]),
            },
            before: None,
            accepted: Vec::new(),
            times_ns: BTreeMap::new(),
            scenarios: BTreeMap::new(),
        }
    }

    #[test]
    fn lines_are_read_as_they_were_appended() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("history.jsonl");
        assert_eq!(read(&path).unwrap(), []);
        let lines = [line("a", 100, 120.5), line("b", 101, 119.0)];
        for line in &lines {
            append(&path, line).unwrap();
        }
        assert_eq!(read(&path).unwrap(), lines);
    }

    #[test]
    fn a_malformed_line_is_named() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("history.jsonl");
        append(&path, &line("a", 1, 1.0)).unwrap();
        let good = fs::read_to_string(&path).unwrap();
        fs::write(&path, format!("{good}{{\"commit\": \"b\"}}\n")).unwrap();
        let error = read(&path).unwrap_err().to_string();
        assert!(error.contains("history.jsonl, line 2:"), "{error}");
    }
}
