//! `mixed`: the events of a busy application, to single users with some to all among them.

use anyhow::{Result, ensure};

use super::broadcast::measure;
use super::rounds::{self, Order};
use super::timetable::Timetable;
use crate::cli::Mixed;

/// Events of a round: a client thread keeps some forty bytes for each.
const MAX_EVENTS: f64 = 1_000_000.0;

/// Runs the scenario; returns true if it passed.
pub(super) fn run(mixed: &Mixed) -> Result<bool> {
    let rates = (mixed.broadcast_rate, mixed.unicast_rate);
    let (common, order) = (&mixed.common, Order::Alternating);
    rounds::run("mixed", common, mixed.rounds, order, |subject, round| {
        let table = timetable(rates, mixed.seconds.into(), subject.target().users)?;
        measure(subject, common, &common.limits(), &table, round)
    })
}

/// Broadcasts and unicasts at these rates per second.
pub(super) fn timetable(rates: (f64, f64), seconds: f64, users: u32) -> Result<Timetable> {
    let (broadcasts, unicasts) = (events(rates.0, seconds)?, events(rates.1, seconds)?);
    let broadcasts = Timetable::broadcasts(broadcasts, rates.0);
    Ok(broadcasts.merged(Timetable::unicasts(unicasts, rates.1, users)))
}

fn events(rate: f64, seconds: f64) -> Result<u32> {
    let events = (rate * seconds).ceil();
    ensure!(
        events <= MAX_EVENTS,
        "{rate} per second for {seconds} s are {events} events; the limit is {MAX_EVENTS}"
    );
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "between 0 and a million"
    )]
    Ok(events as u32)
}
