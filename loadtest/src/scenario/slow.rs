//! `slow`: what clients that never read do to the others.
//!
//! Each round is run twice: first everybody reads, then the share does not. Slow clients read the head of
//! their stream, so that it counts as open, and nothing after it, with a small receive buffer. That the
//! server ends their streams is expected; that a reader misses an event is not.

use anyhow::{Result, ensure};

use super::broadcast::measure;
use super::rounds::{self, Order, Round};
use super::timetable::Timetable;
use crate::cli::Slow;
use crate::engine::Limits;

/// Runs the scenario; whether it passed.
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
        "{}% of --connections {connections} is nobody: ask for more of either",
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
