//! `slow`: the effect of clients that never read on the others.
//!
//! Each round has two parts: in the first all clients read, in the second a share does not. Slow clients have
//! a small receive buffer. They read only the head of their stream, so that it counts as open. The server is
//! expected to end their streams. A reader that misses an event is an error.

use anyhow::{Result, ensure};

use super::broadcast::measure;
use super::rounds::{self, Order, Round};
use super::timetable::Timetable;
use crate::cli::Slow;
use crate::engine::Limits;

/// Runs the scenario; returns true if it passed.
pub(super) fn run(slow: &Slow) -> Result<bool> {
    let table = Timetable::broadcasts(slow.events, slow.rate);
    let (common, order) = (&slow.common, Order::Alternating);
    let connections = common.connections();
    let limits = Limits {
        deaf_per_cent: slow.share,
        ..common.limits()
    };
    ensure!(
        limits.reading(connections) < connections,
        "{}% of --connections {connections} is less than one client; raise one of them",
        slow.share
    );
    rounds::run("slow", common, slow.rounds, order, |subject, round| {
        let without = measure(subject, common, &common.limits(), &table, 2 * round)?;
        let mut with = measure(subject, common, &limits, &table, 2 * round + 1)?;
        with.figures.add_failures(without.figures);
        Ok(Round {
            without: without.deliveries,
            ..with
        })
    })
}
