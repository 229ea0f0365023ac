//! The command line.

mod common;
mod value;

use std::time::Duration;

use clap::{Args, Parser, Subcommand};

pub(crate) use common::{AuthStyle, Common};
use value::{duration, rate};

/// An honest load for Server-Sent Events: it parses what it gets, counts what it misses, and sets each
/// figure beside a bare epoll server's when asked (--vs-floor).
#[derive(Debug, Parser)]
#[command(name = "idlewild-load", version, max_term_width = 110)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// The scenarios.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Memory: ramp to two plateaus and report bytes a connection as the slope between them
    Hold(Hold),
    /// CPU: hold idle connections and report what the server burns for its heartbeats
    Idle(Idle),
    /// Latency: publish to all on a fixed timetable; from the scheduled time to each client's read
    Broadcast(Broadcast),
    #[command(hide = true)]
    FloorServe {
        #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=256))]
        threads: u32,
    },
}

/// `hold`
#[derive(Debug, Args)]
pub(crate) struct Hold {
    #[command(flatten)]
    pub(crate) common: Common,
    /// Connections at the first reading [default: a third of --connections]
    #[arg(long, value_name = "M")]
    pub(crate) plateau: Option<u32>,
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
    /// With --vs-floor: how often server and floor take turns
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

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_well_formed() {
        Cli::command().debug_assert();
    }
}
