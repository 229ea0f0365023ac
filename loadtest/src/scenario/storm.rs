//! `storm`: all streams are cut at once, as if a node or a network failed. All clients reconnect as fast as
//! the limits of the load allow, with the ids of their last events. Of several nodes, each client returns to another
//! one than it left.
//!
//! Events are published before the cut, while clients are disconnected, and when all are back. With
//! `--no-replay`, and against the floor, none is published while clients are away: there is no history.

use anyhow::Result;

use super::crowd::{Crowd, rest_after_cut};
use super::deliveries::Deliveries;
use super::rounds::{self, Order, Round};
use super::timetable::Timetable;
use crate::cli::Storm;
use crate::clock;
use crate::engine::{Counts, Window};
use crate::figures;
use crate::progress::Stage;
use crate::subject::Subject;

/// Runs the scenario; returns true if it passed.
pub(super) fn run(storm: &Storm) -> Result<bool> {
    let order = Order::Alternating;
    rounds::run(
        "storm",
        &storm.common,
        storm.rounds,
        order,
        |subject, round| measure(subject, storm, round),
    )
}

fn measure(subject: &mut Subject, storm: &Storm, round: u32) -> Result<Round> {
    let connections = storm.common.connections();
    let part = Timetable::broadcasts(storm.events, storm.rate);
    let away = if storm.no_replay || subject.is_floor() {
        Timetable::default()
    } else {
        part.clone()
    };
    let window = Window {
        first: round * 3 * storm.events,
        count: 2 * part.len() + away.len(),
    };
    let mut next = window.first;
    let mut take = |table: &Timetable| {
        let (first, count) = (next, table.len());
        next += count;
        Window { first, count }
    };

    let mut crowd = Crowd::start(subject, &storm.common.limits(), window)?;
    let ramp_s = crowd.ramp(connections, "ramp")?;
    crowd.settle(connections);
    let open = crowd.engine.counts().open;
    let meter = crowd.meter()?;
    let mut punctuality = crowd.publish(&part, subject, take(&part))?;
    let mut expected = open * u64::from(part.len());
    crowd.wait_for(expected);

    let cut_ns = clock::now_ns();
    let cut = crowd.engine.cut_all()?;
    let mut away_events = away.begin(take(&away));
    let mut published = Ok(());
    {
        let mut stage = Stage::new("back", cut);
        let Crowd {
            engine, timeline, ..
        } = &mut crowd;
        engine.reopen(&mut |counts: Counts| {
            stage.at(counts.open);
            timeline.watch(counts.open);
            if published.is_ok() {
                published = away_events.publish_due(subject);
            }
        })?;
    }
    published?;
    let back_s = clock::seconds_between(cut_ns, clock::now_ns());
    let connected = crowd.open()?;
    let back = connected.iter().sum::<u64>();
    while let Some(due_ns) = away_events.due_ns() {
        clock::sleep_until_ns(due_ns);
        away_events.publish_due(subject)?;
    }
    expected += cut * u64::from(away.len());
    crowd.wait_for(expected);

    let after = crowd.publish(&part, subject, take(&part))?;
    expected += back * u64::from(part.len());
    crowd.wait_for(expected);
    let used = meter.read(&crowd)?;

    let tally = crowd.tally()?;
    punctuality.add(&away_events.punctuality)?;
    punctuality.add(&after)?;
    let recipients = recipients([(&part, open), (&away, cut), (&part, back)])?;
    let mut figures = crowd.end(&connected)?;
    figures.connects_per_s = Some(f64::from(connections) / ramp_s);
    figures.used(&used);
    figures.storm = Some(figures::Recovery { back, back_s });
    rest_after_cut(connections);
    Ok(Round {
        figures,
        deliveries: Some(Deliveries::new(tally, &recipients, punctuality)),
        without: None,
    })
}

/// The number of clients that each event is for.
fn recipients(parts: [(&Timetable, u64); 3]) -> Result<Vec<u32>> {
    let mut recipients = Vec::new();
    for (table, clients) in parts {
        let clients = u32::try_from(clients)?;
        recipients.extend((0..table.len()).map(|_| clients));
    }
    Ok(recipients)
}
