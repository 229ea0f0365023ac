//! The outcome of a run: a table on stdout, JSON with stable keys in a file, and whether the run passed.

use std::collections::BTreeMap;
use std::io::Write;

use anyhow::Result;
use serde::Serialize;
use serde_json::Value;

use crate::cli::Common;
use crate::clock;
use crate::figures::Figures;
use crate::files;
use crate::transport::Transport;

/// A whole run.
#[derive(Debug, Serialize)]
pub(crate) struct Outcome {
    pub(crate) scenario: &'static str,
    /// What was measured: idlewild, another server by its template's name, or the floor.
    pub(crate) subject: String,
    /// The transport of the clients.
    pub(crate) transport: Transport,
    /// When the run ended.
    pub(crate) ended_unix_s: u64,
    pub(crate) connections: u32,
    #[serde(flatten)]
    pub(crate) figures: Figures,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) floor: Option<Figures>,
    /// Subject divided by floor, for the figures where this is meaningful.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) ratio: BTreeMap<String, f64>,
    /// Remarks about the run.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) notes: Vec<String>,
    /// Why the run did not pass.
    pub(crate) problems: Vec<String>,
}

impl Outcome {
    /// Adds the floor's figures and judges the run.
    pub(crate) fn new(
        scenario: &'static str,
        subject: &str,
        transport: Transport,
        common: &Common,
        mut figures: Figures,
        mut floor: Option<Figures>,
    ) -> Self {
        if let Some(both_ends) = figures.kernel_bytes_both_ends {
            let client_end = floor
                .as_ref()
                .and_then(|floor| floor.kernel_bytes_both_ends)
                .unwrap_or(both_ends)
                / 2.0;
            figures.kernel_bytes_per_connection = Some(both_ends - client_end);
            if let Some(floor) = &mut floor {
                floor.kernel_bytes_per_connection =
                    floor.kernel_bytes_both_ends.map(|bytes| bytes - client_end);
            }
        }
        let ratio = floor
            .as_ref()
            .map(|floor| ratios(&figures, floor))
            .unwrap_or_default();
        let mut problems = figures.problems("");
        problems.extend(floor.iter().flat_map(|floor| floor.problems("floor: ")));
        Self {
            scenario,
            subject: subject.to_owned(),
            transport,
            ended_unix_s: clock::unix_s(),
            connections: common.connections(),
            figures,
            floor,
            ratio,
            notes: Vec::new(),
            problems,
        }
    }

    /// Prints the table and writes the JSON; returns true if the run passed.
    pub(crate) fn finish(&self, common: &Common) -> Result<bool> {
        let mut stdout = std::io::stdout().lock();
        stdout.write_all(self.table().as_bytes())?;
        stdout.flush()?;
        if let Some(path) = &common.json {
            files::write_whole(path, &(serde_json::to_string_pretty(self)? + "\n"))?;
        }
        Ok(self.problems.is_empty())
    }

    fn table(&self) -> String {
        let (subject, floor) = (
            flat(&self.figures),
            self.floor.as_ref().map(flat).unwrap_or_default(),
        );
        let mut keys: Vec<&str> = subject.iter().map(|(key, _)| key.as_str()).collect();
        keys.extend(
            floor
                .iter()
                .map(|(key, _)| key.as_str())
                .filter(|key| find(&subject, key).is_none()),
        );
        let by = match self.transport {
            Transport::Sse => "",
            Transport::Ws => " over WebSocket",
        };
        let mut table = format!(
            "{}: {}, {} connections{by}\n",
            self.subject, self.scenario, self.connections
        );
        for (index, node) in (1..).zip(&self.figures.nodes) {
            table += &row(&format!("nodes.{index} is {}", node.address), "", "", "");
        }
        let headings = if self.floor.is_some() {
            ["", "floor", "ratio"]
        } else {
            [""; 3]
        };
        table += &row("", "measured", headings[1], headings[2]);
        for key in keys {
            let cell = |cells: &[(String, f64)]| find(cells, key).map_or_else(String::new, number);
            let ratio = self
                .ratio
                .get(key)
                .map_or_else(String::new, |ratio| format!("{ratio:.3}"));
            table += &row(key, &cell(&subject), &cell(&floor), &ratio);
        }
        for note in &self.notes {
            table.extend(["NOTE: ", note, "\n"]);
        }
        for problem in &self.problems {
            table.extend(["FAILED: ", problem, "\n"]);
        }
        table
    }
}

/// Only figures that depend on the server's work. The floor's user bytes are almost zero.
fn ratios(figures: &Figures, floor: &Figures) -> BTreeMap<String, f64> {
    let floor = flat(floor);
    let compared = [
        "kernel_bytes_per_connection",
        "server_cpu_s",
        "connects_per_s",
        "time_to_last_ms",
        "latency_ms",
        "latency_ms_without",
        "time_to_last_ms_without",
        "back_s",
    ];
    let rows = flat(figures).into_iter().filter_map(|(key, value)| {
        let base = find(&floor, &key).filter(|&base| base > 0.0)?;
        let counts = compared.contains(&key.split('.').next()?);
        counts.then_some((key, value / base))
    });
    rows.collect()
}

