//! `idle`: the CPU cost of holding connections.
//!
//! Connections are held, and the server's user and system time is measured over some seconds, together with
//! the heartbeats that the clients read. Then the floor sends the same number of the same bytes in the same
//! time, spread evenly, to as many sockets.

use std::time::Duration;

use anyhow::Result;

use super::crowd::{Crowd, rest_after_cut};
use super::rounds::{self, Order, Round};
use crate::cli::Idle;
use crate::engine::Window;
use crate::subject::Subject;

/// Runs the scenario; returns true if it passed.
pub(super) fn run(idle: &Idle) -> Result<bool> {
    let rounds = if idle.common.vs_floor { idle.rounds } else { 1 };
    let mut heartbeats = 0;
    rounds::run(
        "idle",
        &idle.common,
        rounds,
        Order::SubjectFirst,
        |subject, _| {
            subject.set_floor_heartbeats(floor_period_ms(idle, heartbeats))?;
            let round = measure(subject, idle)?;
            subject.set_floor_heartbeats(0)?;
            heartbeats = round.figures.heartbeats.unwrap_or(0);
            Ok(round)
        },
    )
}

fn measure(subject: &Subject, idle: &Idle) -> Result<Round> {
    let connections = idle.common.connections();
    let mut crowd = Crowd::start(subject, &idle.common.limits(), Window::default())?;
    crowd.ramp(connections, "ramp")?;
    crowd.settle(connections);
    let (meter, before) = (crowd.meter()?, crowd.engine.counts());
    crowd.rest("measuring", Duration::from_secs(idle.seconds.into()));
    let used = meter.read(&crowd)?;
    let after = crowd.engine.counts();
    let connected = crowd.open()?;
    let mut figures = crowd.end(&connected)?;
    figures.used(&used);
    figures.heartbeats = Some(after.heartbeats - before.heartbeats);
    rest_after_cut(connections);
    Ok(Round {
        figures,
        ..Round::default()
    })
}

/// The period at which the floor sends as many heartbeats as the subject did; 0 if there were none.
fn floor_period_ms(idle: &Idle, heartbeats: u64) -> u64 {
    let window_ms = u64::from(idle.seconds) * 1_000 * u64::from(idle.common.connections());
    window_ms.checked_div(heartbeats).unwrap_or(0)
}
