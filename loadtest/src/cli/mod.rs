//! The command line.

mod common;
mod compare;
mod plan;
mod report;
mod scenario;
mod tls;
mod value;

use clap::{Parser, Subcommand};

pub(crate) use common::Common;
pub(crate) use compare::Compare;
pub(crate) use plan::Plan;
pub(crate) use report::Report;
pub(crate) use scenario::{
    Broadcast, Churn, Hold, Idle, Mixed, Publish, Scenario, Slow, Storm, Unicast, Upgrade,
};

use crate::transport::Transport;

/// An honest load generator for Server-Sent Events and WebSocket: it parses what it receives, counts what it
/// misses, and compares each figure with that of a bare epoll server (--vs-floor).
#[derive(Debug, Parser)]
#[command(name = "idlewild-load", version, max_term_width = 110)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    #[command(flatten)]
    Scenario(Scenario),
    /// Run a scenario against another server: peer nchan hold --url …
    Peer {
        /// channels, go, idlewild, mercure, nchan, node, pushpin, ws, or a file like those in loadtest/peers/
        template: String,
        #[command(subcommand)]
        scenario: Scenario,
    },
    /// Make one self-contained HTML page of runs written with --json
    Report(Report),
    /// Compare several servers: print tables in Markdown and draw a plot, from runs written with --json
    Compare(Compare),
    /// Plan capacity from a measured slope: the connections that a machine holds, and the settings for them
    Plan(Plan),
    /// Serve the bare epoll server that --vs-floor measures, until stdin is closed
    Floor {
        /// Threads, each with its own listener and descriptor table
        #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=1_024))]
        threads: u32,
        /// With TLS, keeping a whole rustls connection per client
        #[arg(long, hide = true)]
        tls_whole: bool,
        /// The transport that it serves
        #[arg(long, value_enum, default_value_t = Transport::Sse)]
        transport: Transport,
    },
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
