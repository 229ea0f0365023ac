//! Reads the output of the tools: gungraun's summaries, the load generator's JSON, criterion's estimates.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// The stable figures, which are checked.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Figures {
    /// Instructions by benchmark.
    pub(crate) instructions: BTreeMap<String, u64>,
    /// Bytes per connection: [`USER`], and [`KERNEL`] if it could be read.
    pub(crate) bytes: BTreeMap<String, f64>,
}

/// The server's process: the slope of its PSS.
pub(crate) const USER: &str = "user";
/// The kernel's part: the slope of its slabs.
pub(crate) const KERNEL: &str = "kernel";

/// The figures that are kept of a scenario, if it has them.
const SCENARIO_FIGURES: &[&str] = &[
    "connects_per_s",
    "latency_ms.p50",
    "latency_ms.p99",
    "ratio.latency_ms.p50",
    "ratio.server_cpu_s",
    "ratio.time_to_last_ms.p50",
    "server_cpu_s",
    "time_to_last_ms.p50",
    "time_to_last_ms.p99",
];

impl Figures {
    /// Reads the counts of one run and the bytes of several, of which it takes the median.
    pub(crate) fn read(counts: &Path, holds: &[PathBuf]) -> Result<Self> {
        let runs = holds.iter().map(|path| json(path));
        let runs: Vec<Value> = runs.collect::<Result<_>>()?;
        let mut bytes = BTreeMap::new();
        for (name, key) in [
            (USER, "user_bytes_per_connection"),
            (KERNEL, "kernel_bytes_per_connection"),
        ] {
            let of_runs: Option<Vec<f64>> = runs.iter().map(|run| run[key].as_f64()).collect();
            match of_runs.and_then(median) {
                Some(median) => drop(bytes.insert(name.to_owned(), median)),
                None if name == KERNEL => {}
                None => bail!(
                    "no {key} in every one of {holds:?}; were they written by `idlewild-load hold --spawn`?"
                ),
            }
        }
        let text = fs::read_to_string(counts).with_context(|| counts.display().to_string())?;
        let instructions = instructions(&text).with_context(|| counts.display().to_string())?;
        Ok(Self {
            instructions,
            bytes,
        })
    }
}

/// The median; of an even number, the lower of the two in the middle.
fn median(mut of: Vec<f64>) -> Option<f64> {
    of.sort_by(f64::total_cmp);
    of.get(of.len().checked_sub(1)? / 2).copied()
}

/// The part of gungraun's summary that we read.
#[derive(Deserialize)]
struct Summary {
    /// Program, group and function.
    module_path: String,
    id: Option<String>,
    profiles: Vec<Value>,
}

/// Reads gungraun's `--output-format=json`: one summary per line.
fn instructions(text: &str) -> Result<BTreeMap<String, u64>> {
    let mut counts = BTreeMap::new();
    for line in text.lines() {
        let summary: Summary = serde_json::from_str(line)
            .with_context(|| format!("not a summary of gungraun: {line:.80}"))?;
        let path = summary.module_path.split("::").skip(1);
        let name: Vec<&str> = path.chain(summary.id.as_deref()).collect();
        let name = name.join("/");
        let count = summary.profiles.iter().find_map(|profile| {
            profile["data"]["total"]["metrics"]["Ir"]["values"]["new"].as_u64()
        });
        let count = count.with_context(|| format!("{name}: no count of instructions"))?;
        ensure!(count > 0, "{name}: nothing was counted");
        let double = counts.insert(name.clone(), count);
        ensure!(double.is_none(), "{name}: counted twice");
    }
    ensure!(!counts.is_empty(), "no counts");
    Ok(counts)
}

/// The figures that are kept of a scenario's JSON.
pub(crate) fn scenario(path: &Path) -> Result<BTreeMap<String, f64>> {
    let run = json(path)?;
    let kept = SCENARIO_FIGURES.iter().filter_map(|&key| {
        // The keys of `ratio` contain dots.
        let value = match key.strip_prefix("ratio.") {
            Some(key) => &run["ratio"][key],
            None => key.split('.').fold(&run, |value, key| &value[key]),
        };
        Some((key.to_owned(), value.as_f64()?))
    });
    let kept: BTreeMap<_, _> = kept.collect();
    ensure!(
        !kept.is_empty(),
        "{}: none of a scenario's figures in it",
        path.display()
    );
    Ok(kept)
}

