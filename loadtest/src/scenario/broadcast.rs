//! `broadcast`: the time until an event has reached every client; also the common steps of publishing
//! scenarios.
//!
//! Each round connects anew: one process may not be able to hold the sockets of server and floor at once.

use anyhow::Result;

use super::crowd::{Crowd, rest_after_cut};
use super::deliveries::Deliveries;
use super::rounds::{self, Order, Round};
use super::timetable::Timetable;
use crate::cli::{Broadcast, Common};
use crate::engine::{Limits, Window};
use crate::subject::Subject;

/// Runs the scenario; returns true if it passed.
pub(super) fn run(broadcast: &Broadcast) -> Result<bool> {
    let table = Timetable::broadcasts(broadcast.events, broadcast.rate);
    let (common, order) = (&broadcast.common, Order::Alternating);
    rounds::run(
        "broadcast",
        common,
        broadcast.rounds,
        order,
        |subject, round| measure(subject, common, &common.limits(), &table, round),
    )
}

/// Connects, publishes the timetable, and waits for its events.
pub(super) fn measure(
    subject: &mut Subject,
    common: &Common,
    limits: &Limits,
    table: &Timetable,
    round: u32,
) -> Result<Round> {
    let connections = common.connections();
    let window = Window {
        first: round * table.len(),
        count: table.len(),
    };
    let mut crowd = Crowd::start(subject, limits, window)?;
    let ramp_s = crowd.ramp(connections, "ramp")?;
    crowd.settle(connections);
    let connected = crowd.open()?;
    let open = u32::try_from(connected.iter().sum::<u64>())?;
    let recipients = table.recipients(subject, limits, open);
    let meter = crowd.meter()?;
    let punctuality = crowd.publish(table, subject, window)?;
    crowd.wait_for(recipients.iter().copied().map(u64::from).sum());
    let used = meter.read(&crowd)?;
    let tally = crowd.tally()?;
    let dropped = crowd.dropped(limits, connections)?;
    let mut figures = crowd.end(&connected)?;
    figures.connects_per_s = Some(f64::from(connections) / ramp_s);
    figures.used(&used);
    figures.slow_clients(limits, connections, dropped);
    rest_after_cut(connections);
    Ok(Round {
        figures,
        deliveries: Some(Deliveries::new(tally, &recipients, punctuality)),
        without: None,
    })
}
