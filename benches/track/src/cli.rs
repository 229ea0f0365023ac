//! The commands. Tables go to stdout, reasons to stderr. The exit code is 1 for a regression, 2 for an error.

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result, ensure};
use clap::{Args, Parser, Subcommand};

use crate::history::{self, Line};
use crate::judge::{Change, judge};
use crate::machine::Machine;
use crate::measured::{self, Figures};
use crate::{chart, page};

/// Keeps the history of the benchmarks and compares a run with its last line.
#[derive(Debug, Parser)]
#[command(name = "idlewild-track")]
struct Cli {
    /// The history
    #[arg(long, default_value = "benches/history.jsonl", global = true)]
    history: PathBuf,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Print the last line's commit if it was recorded on a machine that this one cannot be compared with
    Elsewhere,
    /// Check a run; exit code 1 for a regression
    Gate(Run),
    /// Check a run and add it to the history; a regression is not added and has exit code 1
    Record(Record),
    /// Draw DIR/benchmarks.md and DIR/benchmarks.svg
    Draw { directory: PathBuf },
}

/// A run's files.
#[derive(Debug, Args)]
struct Run {
    /// Output of gungraun with --output-format=json
    #[arg(long)]
    counts: PathBuf,
    /// Output of `idlewild-load hold --json`; may be repeated, then the median counts
    #[arg(long, required = true)]
    hold: Vec<PathBuf>,
    /// The counts of the last line's commit on this machine
    #[arg(long, requires = "before_hold")]
    before_counts: Option<PathBuf>,
    /// The bytes of the last line's commit on this machine
    #[arg(long, requires = "before_counts")]
    before_hold: Vec<PathBuf>,
}

#[derive(Debug, Args)]
struct Record {
    #[command(flatten)]
    run: Run,
    /// The commit that was measured
    #[arg(long)]
    commit: String,
    /// The time of the measurement, in UTC
    #[arg(long)]
    date: String,
    /// Criterion's directory
    #[arg(long)]
    criterion: PathBuf,
    /// Output of `idlewild-load --json` for a scenario
    #[arg(long, value_name = "NAME=FILE", value_parser = named)]
    scenario: Vec<(String, PathBuf)>,
    /// Record the run even if it has regressions
    #[arg(long)]
    accept: bool,
}

fn named(text: &str) -> Result<(String, PathBuf), String> {
    let (name, path) = text.split_once('=').ok_or("expected NAME=FILE")?;
    Ok((name.to_owned(), path.into()))
}

pub(crate) fn main() -> ExitCode {
    let cli = Cli::parse();
    match run(&cli) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(1),
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "idlewild-track: {error:#}");
            ExitCode::from(2)
        }
    }
}

fn run(cli: &Cli) -> Result<bool> {
    let mut stdout = std::io::stdout().lock();
    let lines = history::read(&cli.history)?;
    match &cli.command {
        Command::Elsewhere => {
            if let Some(last) = lines.last() {
                let differences = Machine::this()?.differences(&last.machine);
                for difference in &differences {
                    writeln!(std::io::stderr(), "{difference}")?;
                }
                if !differences.is_empty() {
                    writeln!(stdout, "{}", last.commit)?;
                }
            }
            Ok(true)
        }
        Command::Gate(run) => {
            let last = lines.last().with_context(|| {
                format!(
                    "{}: no line yet; scripts/bench records one",
                    cli.history.display()
                )
            })?;
            let machine = Machine::this()?;
            let judged = run.judged(Some(last), &machine)?;
            report(&judged.changes, Some(last), &mut stdout)
        }
        Command::Record(record) => record.append(cli, &lines, Machine::this()?, &mut stdout),
        Command::Draw { directory } => {
            ensure!(
                !lines.is_empty(),
                "{}: nothing to draw; scripts/bench records a line",
                cli.history.display()
            );
            let at = |name| directory.join(name);
            chart::draw(&lines, &at("benchmarks.svg"))?;
            let page = page::text(&lines);
            std::fs::write(at("benchmarks.md"), page).context("benchmarks.md")?;
            Ok(true)
        }
    }
}

/// A run, and what it is compared with.
struct Judged {
    now: Figures,
    before: Option<Figures>,
    changes: Vec<Change>,
}

impl Run {
    /// Compares with the last line as it was recorded, or as it was measured again. The former is allowed
    /// only on the machine that recorded it.
    fn judged(&self, last: Option<&Line>, machine: &Machine) -> Result<Judged> {
        let now = Figures::read(&self.counts, &self.hold)?;
        let before = match &self.before_counts {
            Some(counts) => Some(Figures::read(counts, &self.before_hold)?),
            None => None,
        };
        let elsewhere = last.map(|last| machine.differences(&last.machine));
        ensure!(
            before.is_some() || elsewhere.is_none_or(|differences| differences.is_empty()),
            "the last line was recorded elsewhere: measure its commit here and pass --before-counts and --before-hold"
        );
        let nothing = Figures::default();
        let compared = before.as_ref().or(last.map(|last| &last.figures));
        let changes = judge(compared.unwrap_or(&nothing), &now);
        Ok(Judged {
            now,
            before,
            changes,
        })
    }
}

