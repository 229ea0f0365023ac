//! The scenarios, and their arguments besides the common ones.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand};

use super::common::Common;
use super::value::{duration, per_cent, rate};

/// The scenarios.
#[derive(Debug, Subcommand)]
pub(crate) enum Scenario {
    /// Memory: ramp up to two plateaus; bytes per connection are the slope between them
    Hold(Hold),
    /// CPU: hold idle connections and measure what the server's heartbeats cost
    Idle(Idle),
    /// Latency: publish to all on a fixed timetable; from the scheduled time to each client's read
    Broadcast(Broadcast),
    /// Latency: publish to single users on a fixed timetable
    Unicast(Unicast),
    /// Latency: publish to all and to single users on one timetable
    Mixed(Mixed),
    /// Publishing: single users again, at a rate that does not wait for answers, over several connections; from the
    /// scheduled time to each answer
    Publish(Publish),
    /// Recovery: disconnect all at once and reconnect with Last-Event-ID, while events are published
    Storm(Storm),
    /// Isolation: broadcasts with a share of clients that never read, and without them
    Slow(Slow),
    /// Upgrades: hold, publish, and let the server be replaced by new processes meanwhile; nothing may be lost
    Upgrade(Upgrade),
    /// Soak: clients leave and are replaced, at a rate for a time; memory over that time
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
    /// Connections of the warm-up burst. For a server that returns no memory, choose fewer than the plateau
    #[arg(long, default_value_t = 2_000, value_name = "W", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) warm_up: u32,
    /// Rest before each reading
    #[arg(long, default_value = "10s", value_parser = duration, value_name = "TIME")]
    pub(crate) rest: Duration,
}

/// `idle`
#[derive(Debug, Args)]
pub(crate) struct Idle {
    #[command(flatten)]
    pub(crate) common: Common,
    /// Seconds of the measurement
    #[arg(long, default_value_t = 30, value_parser = clap::value_parser!(u32).range(1..=86_400))]
    pub(crate) seconds: u32,
    /// Rounds, in which server and floor (with --vs-floor) alternate
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
    /// Events per second
    #[arg(long, default_value_t = 2.0, value_parser = rate)]
    pub(crate) rate: f64,
    /// Rounds, in which server and floor (with --vs-floor) alternate; each round connects anew
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=100))]
    pub(crate) rounds: u32,
}

/// `unicast`
#[derive(Debug, Args)]
pub(crate) struct Unicast {
    #[command(flatten)]
    pub(crate) common: Common,
    /// Events to publish in each round, each to one user, in a scattered order
    #[arg(long, default_value_t = 5_000, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub(crate) events: u32,
    /// Events per second
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
    /// Seconds of publishing in each round
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=3_600))]
    pub(crate) seconds: u32,
    /// Events per second to all
    #[arg(long, default_value_t = 0.5, value_parser = rate)]
    pub(crate) broadcast_rate: f64,
    /// Events per second to single users
    #[arg(long, default_value_t = 200.0, value_parser = rate)]
    pub(crate) unicast_rate: f64,
    /// As in broadcast
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=100))]
    pub(crate) rounds: u32,
}

/// `publish`
#[derive(Debug, Args)]
pub(crate) struct Publish {
    #[command(flatten)]
    pub(crate) common: Common,
    /// Events per second, each to one user, in a scattered order. A user's events take the same connection
    #[arg(long, default_value_t = 20_000.0, value_parser = rate)]
    pub(crate) rate: f64,
    /// Seconds of publishing
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=3_600))]
    pub(crate) seconds: u32,
    /// Keep-alive connections of the publisher
    #[arg(long, default_value_t = 16, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    pub(crate) publishers: u32,
    /// With --batch: time for which an event waits for others, unless the batch is full
    #[arg(long, default_value = "0ms", value_parser = duration, value_name = "TIME")]
    pub(crate) linger: Duration,
    /// Publish to users who are not connected, so that nothing but publishing is measured
    #[arg(long)]
    pub(crate) to_nobody: bool,
}

/// `storm`
#[derive(Debug, Args)]
pub(crate) struct Storm {
    #[command(flatten)]
    pub(crate) common: Common,
    /// Events to publish before the cut, again while clients reconnect, and again when all are back
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub(crate) events: u32,
    /// Events per second
    #[arg(long, default_value_t = 20.0, value_parser = rate)]
    pub(crate) rate: f64,
    /// The server keeps no history: publish nothing while clients are disconnected (always so for the floor)
    #[arg(long)]
    pub(crate) no_replay: bool,
    /// As in broadcast
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=100))]
    pub(crate) rounds: u32,
}

/// `slow`
#[derive(Debug, Args)]
pub(crate) struct Slow {
    /// Percentage of clients that connect and never read, such as 10%
    #[arg(value_name = "P%", value_parser = per_cent)]
    pub(crate) share: u32,
    #[command(flatten)]
    pub(crate) common: Common,
    /// Events to publish with them, and again without them
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub(crate) events: u32,
    /// Events per second
    #[arg(long, default_value_t = 5.0, value_parser = rate)]
    pub(crate) rate: f64,
    /// As in broadcast
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=100))]
    pub(crate) rounds: u32,
}

/// `upgrade`
#[derive(Debug, Args)]
pub(crate) struct Upgrade {
    #[command(flatten)]
    pub(crate) common: Common,
    /// Upgrades, one after the other, of the server and then of its successors
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    pub(crate) rounds: u32,
    /// Time before each upgrade, and after the last
    #[arg(long, default_value = "5s", value_parser = duration, value_name = "TIME")]
    pub(crate) every: Duration,
    /// The control socket of a running server; --spawn has its own
    #[arg(long, value_name = "PATH", conflicts_with_all = ["spawn", "floor"])]
    pub(crate) control: Option<PathBuf>,
    /// The programs to upgrade to, in turn [default: the one at the running server's path]
    #[arg(long, value_name = "PATH")]
    pub(crate) binary: Vec<PathBuf>,
    /// Percentage of clients that connect and never read: their streams move with their backlogs
    #[arg(long, value_parser = per_cent, value_name = "P%")]
    pub(crate) slow: Option<u32>,
    /// Events per second to all
    #[arg(long, default_value_t = 1.0, value_parser = rate)]
    pub(crate) broadcast_rate: f64,
    /// Events per second to single users
    #[arg(long, default_value_t = 500.0, value_parser = rate)]
    pub(crate) unicast_rate: f64,
}

/// `churn`
#[derive(Debug, Args)]
pub(crate) struct Churn {
    #[command(flatten)]
    pub(crate) common: Common,
    /// Departures per second; each client is replaced
    #[arg(long, default_value_t = 200.0, value_parser = rate)]
    pub(crate) rate: f64,
    /// Duration
    #[arg(long, default_value_t = 60, value_parser = clap::value_parser!(u32).range(1..=604_800))]
    pub(crate) seconds: u32,
}

impl Scenario {
    /// The common arguments.
    pub(crate) fn common_mut(&mut self) -> &mut Common {
        match self {
            Self::Hold(Hold { common, .. })
            | Self::Idle(Idle { common, .. })
            | Self::Broadcast(Broadcast { common, .. })
            | Self::Unicast(Unicast { common, .. })
            | Self::Mixed(Mixed { common, .. })
            | Self::Publish(Publish { common, .. })
            | Self::Storm(Storm { common, .. })
            | Self::Slow(Slow { common, .. })
            | Self::Upgrade(Upgrade { common, .. })
            | Self::Churn(Churn { common, .. }) => common,
        }
    }
}
