//! Reads a run from the JSON that a scenario wrote.
//!
//! Missing keys leave gaps and unknown keys are kept as figures, so files of older and newer builds can
//! be read. A known key with a value of the wrong type is an error, because a run whose `problems` were
//! ignored would look successful.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Map, Value};

use crate::files::read_bounded;

/// Size limit of a file: a timeline of one day with two samples per second has about 15 MiB.
const MAX_FILE_BYTES: u64 = 64 << 20;
/// Limit of figures per side. A scenario has some 40, and each is a row of a table.
const MAX_FIGURES: usize = 500;
/// The subject in files that do not name one.
const UNNAMED: &str = "server";
/// Keys that are not figures of the subject.
const NOT_FIGURES: &[&str] = &[
    "connections",
    "ended_unix_s",
    "failures",
    "floor",
    "notes",
    "problems",
    "ratio",
    "timeline",
];

/// A run.
#[derive(Debug)]
pub(crate) struct Run {
    /// The name of its file.
    pub(crate) file: String,
    pub(crate) scenario: String,
    /// The subject, with its transport if that is not SSE.
    pub(crate) subject: String,
    pub(crate) connections: Option<f64>,
    pub(crate) ended_unix_s: Option<u64>,
    pub(crate) measured: Side,
    pub(crate) floor: Option<Side>,
    /// Subject divided by floor.
    pub(crate) ratio: BTreeMap<String, f64>,
    /// Remarks about the run.
    pub(crate) notes: Vec<String>,
    /// Why it did not pass.
    pub(crate) problems: Vec<String>,
}

/// The figures of the subject or the floor.
#[derive(Debug, Default)]
pub(crate) struct Side {
    /// By dotted key.
    pub(crate) figures: BTreeMap<String, f64>,
    pub(crate) timeline: Vec<Sample>,
}

/// A sample of a process during the measurement.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Sample {
    pub(crate) at_s: f64,
    pub(crate) connected: f64,
    pub(crate) pss_mib: Option<f64>,
    /// CPU seconds since the process started.
    pub(crate) server_cpu_s: Option<f64>,
}

impl Run {
    /// Reads a file.
    ///
    /// # Errors
    /// One line that names the file and the problem.
    pub(crate) fn read(path: &Path) -> Result<Self> {
        let named = || path.display().to_string();
        let text = read_bounded(path, MAX_FILE_BYTES).with_context(named)?;
        let value = serde_json::from_str(&text).context("not JSON");
        let file = path.file_name().unwrap_or(path.as_os_str());
        value
            .and_then(|value| Self::parse(&file.to_string_lossy(), &value))
            .with_context(named)
    }

    fn parse(file: &str, value: &Value) -> Result<Self> {
        let Value::Object(keys) = value else {
            bail!("not the figures of a run: a JSON object is expected")
        };
        let text = |key| keys.get(key).and_then(Value::as_str).map(str::to_owned);
        let scenario =
            text("scenario").context("not the figures of a run: no `scenario` (see --json)")?;
        let mut subject = text("subject").unwrap_or_else(|| UNNAMED.to_owned());
        if text("transport").as_deref() == Some("ws") {
            subject += " over WebSocket";
        }
        let floor = present(keys, "floor");
        let floor = floor.map(|floor| floor.as_object().context("`floor` is not an object"));
        let ratio = present(keys, "ratio").map(|ratio| match ratio {
            Value::Object(_) => Ok(numbers(ratio)),
            _ => bail!("`ratio` is not an object"),
        });
        Ok(Self {
            file: file.to_owned(),
            scenario,
            subject,
            connections: keys.get("connections").and_then(Value::as_f64),
            ended_unix_s: keys.get("ended_unix_s").and_then(Value::as_u64),
            measured: Side::parse(keys)?,
            floor: floor
                .transpose()?
                .map(Side::parse)
                .transpose()
                .context("floor")?,
            ratio: ratio.transpose()?.unwrap_or_default(),
            notes: texts(keys, "notes")?,
            problems: texts(keys, "problems")?,
        })
    }
}

impl Side {
    /// A figure by its dotted key.
    pub(crate) fn figure(&self, key: &str) -> Option<f64> {
        self.figures.get(key).copied()
    }

    fn parse(keys: &Map<String, Value>) -> Result<Self> {
        let mut figures = BTreeMap::new();
        for (key, value) in keys {
            if !NOT_FIGURES.contains(&key.as_str()) {
                walk(key, value, &mut figures);
            }
        }
        ensure!(
            figures.len() <= MAX_FIGURES,
            "{} figures; a run has at most {MAX_FIGURES}",
            figures.len()
        );
        let timeline = match present(keys, "timeline") {
            None => Vec::new(),
            Some(Value::Array(samples)) => samples.iter().filter_map(sample).collect(),
            Some(_) => bail!("`timeline` is not an array"),
        };
        Ok(Self { figures, timeline })
    }
}