impl Record {
    fn append(
        &self,
        cli: &Cli,
        lines: &[Line],
        machine: Machine,
        out: &mut impl Write,
    ) -> Result<bool> {
        let judged = self.run.judged(lines.last(), &machine)?;
        let passed = report(&judged.changes, lines.last(), out)?;
        if !passed && !self.accept {
            writeln!(
                out,
                "not recorded; if this is meant: scripts/bench --accept"
            )?;
            return Ok(false);
        }
        let bad = judged
            .changes
            .iter()
            .filter(|change| change.verdict.is_bad());
        let scenarios = self
            .scenario
            .iter()
            .map(|(name, path)| anyhow::Ok((name.clone(), measured::scenario(path)?)));
        let line = Line {
            commit: self.commit.clone(),
            date: self.date.clone(),
            machine,
            figures: judged.now,
            before: judged.before,
            accepted: bad.map(Change::sentence).collect(),
            times_ns: measured::times(&self.criterion)?,
            scenarios: scenarios.collect::<Result<_>>()?,
        };
        history::append(&cli.history, &line)?;
        Ok(true)
    }
}

/// Prints the changes; returns true if all of them may pass.
fn report(changes: &[Change], last: Option<&Line>, out: &mut impl Write) -> Result<bool> {
    let then = last.map_or("-", Line::short_commit);
    writeln!(out, "  {:<32}{then:>12}{:>12}", "", "now")?;
    for change in changes {
        writeln!(out, "{change}")?;
    }
    let bad: Vec<&Change> = changes
        .iter()
        .filter(|change| change.verdict.is_bad())
        .collect();
    for change in &bad {
        writeln!(out, "FAILED: {}", change.sentence())?;
    }
    Ok(bad.is_empty())
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;
    use crate::history::tests::line;

    #[test]
    fn the_command_line_is_well_formed() {
        Cli::command().debug_assert();
    }

    /// Writes a run of one count and its bytes, and returns its arguments.
    fn written(directory: &std::path::Path, count: u64) -> Run {
        let counts = directory.join("counts");
        let total = serde_json::json!({"metrics": {"Ir": {"values": {"new": count}}}});
        let profiles = [serde_json::json!({"data": {"total": total}})];
        let summary =
            serde_json::json!({"module_path": "p::delivery::broadcast", "profiles": profiles});
        std::fs::write(&counts, summary.to_string()).unwrap();
        let hold = directory.join("hold");
        std::fs::write(&hold, r#"{"user_bytes_per_connection": 120.0}"#).unwrap();
        Run {
            counts,
            hold: vec![hold],
            before_counts: None,
            before_hold: Vec::new(),
        }
    }

    #[test]
    fn a_regression_is_recorded_only_when_accepted() {
        let directory = tempfile::tempdir().unwrap();
        let cli = Cli {
            history: directory.path().join("history.jsonl"),
            command: Command::Elsewhere,
        };
        let first = Line {
            machine: Machine::default(),
            ..line("first", 1_000, 120.0)
        };
        let mut record = Record {
            run: written(directory.path(), 1_021),
            commit: "second".to_owned(),
            date: String::new(),
            criterion: directory.path().to_owned(),
            scenario: Vec::new(),
            accept: false,
        };
        let lines = std::slice::from_ref(&first);
        let mut said = Vec::new();
        assert!(
            !record
                .append(&cli, lines, Machine::default(), &mut said)
                .unwrap()
        );
        let said = String::from_utf8(said).unwrap();
        assert!(said.contains("+2.10 %  REGRESSED\n"), "{said}");
        assert_eq!(history::read(&cli.history).unwrap(), []);
        record.accept = true;
        assert!(
            record
                .append(&cli, lines, Machine::default(), &mut Vec::new())
                .unwrap()
        );
        let recorded = history::read(&cli.history).unwrap();
        assert_eq!(
            recorded[0].accepted,
            ["delivery/broadcast: 2.10 % more, over 2 %"]
        );
    }

    #[test]
    fn counts_of_another_machine_are_not_used_for_comparison() {
        let directory = tempfile::tempdir().unwrap();
        let mut run = written(directory.path(), 1_000);
        let last = line("last", 1, 1.0);
        let here = Machine {
            rustc: "another".to_owned(),
            ..Machine::default()
        };
        let refused = run.judged(Some(&last), &here).err().unwrap().to_string();
        assert!(refused.contains("recorded elsewhere"), "{refused}");
        run.before_counts = Some(run.counts.clone());
        run.before_hold = run.hold.clone();
        let judged = run.judged(Some(&last), &here).unwrap();
        assert!(judged.changes.iter().all(|change| !change.verdict.is_bad()));
    }
}
