//! Two thousand clients, three minutes of trouble in half a minute, and a server that is killed
//! twice. At the end, every client has received each of its events once and in order.
//!
//! `CHAOS_SEED=7 cargo test --test chaos` repeats a run, as far as the kernel's timing allows.
//!
//! | module | one purpose |
//! |---|---|
//! | [`plan`] | what happens when and to which client, derived from the seed |
//! | [`storm`] | carries out the plan |
//! | [`client`] | a client like EventSource |
//! | [`server`] | the real binary, killed and restarted |
//! | [`world`] | state and counters that the clients share |
//! | [`common`] | what the tests with many clients share: events, publishers, the check |

#![allow(missing_docs, unreachable_pub)] // nobody but this test sees it

#[path = "../common/mod.rs"]
#[allow(dead_code)] // tests/cluster uses the rest
mod common;

mod client;
mod plan;
mod server;
mod storm;
mod world;

use std::io::Write;
use std::sync::Arc;

use common::check::{Rules, check};
use plan::Plan;
use server::Server;
use storm::Aftermath;

const SEED: u64 = 7;

#[test]
fn every_client_has_each_of_its_events_once_and_in_order_whatever_happens() {
    let seed = std::env::var("CHAOS_SEED").map_or(SEED, |seed| seed.parse().unwrap());
    // One socket per client, and the abandoned ones: shells usually allow 1,024.
    idlewild::sys::raise_nofile().unwrap();
    say(&format!("chaos seed {seed}: begins"));
    let plan = Arc::new(Plan::new(seed));
    let mut server = Server::start();
    let aftermath = storm::run(&plan, &mut server);
    let summary = summary(&aftermath);
    say(&summary);

    let journals: Vec<_> = aftermath.clients.iter().map(|one| &one.journal).collect();
    let rules = Rules::default();
    let failures = check(&plan.book, &journals, &aftermath.published, &rules).failures;
    if !failures.is_empty() {
        let directory = server.keep_directory();
        panic!(
            "{summary}\n{failures}its directory: {}",
            directory.display()
        );
    }
    let Aftermath {
        world,
        connections,
        counted,
        since_restart,
        deaf_since_restart,
        gaps,
        ..
    } = &aftermath;
    // Accepted events survive a kill, and all of them are retained for the whole run.
    assert_eq!((*gaps, counted.gaps), (0, 0), "{summary}");
    // No client is counted twice: all abandoned connections were closed.
    assert_eq!(*connections, world.plan.clients.len() as u64, "{summary}");
    // The test must not pass because nothing happened.
    let counts = &world.counts;
    assert!(counts.cuts.get() > 1_000, "{summary}");
    assert!(counts.stalls_ended.get() > 0, "{summary}");
    assert!(counts.torn.get() > 0, "{summary}");
    assert!(counted.slow > 0 && counted.replayed > 0, "{summary}");
    assert!(*deaf_since_restart > 0, "{summary}");
    let reaped = since_restart.stalled + since_restart.slow;
    assert!(reaped >= *deaf_since_restart as u64, "{summary}");
}

fn summary(aftermath: &Aftermath) -> String {
    let counts = &aftermath.world.counts;
    let counted = &aftermath.counted;
    let sent = aftermath.world.plan.book.len();
    let retries: usize = aftermath.published.iter().map(|one| one.retries).sum();
    format!(
        "chaos seed {}: events sent {sent}, received {}, cuts {}, stalls {}, half-open {}, \
         kills {}, reconnects {}, gaps {}; publishes sent again {retries}, events torn {}, \
         stalls that the server ended {}, unheard ends {}, troubles that met nobody {}; by the server: slow {}, \
         stalled {}, client closed {}, error {}, replayed {}; {:.1} s",
        aftermath.world.plan.seed,
        counts.received.get(),
        counts.cuts.get(),
        counts.stalls.get(),
        counts.half_open.get(),
        aftermath.kills,
        counts.connects.get() - aftermath.clients.len(),
        aftermath.gaps,
        counts.torn.get(),
        counts.stalls_ended.get(),
        counts.unheard_ends.get(),
        counts.missed.get(),
        counted.slow,
        counted.stalled,
        counted.client_closed,
        counted.error,
        counted.replayed,
        aftermath.took.as_secs_f64(),
    )
}

/// Writes past the test harness, which shows output only for failing tests.
fn say(line: &str) {
    let _ = writeln!(std::io::stderr(), "{line}");
}
