//! A client in the wheel and in the table, next to 10,000 others.

use std::fs::File;
use std::hint::black_box;
use std::os::fd::OwnedFd;

use gungraun::{library_benchmark, library_benchmark_group};
use idlewild::shard::bench::Rig;

const CLIENTS: u32 = 10_000;
const HEARTBEAT_TICKS: u32 = 30 * 32;
/// Clients re-armed, or joining and leaving, in one count.
const TOUCHED: u32 = 1_000;

fn descriptor() -> OwnedFd {
    File::open("/dev/null").expect("/dev/null opens").into()
}

/// Timers are spread evenly over the next heartbeat interval.
fn rig() -> Rig {
    idlewild::sys::raise_nofile().expect("the soft limit can be raised");
    let mut rig = Rig::new(CLIENTS as usize * 2);
    for client in 0..CLIENTS {
        rig.join(descriptor(), 1 + client % HEARTBEAT_TICKS);
    }
    rig
}

fn newcomers() -> (Rig, Vec<OwnedFd>) {
    (rig(), (0..TOUCHED).map(|_| descriptor()).collect())
}

fn regulars() -> (Rig, Vec<u32>) {
    let (mut rig, descriptors) = newcomers();
    let keys = descriptors
        .into_iter()
        .map(|fd| rig.join(fd, HEARTBEAT_TICKS));
    let keys = keys.collect();
    (rig, keys)
}

#[library_benchmark(setup = rig)]
fn rearm(mut rig: Rig) -> Rig {
    for step in 0..TOUCHED {
        rig.rearm(black_box(step * 7_919 % CLIENTS), HEARTBEAT_TICKS);
    }
    rig
}

// A whole heartbeat interval, tick by tick: every timer fires once and is armed again.
#[library_benchmark(setup = rig)]
fn pass(mut rig: Rig) -> Rig {
    let mut fired = 0;
    for _ in 0..HEARTBEAT_TICKS {
        fired += rig.pass(1, HEARTBEAT_TICKS);
    }
    assert_eq!(fired, CLIENTS as usize);
    rig
}

#[library_benchmark(setup = newcomers)]
fn join((mut rig, descriptors): (Rig, Vec<OwnedFd>)) -> Rig {
    for fd in descriptors {
        black_box(rig.join(fd, HEARTBEAT_TICKS));
    }
    rig
}

// The count includes closing the descriptors.
#[library_benchmark(setup = regulars)]
fn leave((mut rig, keys): (Rig, Vec<u32>)) -> Rig {
    for key in keys {
        black_box(rig.leave(key));
    }
    rig
}

library_benchmark_group!(name = wheel, benchmarks = [rearm, pass]);
library_benchmark_group!(name = table, benchmarks = [join, leave]);
