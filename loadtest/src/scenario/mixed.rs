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
    let (broadcasts, unicasts) = (
        events(mixed.broadcast_rate, mixed.seconds)?,
        events(mixed.unicast_rate, mixed.seconds)?,
    );
    let (common, order) = (&mixed.common, Order::Alternating);
    rounds::run("mixed", common, mixed.rounds, order, |subject, round| {
        let users = subject.target().users;
        let table = Timetable::broadcasts(broadcasts, mixed.broadcast_rate)
            .merged(Timetable::unicasts(unicasts, mixed.unicast_rate, users));
        measure(subject, common, &common.limits(), &table, round)
    })
}

fn events(rate: f64, seconds: u32) -> Result<u32> {
    let events = (rate * f64::from(seconds)).ceil();
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