/// The value of a key; `null` counts as absent.
fn present<'a>(keys: &'a Map<String, Value>, key: &str) -> Option<&'a Value> {
    keys.get(key).filter(|value| !value.is_null())
}

fn sample(value: &Value) -> Option<Sample> {
    let number = |key: &str| value.get(key).and_then(Value::as_f64);
    Some(Sample {
        at_s: number("at_s")?,
        connected: number("connected")?,
        pss_mib: number("pss_mib"),
        server_cpu_s: number("server_cpu_s"),
    })
}

fn texts(keys: &Map<String, Value>, key: &str) -> Result<Vec<String>> {
    let Some(value) = present(keys, key) else {
        return Ok(Vec::new());
    };
    let texts = value.as_array().and_then(|all| {
        let texts = all.iter().map(|one| one.as_str().map(str::to_owned));
        texts.collect()
    });
    texts.with_context(|| format!("`{key}` is not an array of strings"))
}

/// All numbers in `value`, by dotted key; elements of arrays are numbered from 1.
fn numbers(value: &Value) -> BTreeMap<String, f64> {
    let mut into = BTreeMap::new();
    walk("", value, &mut into);
    into
}

fn walk(prefix: &str, value: &Value, into: &mut BTreeMap<String, f64>) {
    match value {
        Value::Object(fields) => {
            for (key, value) in fields {
                let dot = if prefix.is_empty() { "" } else { "." };
                walk(&format!("{prefix}{dot}{key}"), value, into);
            }
        }
        Value::Array(elements) => {
            for (index, value) in (1..).zip(elements) {
                walk(&format!("{prefix}.{index}"), value, into);
            }
        }
        _ => into.extend(value.as_f64().map(|number| (prefix.to_owned(), number))),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn refusal(value: &Value) -> String {
        format!("{:#}", Run::parse("a.json", value).unwrap_err())
    }

    #[test]
    fn figures_have_dotted_keys_and_other_values_their_own_fields() {
        let run = json!({"scenario": "hold", "connections": 9, "connected": 8, "new": {"a": {"b": 1.5}},
            "nodes": [{"address": "x", "lost": 2}, {"lost": 3}],
            "failures": {"status 503": 1}, "problems": ["1 connections failed"], "ratio": {"latency_ms.p50": 1.1},
            "timeline": [{"at_s": 0.5, "connected": 3, "pss_mib": 7.0}, {"connected": 4}],
            "floor": {"connected": 9}});
        let run = Run::parse("a.json", &run).unwrap();
        assert_eq!(
            (run.subject.as_str(), run.connections),
            ("server", Some(9.0))
        );
        let figures = [
            ("connected", 8.0),
            ("new.a.b", 1.5),
            ("nodes.1.lost", 2.0),
            ("nodes.2.lost", 3.0),
        ];
        assert_eq!(
            run.measured.figures,
            figures.map(|(key, value)| (key.to_owned(), value)).into()
        );
        let sample = Sample {
            at_s: 0.5,
            connected: 3.0,
            pss_mib: Some(7.0),
            server_cpu_s: None,
        };
        assert_eq!(run.measured.timeline, [sample]);
        assert_eq!(run.floor.unwrap().figure("connected"), Some(9.0));
        assert_eq!(run.problems, ["1 connections failed"]);
        assert_eq!(run.ratio.get("latency_ms.p50"), Some(&1.1));
    }

    #[test]
    fn runs_over_websocket_have_their_own_name() {
        let subject = |transport: Value| {
            let run = json!({"scenario": "hold", "subject": "idlewild", "transport": transport});
            Run::parse("a.json", &run).unwrap().subject
        };
        assert_eq!(subject(json!("sse")), "idlewild");
        assert_eq!(subject(json!(null)), "idlewild");
        assert_eq!(subject(json!("ws")), "idlewild over WebSocket");
    }

    #[test]
    fn a_file_that_is_not_a_run_is_refused_with_the_reason() {
        assert!(refusal(&json!([])).contains("object"));
        assert!(refusal(&json!({"connected": 5})).contains("scenario"));
        for key in ["floor", "ratio", "timeline", "notes", "problems"] {
            let mut run = json!({"scenario": "hold"});
            run[key] = json!("text");
            assert!(refusal(&run).contains(key), "{key}");
        }
        let many: Map<String, Value> = (0..501).map(|n| (format!("k{n}"), json!(n))).collect();
        let run = json!({"scenario": "hold", "floor": many});
        assert!(refusal(&run).contains("at most 500"));
    }

    #[test]
    fn keys_that_are_null_or_absent_are_gaps() {
        let run = Run::parse("a.json", &json!({"scenario": "x", "floor": null})).unwrap();
        assert!(run.floor.is_none() && run.measured.figures.is_empty());
    }
}
