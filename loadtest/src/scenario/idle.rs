//! `idle`: what holding costs in CPU.
//!
//! Connections are held and the server's user and system time is read over some seconds, with the
//! heartbeats that the clients read meanwhile. The floor then sends just as many of the same bytes in the
//! same time, spread evenly, to as many sockets.

use std::time::Duration;

use anyhow::Result;

use super::{connection_figures, cpu_s, floor, merge_into, ramp, since};
use crate::cli::Idle;
use crate::clock;
use crate::engine::{Engine, Window};
use crate::figures::Figures;
use crate::outcome::Outcome;
use crate::progress::rest;
use crate::subject::Subject;

/// Quiet time after the ramp, so that its work is over when the measurement begins.
const SETTLE: Duration = Duration::from_secs(2);

/// Runs the scenario; whether it passed.
pub(crate) fn run(idle: &Idle) -> Result<bool> {
    let mut subject = Subject::open(&idle.common)?;
    let mut floor = floor(&idle.common)?;
    let rounds = if floor.is_some() { idle.rounds } else { 1 };
    let (mut figures, mut beside) = (None, None);
    for _ in 0..rounds {
        let round = measure(&mut subject, idle, 0)?;
        if let Some(floor) = &mut floor {
            let period_ms = floor_period_ms(idle, &round);
            merge_into(&mut beside, measure(floor, idle, period_ms)?);
        }
        merge_into(&mut figures, round);
    }
    subject.stop()?;
    Outcome::new("idle", &idle.common, figures.unwrap_or_default(), beside).finish(&idle.common)
}

fn measure(subject: &mut Subject, idle: &Idle, floor_period_ms: u64) -> Result<Figures> {
    let mut engine = Engine::start(subject.target(), &idle.common.limits(), Window::default())?;
    ramp(&mut engine, idle.common.connections(), "ramp")?;
    subject.set_floor_heartbeats(floor_period_ms)?;
    rest("settling", SETTLE);
    let (cpu_before, heartbeats_before, start_ns) =
        (cpu_s(subject)?, engine.counts().heartbeats, clock::now_ns());
    rest("measuring", Duration::from_secs(idle.seconds.into()));
    let cpu = since(cpu_before, cpu_s(subject)?);
    let counts = engine.counts();
    let mut figures = connection_figures(&engine, counts.open)?;
    figures.measured_s = Some(clock::seconds_between(start_ns, clock::now_ns()));
    figures.server_cpu_s = cpu;
    figures.heartbeats = Some(counts.heartbeats - heartbeats_before);
    subject.set_floor_heartbeats(0)?;
    Ok(figures)
}

/// The period at which the floor sends as many heartbeats as the subject did; 0 (none) if it sent none.
fn floor_period_ms(idle: &Idle, figures: &Figures) -> u64 {
    let window_ms = u64::from(idle.seconds) * 1_000 * u64::from(idle.common.connections());
    figures
        .heartbeats
        .and_then(|heartbeats| window_ms.checked_div(heartbeats))
        .unwrap_or(0)
}
