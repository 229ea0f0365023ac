//! The scenarios. Each has a function that measures one [`Subject`](crate::subject::Subject). [`rounds`]
//! calls it for the subject and the floor in turn, and reports both.

mod broadcast;
mod churn;
mod crowd;
mod deliveries;
mod hold;
mod idle;
mod mixed;
mod publish;
mod rounds;
mod slow;
mod storm;
mod timeline;
mod timetable;
mod unicast;
mod upgrade;

use anyhow::Result;

use crate::cli::Scenario;

/// Runs a scenario; returns true if it passed.
pub(crate) fn run(scenario: Scenario) -> Result<bool> {
    match scenario {
        Scenario::Hold(hold) => hold::run(&hold),
        Scenario::Idle(idle) => idle::run(&idle),
        Scenario::Broadcast(broadcast) => broadcast::run(&broadcast),
        Scenario::Unicast(unicast) => unicast::run(&unicast),
        Scenario::Mixed(mixed) => mixed::run(&mixed),
        Scenario::Publish(publish) => publish::run(&publish),
        Scenario::Storm(storm) => storm::run(&storm),
        Scenario::Slow(slow) => slow::run(&slow),
        Scenario::Churn(churn) => churn::run(&churn),
        Scenario::Upgrade(upgrade) => upgrade::run(upgrade),
    }
}
