//! `publish`: single events at a constant rate over several connections, without waiting for answers.
//!
//! An answer is timed from its event's scheduled time, so a server that answers late delays no later event, and every
//! event that waits behind it counts with its wait.

use anyhow::{Result, ensure};

use super::crowd::Crowd;
use super::deliveries::Deliveries;
use super::rounds::{self, Order, Round};
use super::timetable::{Punctuality, Timetable};
use crate::cli::Publish;
use crate::clock;
use crate::engine::Window;
use crate::figures::{self, Percentiles, Publishing};
use crate::subject::Subject;

/// The most events of a run: the clients keep 40 bytes of each, in each of their threads.
const MAX_EVENTS: u32 = 10_000_000;
/// Users without connections: enough that all connections of the publisher have some.
const NOBODIES: u32 = 10_000;

/// Runs the scenario; returns true if it passed.
pub(super) fn run(publish: &Publish) -> Result<bool> {
    let common = &publish.common;
    ensure!(
        !common.floor && !common.vs_floor,
        "publish: the floor has no admin listener"
    );
    rounds::run("publish", common, 1, Order::SubjectFirst, |subject, _| {
        measure(subject, publish)
    })
}

fn measure(subject: &mut Subject, publish: &Publish) -> Result<Round> {
    let (common, rate) = (&publish.common, publish.rate);
    let limits = common.limits();
    let connections = common.connections();
    let table = timetable(publish, subject.target().users)?;
    let window = Window {
        first: 0,
        count: table.len(),
    };
    let mut crowd = Crowd::start(subject, &limits, window)?;
    crowd.ramp(connections, "ramp")?;
    crowd.settle(connections);
    let connected = crowd.open()?;
    let open = u32::try_from(connected.iter().sum::<u64>())?;
    let recipients = table.recipients(subject, &limits, open);
    let publisher = subject.open_loop(publish.publishers as usize, publish.linger)?;
    let (meter, cpu_s) = (crowd.meter()?, clock::thread_cpu_s());
    let (start_ns, answers) = table.publish_open(publisher, window)?;
    let publisher_cpu_s = clock::thread_cpu_s() - cpu_s;
    crowd.wait_for(recipients.iter().copied().map(u64::from).sum());
    let used = meter.read(&crowd)?;
    let tally = crowd.tally()?;
    let mut figures = crowd.end(&connected)?;
    figures.used(&used);
    let per_event_us = |cpu_s: f64| cpu_s * 1e6 / count(answers.accepted.max(1));
    let refused: u64 = answers.failures.values().sum();
    let took_s = clock::seconds_between(start_ns, answers.last_ns);
    figures.publishing = Some(Publishing {
        publishers: publish.publishers,
        accepted: answers.accepted,
        refused,
        rate_asked: rate,
        rate_reached: if took_s > 0.0 {
            count(answers.accepted) / took_s
        } else {
            0.0
        },
        answer_from_schedule_ms: Percentiles::of(&answers.from_schedule_ns),
        server_cpu_us_per_event: figures::total(&used.cpu_s).map(per_event_us),
        publisher_cpu_us_per_event: per_event_us(publisher_cpu_s),
    });
    figures.failures.extend(answers.failures);
    let punctuality = Punctuality {
        late_ns: answers.late_ns,
        answer_ns: answers.from_request_ns,
    };
    Ok(Round {
        figures,
        deliveries: Some(Deliveries::new(tally, &recipients, punctuality)),
        without: None,
    })
}

fn timetable(publish: &Publish, users: u32) -> Result<Timetable> {
    let events = (publish.rate * f64::from(publish.seconds)).round();
    ensure!(
        events <= f64::from(MAX_EVENTS),
        "--rate {} for {} s is {events} events, at most {MAX_EVENTS}",
        publish.rate,
        publish.seconds
    );
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "positive and bounded"
    )]
    let events = (events as u32).max(1);
    Ok(if publish.to_nobody {
        Timetable::to_nobody(events, publish.rate, NOBODIES)
    } else {
        Timetable::unicasts(events, publish.rate, users)
    })
}

#[expect(
    clippy::cast_precision_loss,
    reason = "events of a run, far below 2^53"
)]
fn count(events: u64) -> f64 {
    events as f64
}
