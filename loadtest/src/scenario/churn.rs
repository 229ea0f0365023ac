//! `churn`: a soak test. Clients leave at a rate and are replaced, and memory is observed.
//!
//! During the first quarter, pools and slabs grow to their working size. Growth is measured after that.

use std::time::Duration;

use anyhow::Result;

use super::crowd::{Crowd, rest_after_cut};
use super::rounds::{self, Order, Round};
use crate::cli::Churn;
use crate::engine::Window;
use crate::figures::{Soak, mib, total};
use crate::subject::Subject;

/// Runs the scenario; returns true if it passed.
pub(super) fn run(churn: &Churn) -> Result<bool> {
    rounds::run(
        "churn",
        &churn.common,
        1,
        Order::Alternating,
        |subject, _| measure(subject, churn),
    )
}

fn measure(subject: &mut Subject, churn: &Churn) -> Result<Round> {
    let connections = churn.common.connections();
    let mut crowd = Crowd::start(subject, &churn.common.limits(), Window::default())?;
    crowd.ramp(connections, "ramp")?;
    crowd.settle(connections);
    let before = crowd.engine.counts();
    let meter = crowd.meter()?;
    let whole = Duration::from_secs(churn.seconds.into());

    crowd.engine.churn(churn.rate);
    let quarter = whole / 4;
    crowd.rest("churning, first quarter", quarter);
    let early = pss_mib(subject)?;
    crowd.rest("churning", 3 * quarter);
    let late = pss_mib(subject)?;
    crowd.engine.settle()?;

    let used = meter.read(&crowd)?;
    let after = crowd.engine.counts();
    let churned = after.opened - before.opened;
    let connected = crowd.open()?;
    let mut figures = crowd.end(&connected)?;
    #[expect(
        clippy::cast_precision_loss,
        reason = "connects of a run, far below 2^53"
    )]
    let per_s = churned as f64 / used.measured_s;
    figures.connects_per_s = Some(per_s);
    figures.used(&used);
    figures.heartbeats = Some(after.heartbeats - before.heartbeats);
    figures.soak = Some(Soak {
        churned,
        pss_growth_mib: early.zip(late).map(|(early, late)| late - early),
    });
    rest_after_cut(connections);
    Ok(Round {
        figures,
        ..Round::default()
    })
}

fn pss_mib(subject: &Subject) -> Result<Option<f64>> {
    Ok(total(&subject.processes().pss_bytes()?).map(mib))
}
