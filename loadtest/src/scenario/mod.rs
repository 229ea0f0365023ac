//! What is run. Each scenario measures one [`Subject`] in a function of its own, then the floor with the
//! same function when asked, and reports both.

pub(crate) mod broadcast;
pub(crate) mod hold;
pub(crate) mod idle;

use anyhow::Result;

use crate::cli::Common;
use crate::engine::{Counts, Engine};
use crate::figures::Figures;
use crate::progress::Stage;
use crate::subject::{Subject, proc};

/// The floor, when it is to be measured too.
fn floor(common: &Common) -> Result<Option<Subject>> {
    common.vs_floor.then(|| Subject::floor(common)).transpose()
}

/// Ramps with progress; returns the seconds it took.
fn ramp(engine: &mut Engine, connections: u32, label: &str) -> Result<f64> {
    let mut stage = Stage::new(format!("{label} to {connections}"), u64::from(connections));
    engine.ramp_to(connections, &mut |counts: Counts| stage.at(counts.open))
}

/// CPU seconds of the subject so far, where its process is known.
fn cpu_s(subject: &Subject) -> Result<Option<f64>> {
    subject.pid().map(proc::cpu_s).transpose()
}

/// Connection counts and failures as they stand at the end of a measurement.
fn connection_figures(engine: &Engine, connected: u64) -> Result<Figures> {
    let counts = engine.counts();
    let failures = engine.collect()?.failures;
    Ok(Figures {
        connected,
        failed: counts.failed,
        lost: counts.lost,
        failures,
        ..Figures::default()
    })
}

/// The difference of two readings that may be missing.
fn since(before: Option<f64>, after: Option<f64>) -> Option<f64> {
    Some(after? - before?)
}

/// Adds a round's figures to those before it.
fn merge_into(sum: &mut Option<Figures>, round: Figures) {
    match sum {
        Some(sum) => sum.merge(round),
        None => *sum = Some(round),
    }
}