/// The figures as `(dotted key, number)`, sorted by key, without the reasons for failures. Nodes are numbered from 1.
fn flat(figures: &Figures) -> Vec<(String, f64)> {
    fn walk(prefix: &str, value: &Value, into: &mut Vec<(String, f64)>) {
        match value {
            Value::Object(fields) => {
                for (key, value) in fields {
                    let key = if prefix.is_empty() {
                        key.clone()
                    } else {
                        format!("{prefix}.{key}")
                    };
                    walk(&key, value, into);
                }
            }
            Value::Array(nodes) => {
                for (index, node) in (1..).zip(nodes) {
                    walk(&format!("{prefix}.{index}"), node, into);
                }
            }
            _ => into.extend(value.as_f64().map(|number| (prefix.to_owned(), number))),
        }
    }
    let mut rows = Vec::new();
    let figures = Figures {
        failures: BTreeMap::new(),
        timeline: Vec::new(),
        ..figures.clone()
    };
    walk(
        "",
        &serde_json::to_value(figures).expect("plain numbers and maps"),
        &mut rows,
    );
    rows
}

fn find(rows: &[(String, f64)], key: &str) -> Option<f64> {
    rows.iter()
        .find(|(name, _)| name == key)
        .map(|&(_, value)| value)
}

fn number(value: f64) -> String {
    if value.fract() == 0.0 {
        format!("{value:.0}")
    } else {
        format!("{value:.2}")
    }
}

fn row(key: &str, measured: &str, floor: &str, ratio: &str) -> String {
    let row = format!("  {key:<44}{measured:>14}{floor:>14}{ratio:>9}");
    row.trim_end().to_owned() + "\n"
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::cli::{Cli, Command, Scenario};
    use crate::figures::{Delivery, Percentiles};

    fn common() -> Common {
        let cli = Cli::try_parse_from(["load", "idle", "-n", "5"]).unwrap();
        let Command::Scenario(Scenario::Idle(idle)) = cli.command else {
            panic!("not idle")
        };
        idle.common
    }

    #[test]
    fn the_clients_end_is_computed_from_the_floor() {
        let figures = |bytes| Figures {
            kernel_bytes_both_ends: Some(bytes),
            ..Figures::default()
        };
        let outcome = Outcome::new(
            "hold",
            "x",
            Transport::Ws,
            &common(),
            figures(8_200.0),
            Some(figures(8_000.0)),
        );
        assert_eq!(outcome.figures.kernel_bytes_per_connection, Some(4_200.0));
        assert_eq!(
            outcome.floor.as_ref().unwrap().kernel_bytes_per_connection,
            Some(4_000.0)
        );
        assert!((outcome.ratio["kernel_bytes_per_connection"] - 1.05).abs() < 1e-9);
    }

    #[test]
    fn every_problem_fails_the_run() {
        assert!(
            Outcome::new(
                "idle",
                "x",
                Transport::Ws,
                &common(),
                Figures::default(),
                None
            )
            .problems
            .is_empty()
        );
        let failures = BTreeMap::from([("status 503".to_owned(), 2)]);
        let bad = Figures {
            failed: 2,
            failures,
            ..Figures::default()
        };
        let outcome = Outcome::new(
            "idle",
            "x",
            Transport::Ws,
            &common(),
            Figures::default(),
            Some(bad),
        );
        assert_eq!(
            outcome.problems,
            ["floor: 2 connections failed", "floor: 2 × status 503"]
        );
        assert!(
            outcome
                .table()
                .contains("FAILED: floor: 2 connections failed\n")
        );
    }

    #[test]
    fn notes_are_printed_below_the_figures_and_do_not_fail_the_run() {
        let outcome = Outcome {
            notes: vec!["the floor is plain".to_owned()],
            ..Outcome::new(
                "idle",
                "x",
                Transport::Ws,
                &common(),
                Figures::default(),
                None,
            )
        };
        assert!(outcome.table().ends_with("NOTE: the floor is plain\n"));
        assert!(outcome.problems.is_empty());
    }

    #[test]
    fn the_keys_are_the_documented_ones() {
        let zero = Percentiles {
            min: 1.0,
            p50: 1.0,
            p90: 1.0,
            p99: 1.0,
            p999: 1.0,
            max: 1.0,
        };
        let delivery = Delivery {
            received: 1,
            expected: 1,
            missed: 0,
            duplicates: 0,
            out_of_order: 0,
            foreign: 0,
            misdirected: 0,
            publish_late_ms_max: 0.0,
            publish_ms: zero,
            time_to_last_ms: zero,
            latency_ms: zero,
        };
        let figures = Figures {
            delivery: Some(delivery),
            ..Figures::default()
        };
        let outcome = Outcome::new(
            "broadcast",
            "x",
            Transport::Ws,
            &common(),
            figures.clone(),
            Some(figures),
        );
        let json = serde_json::to_value(&outcome).unwrap();
        for key in [
            "connected",
            "failed",
            "received",
            "expected",
            "duplicates",
            "out_of_order",
            "missed",
        ] {
            assert!(json[key].is_u64() && json["floor"][key].is_u64(), "{key}");
        }
        for key in ["min", "p50", "p90", "p99", "p999", "max"] {
            assert!(
                json["latency_ms"][key].is_f64()
                    && json["ratio"][format!("time_to_last_ms.{key}")].is_f64(),
                "{key}"
            );
        }
    }
}
