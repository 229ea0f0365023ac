//! The command line.

mod common;
mod plan;
mod report;
mod scenario;
mod tls;
mod value;

use clap::{Parser, Subcommand};

pub(crate) use common::Common;
pub(crate) use plan::Plan;
pub(crate) use report::Report;
pub(crate) use scenario::{Broadcast, Churn, Hold, Idle, Mixed, Scenario, Slow, Storm, Unicast};

use crate::transport::Transport;

/// An honest load for Server-Sent Events and WebSocket: it parses what it gets, counts what it misses, and sets each
/// figure beside a bare epoll server's when asked (--vs-floor).
#[derive(Debug, Parser)]
#[command(name = "idlewild-load", version, max_term_width = 110)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// What there is to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    #[command(flatten)]
    Scenario(Scenario),
    /// Run a scenario against a server that is not Idlewild: peer nchan hold --url …
    Peer {
        /// channels, idlewild, mercure, nchan, pushpin, ws, or a file like those in loadtest/peers/
        template: String,
        #[command(subcommand)]
        scenario: Scenario,
    },
    /// One self-contained HTML page with the figures and plots of runs written with --json
    Report(Report),
    /// From a measured slope: how many connections a machine holds, and what to set for them
    Plan(Plan),
    /// Serve the bare epoll server that --vs-floor measures, until stdin ends
    Floor {
        /// Threads, with a listener and a descriptor table each
        #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=1_024))]
        threads: u32,
        /// With TLS, a whole rustls connection kept for each client
        #[arg(long, hide = true)]
        tls_whole: bool,
        /// Whether it serves event streams or WebSockets
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
