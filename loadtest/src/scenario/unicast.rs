//! `unicast`: the time until an event has reached one user among many.

use anyhow::Result;

use super::broadcast::measure;
use super::rounds::{self, Order};
use super::timetable::Timetable;
use crate::cli::Unicast;

/// Runs the scenario; returns true if it passed.
pub(super) fn run(unicast: &Unicast) -> Result<bool> {
    let (common, order) = (&unicast.common, Order::Alternating);
    rounds::run(
        "unicast",
        common,
        unicast.rounds,
        order,
        |subject, round| {
            let users = subject.target().users;
            let table = Timetable::unicasts(unicast.events, unicast.rate, users);
            measure(subject, common, &common.limits(), &table, round)
        },
    )
}
