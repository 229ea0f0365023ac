//! `idlewild-load`: an honest load for Idlewild and servers like it.
//!
//! # How it measures
//! - **Open loop.** Events go out on a timetable fixed beforehand and carry their *scheduled* time; a
//!   latency runs from there to the client's read. A server that falls behind is not waited for.
//! - **Every event, every client.** Each connection follows the numbers it gets: lost, doubled and
//!   out-of-order events are counted and fail the run.
//! - **Slopes, not totals.** Bytes a connection are the difference between two plateaus, after a warm-up
//!   burst and a rest, so that what a process costs at all is not shared out among its clients.
//! - **Beside the floor.** The same clients, the same bytes, against a bare epoll server on the same
//!   machine in the same run: on a noisy machine only the ratio means much.
//!
//! # What is where
//! [`cli`] the command line; [`scenario`] what is run; [`subject`] the server or floor it is run against;
//! [`floor`] the bare server; [`engine`] the clients' threads; [`parse`] their reading; [`websocket`] the frames of
//! those that come by WebSocket; [`tls`] what seals it;
//! [`token`] their sign-in; [`transport`] which of the two they come by; [`figures`], [`outcome`] and [`progress`] what is shown; [`run`] a run read back,
//! [`report`] the page made of some, [`plan`] what follows from one; [`clock`], [`files`] and [`sys`] the
//! machine, [`number`] how it is written.
//! Nothing of the server's own code is used.

mod cli;
mod clock;
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
        Command::Scenario(scenario) => scenario::run(&scenario),
        Command::Peer {
            template,
            mut scenario,
        } => {
            scenario.common_mut().peer = Some(template);
            scenario::run(&scenario)
        }
        Command::Report(report) => report::run(&report).map(|()| true),
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
            let _ = writeln!(std::io::stderr(), "idlewild-load: {error:#}"); // nobody left to tell
            ExitCode::from(2)
        }
    }
}