/// Criterion's medians in nanoseconds, by benchmark, from its directory.
pub(crate) fn times(directory: &Path) -> Result<BTreeMap<String, f64>> {
    let mut times = BTreeMap::new();
    let mut rest = vec![directory.to_owned()];
    while let Some(directory) = rest.pop() {
        let entries = fs::read_dir(&directory).with_context(|| directory.display().to_string())?;
        for entry in entries {
            let path = entry?.path();
            if !path.is_dir() {
                continue;
            }
            if path.ends_with("new") {
                let name = json(&path.join("benchmark.json"))?;
                let estimates = json(&path.join("estimates.json"))?;
                let name = name["full_id"].as_str();
                let median = estimates["median"]["point_estimate"].as_f64();
                let (name, median) = name
                    .zip(median)
                    .with_context(|| format!("{}: no name or no median", path.display()))?;
                times.insert(name.to_owned(), median);
            } else {
                rest.push(path);
            }
        }
    }
    Ok(times)
}

fn json(path: &Path) -> Result<Value> {
    let text = fs::read_to_string(path).with_context(|| path.display().to_string())?;
    serde_json::from_str(&text).with_context(|| format!("{}: not JSON", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn summary(path: &str, id: &str, count: u64) -> String {
        let total = serde_json::json!({"metrics": {"Ir": {"values": {"new": count}}}});
        let profiles = [serde_json::json!({"data": {"parts": [], "total": total}})];
        let summary = serde_json::json!({"module_path": path, "id": id, "profiles": profiles});
        summary.to_string() + "\n"
    }

    fn directory_with(files: &[(&str, &str)]) -> tempfile::TempDir {
        let directory = tempfile::tempdir().unwrap();
        for (name, text) in files {
            let path = directory.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        directory
    }

    #[test]
    fn counts_are_named_by_group_function_and_id() {
        let text = summary("p::encode::event", "bytes_64", 7) + &summary("p::wheel::pass", "x", 8);
        let expected = [
            ("encode/event/bytes_64".to_owned(), 7),
            ("wheel/pass/x".to_owned(), 8),
        ];
        assert_eq!(instructions(&text).unwrap(), expected.into());
    }

    #[test]
    fn a_count_of_nothing_or_no_count_is_an_error() {
        let nothing = instructions(&summary("p::wheel::pass", "x", 0)).unwrap_err();
        assert_eq!(nothing.to_string(), "wheel/pass/x: nothing was counted");
        assert!(instructions("").is_err());
        assert!(instructions(r#"{"module_path": "p::a", "id": null, "profiles": []}"#).is_err());
        let twice = summary("p::a::b", "c", 1).repeat(2);
        assert!(instructions(&twice).is_err());
    }

    #[test]
    fn the_median_of_several_runs_counts() {
        let counts = summary("p::wheel::pass", "x", 8);
        let hold = |user: f64| format!(r#"{{"user_bytes_per_connection": {user}}}"#);
        let (one, two, three) = (hold(130.0), hold(120.0), hold(121.0));
        let files = [
            ("counts", counts.as_str()),
            ("1", &one),
            ("2", &two),
            ("3", &three),
        ];
        let directory = directory_with(&files);
        let at = |name: &str| directory.path().join(name);
        let figures = Figures::read(&at("counts"), &[at("1"), at("2"), at("3")]).unwrap();
        // Without root, there are no kernel bytes. `judge` decides what that means.
        assert_eq!(figures.bytes, [("user".to_owned(), 121.0)].into());
        fs::write(at("2"), "{}").unwrap();
        assert!(Figures::read(&at("counts"), &[at("1"), at("2")]).is_err());
    }

    #[test]
    fn ratios_and_nested_figures_of_a_scenario_are_kept() {
        let text = r#"{"server_cpu_s": 0.5, "latency_ms": {"p99": 7.5, "max": 9.0},
            "ratio": {"time_to_last_ms.p50": 0.97}, "lost": 0}"#;
        let directory = directory_with(&[("broadcast.json", text)]);
        let kept = scenario(&directory.path().join("broadcast.json")).unwrap();
        let expected = [
            ("latency_ms.p99".to_owned(), 7.5),
            ("ratio.time_to_last_ms.p50".to_owned(), 0.97),
            ("server_cpu_s".to_owned(), 0.5),
        ];
        assert_eq!(kept, expected.into());
    }

    #[test]
    fn criterions_medians_are_found_in_all_directories() {
        let directory = directory_with(&[
            ("group/64/new/benchmark.json", r#"{"full_id": "group/64"}"#),
            (
                "group/64/new/estimates.json",
                r#"{"median": {"point_estimate": 12.5}}"#,
            ),
            ("group/64/base/estimates.json", "{}"),
        ]);
        let times = times(directory.path()).unwrap();
        assert_eq!(times, [("group/64".to_owned(), 12.5)].into());
    }
}
