//! The scenarios and what each takes beside the common flags.

use std::time::Duration;

use clap::{Args, Subcommand};

use super::common::Common;
use super::value::{duration, per_cent, rate};

/// What is run.
#[derive(Debug, Subcommand)]
pub(crate) enum Scenario {
    /// Memory: ramp to two plateaus and report bytes a connection as the slope between them
    Hold(Hold),
    /// CPU: hold idle connections and report what the server burns for its heartbeats
    Idle(Idle),
    /// Latency: publish to all on a fixed timetable; from the scheduled time to each client's read
    Broadcast(Broadcast),
    /// Latency: publish to single users on a fixed timetable
    Unicast(Unicast),
    /// Latency: publish to all and to single users on one timetable
    Mixed(Mixed),
    /// Recovery: cut all at once and connect anew with Last-Event-ID, while events are published
    Storm(Storm),
    /// Isolation: broadcasts while a share of the clients never reads, and without those
    Slow(Slow),
    /// Soak: clients leave and others come, at a rate for a time; memory over that time
    Churn(Churn),
}

/// `hold`
#[derive(Debug, Args)]
pub(crate) struct Hold {
    #[command(flatten)]
    pub(crate) common: Common,
    /// Connections at the first reading [default: a third of --connections]
    #[arg(long, value_name = "M")]
    pub(crate) plateau: Option<u32>,
    /// Connections of the burst before the first plateau; keep it below that for a server that gives no memory back
    #[arg(long, default_value_t = 2_000, value_name = "W", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) warm_up: u32,
    /// Quiet time before each reading
    #[arg(long, default_value = "10s", value_parser = duration, value_name = "TIME")]
    pub(crate) rest: Duration,
}

/// `idle`
#[derive(Debug, Args)]
pub(crate) struct Idle {
    #[command(flatten)]
    pub(crate) common: Common,
    /// Seconds to measure for
    #[arg(long, default_value_t = 30, value_parser = clap::value_parser!(u32).range(1..=86_400))]
    pub(crate) seconds: u32,
    /// How often server and floor (with --vs-floor) take turns
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=100))]
    pub(crate) rounds: u32,
}

/// `broadcast`
#[derive(Debug, Args)]
pub(crate) struct Broadcast {
    #[command(flatten)]
    pub(crate) common: Common,
    /// Events to publish in each round
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub(crate) events: u32,
    /// Events a second
    #[arg(long, default_value_t = 2.0, value_parser = rate)]
    pub(crate) rate: f64,
    /// How often server and floor (with --vs-floor) take turns; each round connects anew
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=100))]
    pub(crate) rounds: u32,
}

/// `unicast`
#[derive(Debug, Args)]
pub(crate) struct Unicast {
    #[command(flatten)]
    pub(crate) common: Common,
    /// Events to publish in each round, each to the next of the users in a scattered order
    #[arg(long, default_value_t = 5_000, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub(crate) events: u32,
    /// Events a second
    #[arg(long, default_value_t = 500.0, value_parser = rate)]
    pub(crate) rate: f64,
    /// As in broadcast
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=100))]
    pub(crate) rounds: u32,
}

/// `mixed`
#[derive(Debug, Args)]
pub(crate) struct Mixed {
    #[command(flatten)]
    pub(crate) common: Common,
    /// Seconds to publish for in each round
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=3_600))]
    pub(crate) seconds: u32,
    /// Events to all, a second
    #[arg(long, default_value_t = 0.5, value_parser = rate)]
    pub(crate) broadcast_rate: f64,
    /// Events to single users, a second
    #[arg(long, default_value_t = 200.0, value_parser = rate)]
    pub(crate) unicast_rate: f64,
    /// As in broadcast
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=100))]
    pub(crate) rounds: u32,
}

/// `storm`
#[derive(Debug, Args)]
pub(crate) struct Storm {
    #[command(flatten)]
    pub(crate) common: Common,
    /// Events to publish before the cut, as many from the cut on, as many when all are back
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub(crate) events: u32,
    /// Events a second
    #[arg(long, default_value_t = 20.0, value_parser = rate)]
    pub(crate) rate: f64,
    /// The server keeps no history: publish nothing while clients are away (the floor never gets any)
    #[arg(long)]
    pub(crate) no_replay: bool,
    /// As in broadcast
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=100))]
    pub(crate) rounds: u32,
}

/// `slow`
#[derive(Debug, Args)]
pub(crate) struct Slow {
    /// How many in a hundred connect and never read, such as 10%
    #[arg(value_name = "P%", value_parser = per_cent)]
    pub(crate) share: u32,
    #[command(flatten)]
    pub(crate) common: Common,
    /// Events to publish with them, and as many without
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub(crate) events: u32,
    /// Events a second
    #[arg(long, default_value_t = 5.0, value_parser = rate)]
    pub(crate) rate: f64,
    /// As in broadcast
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=100))]
    pub(crate) rounds: u32,
}

/// `churn`
#[derive(Debug, Args)]
pub(crate) struct Churn {
    #[command(flatten)]
    pub(crate) common: Common,
    /// Departures a second, each with an arrival in its place
    #[arg(long, default_value_t = 200.0, value_parser = rate)]
    pub(crate) rate: f64,
    /// For how long
    #[arg(long, default_value_t = 60, value_parser = clap::value_parser!(u32).range(1..=604_800))]
    pub(crate) seconds: u32,
}

impl Scenario {
    /// The flags all have.
    pub(crate) fn common_mut(&mut self) -> &mut Common {
        match self {
            Self::Hold(Hold { common, .. })
            | Self::Idle(Idle { common, .. })
            | Self::Broadcast(Broadcast { common, .. })
            | Self::Unicast(Unicast { common, .. })
            | Self::Mixed(Mixed { common, .. })
            | Self::Storm(Storm { common, .. })
            | Self::Slow(Slow { common, .. })
            | Self::Churn(Churn { common, .. }) => common,
        }
    }
}
