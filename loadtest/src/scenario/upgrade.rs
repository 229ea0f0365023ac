//! `upgrade`: the server is replaced by a new process while clients are connected and events are published, several
//! times. No stream may be lost, and no event missed, doubled or out of order.
//!
//! The timetable goes on during an upgrade. So `latency_ms.max` is the longest silence of any client beyond its schedule,
//! and `publish_ms` says how long the publisher waited.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, ensure};

use super::crowd::Crowd;
use super::deliveries::Deliveries;
use super::mixed::timetable;
use super::rounds::{self, Order, Round};
use crate::cli::Upgrade;
use crate::engine::{Limits, Window};
use crate::figures::Upgrades;
use crate::progress;
use crate::subject::{Control, Subject, Upgraded};

/// Runs the scenario; returns true if it passed.
pub(super) fn run(mut upgrade: Upgrade) -> Result<bool> {
    upgrade.common.with_control = true;
    let common = &upgrade.common;
    ensure!(
        !common.floor && !common.vs_floor,
        "upgrade: the floor cannot be upgraded"
    );
    rounds::run("upgrade", common, 1, Order::SubjectFirst, |subject, _| {
        measure(subject, &upgrade)
    })
}

fn measure(subject: &mut Subject, upgrade: &Upgrade) -> Result<Round> {
    let common = &upgrade.common;
    let control = match &upgrade.control {
        Some(path) => Control::new(path.clone()),
        None => subject
            .control()
            .context("use --spawn, or name the server's control socket with --control")?,
    };
    let limits = Limits {
        deaf_per_cent: upgrade.slow.unwrap_or(0),
        ..common.limits()
    };
    let connections = common.connections();
    let seconds = upgrade.every.as_secs_f64() * f64::from(upgrade.rounds + 1);
    let rates = (upgrade.broadcast_rate, upgrade.unicast_rate);
    let table = timetable(rates, seconds, subject.target().users)?;
    let window = Window {
        first: 0,
        count: table.len(),
    };
    let mut crowd = Crowd::start(subject, &limits, window)?;
    let ramp_s = crowd.ramp(connections, "ramp")?;
    crowd.settle(connections);
    let connected = crowd.open()?;
    let open = u32::try_from(connected.iter().sum::<u64>())?;
    let recipients = table.recipients(subject, &limits, open);

    let binaries = upgrade.binary.iter().map(std::path::absolute);
    let binaries: Vec<PathBuf> = binaries.collect::<Result<_, _>>()?;
    let (rounds, every) = (upgrade.rounds, upgrade.every);
    let (published, upgraded) = std::thread::scope(|scope| {
        let upgrades = scope.spawn(|| upgrade_repeatedly(&control, &binaries, rounds, every));
        let published = crowd.publish(&table, subject, window);
        (published, upgrades.join())
    });
    let upgraded = upgraded.map_err(|_| anyhow!("the thread of the upgrades panicked"))?;
    for one in &upgraded.done {
        subject.continue_as(one.pid)?;
    }
    if let Some(error) = upgraded.failed {
        return Err(error);
    }
    let punctuality = published?;

    crowd.wait_for(recipients.iter().copied().map(u64::from).sum());
    let tally = crowd.tally()?;
    let dropped = crowd.dropped(&limits, connections)?;
    let mut figures = crowd.end(&connected)?;
    figures.connects_per_s = Some(f64::from(connections) / ramp_s);
    figures.slow_clients(&limits, connections, dropped);
    figures.upgrades = Some(upgraded.figures());
    Ok(Round {
        figures,
        deliveries: Some(Deliveries::new(tally, &recipients, punctuality)),
        without: None,
    })
}

/// The upgrades of a run.
#[derive(Debug, Default)]
struct Done {
    done: Vec<Upgraded>,
    /// Why one of them failed. It is the last.
    failed: Option<anyhow::Error>,
}

fn upgrade_repeatedly(
    control: &Control,
    binaries: &[PathBuf],
    rounds: u32,
    every: Duration,
) -> Done {
    let mut all = Done::default();
    let mut binaries = binaries.iter().cycle();
    for round in 1..=rounds {
        std::thread::sleep(every);
        match control.upgrade(binaries.next().map(PathBuf::as_path)) {
            Ok(upgraded) => {
                progress::note(&format!(
                    "upgrade {round}: process {}, {} ms",
                    upgraded.pid, upgraded.took_ms
                ));
                all.done.push(upgraded);
            }
            Err(error) => {
                all.failed = Some(error.context(format!("upgrade {round}")));
                break;
            }
        }
    }
    all
}

impl Done {
    fn figures(&self) -> Upgrades {
        let most = |of: fn(&Upgraded) -> u64| self.done.iter().map(of).max().unwrap_or(0);
        let sum = |of: fn(&Upgraded) -> u64| self.done.iter().map(of).sum();
        Upgrades {
            upgrades: u32::try_from(self.done.len()).expect("at most --rounds"),
            streams_moved: sum(|one| one.connections),
            streams_not_moved: sum(|one| one.lost),
            upgrade_ms_max: most(|one| one.took_ms),
            pause_ms_max: most(|one| one.longest_pause_ms),
        }
    }
}
