//! Measures subject and floor in turn, round by round, and combines the results.
//!
//! The order alternates, so that a drift of the machine affects both.

use std::path::Path;

use anyhow::{Context, Result};

use super::deliveries::Deliveries;
use crate::cli::Common;
use crate::figures::Figures;
use crate::outcome::Outcome;
use crate::subject::{FloorKind, Subject};

/// The result of one round.
#[derive(Debug, Default)]
pub(super) struct Round {
    pub(super) figures: Figures,
    pub(super) deliveries: Option<Deliveries>,
    /// The result without the slow clients.
    pub(super) without: Option<Deliveries>,
}

/// Whether the floor may be measured first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Order {
    Alternating,
    /// The floor's round depends on the subject's.
    SubjectFirst,
}

/// Measures the subject, and the floor on request, in this many rounds. Returns true if all passed.
pub(super) fn run(
    scenario: &'static str,
    common: &Common,
    rounds: u32,
    order: Order,
    mut measure: impl FnMut(&mut Subject, u32) -> Result<Round>,
) -> Result<bool> {
    // Checked before minutes of measuring instead of after them.
    if let Some(directory) = common.json.as_deref().and_then(Path::parent) {
        std::fs::create_dir_all(directory).with_context(|| directory.display().to_string())?;
    }
    let mut subject = Subject::open(common)?;
    let mut floor = common
        .vs_floor
        .then(|| Subject::floor(common, FloorKind::Plain))
        .transpose()?;
    let (mut of_subject, mut of_floor) = (None, None);
    for round in 0..rounds {
        let floor_first = order == Order::Alternating && round % 2 == 1;
        if !floor_first {
            add(&mut of_subject, measure(&mut subject, round)?)?;
        }
        if let Some(floor) = &mut floor {
            add(&mut of_floor, measure(floor, round)?)?;
        }
        if floor_first {
            add(&mut of_subject, measure(&mut subject, round)?)?;
        }
    }
    let (name, notes) = (subject.name().to_owned(), subject.notes(common));
    let transport = subject.transport();
    subject.stop()?;
    let figures = of_subject.map(Round::into_figures).unwrap_or_default();
    let beside = of_floor.map(Round::into_figures);
    let outcome = Outcome {
        notes,
        ..Outcome::new(scenario, &name, transport, common, figures, beside)
    };
    outcome.finish(common)
}

/// Adds a round to those before it.
fn add(sum: &mut Option<Round>, round: Round) -> Result<()> {
    let Some(sum) = sum else {
        *sum = Some(round);
        return Ok(());
    };
    sum.figures.merge(round.figures);
    for (sum, round) in [
        (&mut sum.deliveries, round.deliveries),
        (&mut sum.without, round.without),
    ] {
        if let (Some(sum), Some(round)) = (sum, round) {
            sum.add(&round)?;
        }
    }
    Ok(())
}

impl Round {
    fn into_figures(self) -> Figures {
        let (mut figures, mut deliveries) = (self.figures, self.deliveries);
        if let (Some(deliveries), Some(without)) = (&mut deliveries, &self.without) {
            // Failures without slow clients count as well.
            deliveries.add_counts(without);
            if let Some(slow) = &mut figures.slow {
                let without = without.figures();
                slow.latency_ms_without = Some(without.latency_ms);
                slow.time_to_last_ms_without = Some(without.time_to_last_ms);
            }
        }
        figures.delivery = deliveries.as_ref().map(Deliveries::figures);
        figures
    }
}
