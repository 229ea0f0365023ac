//! `idlewild-load`: an honest load generator for Idlewild and similar servers.
//!
//! # How it measures
//! - **Open loop.** Events are published on a fixed timetable and carry their *scheduled* time. A latency
//!   is counted from there to the client's read. The timetable does not wait for a slow server.
//! - **Every event, every client.** Each connection checks the event numbers that it receives. Lost,
//!   duplicate and out-of-order events are counted and fail the run.
//! - **Slopes, not totals.** Bytes per connection are the difference between two plateaus, after a warm-up
//!   burst and a rest. So the fixed cost of the process is not divided among its clients.
//! - **Compared with the floor.** The same clients and bytes run against a bare epoll server, on the same
//!   machine in the same run. On a noisy machine only the ratio is meaningful.
//!
//! # What is where
//! [`cli`] the command line; [`scenario`] the scenarios; [`subject`] the server or floor under test;
//! [`floor`] the bare server; [`engine`] the clients' threads; [`parse`] reading responses; [`websocket`]
//! WebSocket frames; [`tls`] TLS; [`token`] tokens; [`transport`] the choice of transport; [`figures`],
//! [`outcome`] and [`progress`] the output; [`run`] reads a run back, [`report`] makes a page of several runs,
//! [`compare`] tables and a plot of several servers, [`plan`] plans capacity from one; [`clock`], [`files`] and [`sys`] access the machine, [`number`] formats
//! numbers.
//! No code of the server is used.

mod cli;
mod clock;
mod compare;
mod engine;
mod figures;
mod files;
mod floor;
mod number;
mod outcome;
mod parse;
mod plan;
mod progress;
mod report;
mod run;
mod scenario;
mod subject;
mod sys;
mod template;
mod tls;
mod token;
mod transport;
mod websocket;

use std::io::Write;
use std::process::ExitCode;

use clap::Parser;

use cli::{Cli, Command};

fn main() -> ExitCode {
    let outcome = match Cli::parse().command {
        Command::Scenario(scenario) => scenario::run(scenario),
        Command::Peer {
            template,
            mut scenario,
        } => {
            scenario.common_mut().peer = Some(template);
            scenario::run(scenario)
        }
        Command::Report(report) => report::run(&report).map(|()| true),
        Command::Compare(compare) => compare::run(&compare).map(|()| true),
        Command::Plan(plan) => plan::run(&plan),
        Command::Floor {
            threads,
            tls_whole,
            transport,
        } => floor::run(threads, tls_whole, transport).map(|()| true),
    };
    match outcome {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(1),
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "idlewild-load: {error:#}"); // stderr is gone
            ExitCode::from(2)
        }
    }
}
