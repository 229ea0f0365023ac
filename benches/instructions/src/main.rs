//! The hot paths, counted in instructions: the same on a noisy machine, so that a gate can stand
//! on them. Set-up is not counted. `scripts/bench` runs it.
//!
//! What is short is done many times in one count, so that neither a slow path of the allocator
//! nor the counting itself shows; the numbers stand in each file.

#![allow(missing_docs, unreachable_pub)] // gungraun's macros make undocumented, public items
#![allow(clippy::wildcard_imports)] // the same macros

mod counts;
mod fixture;

use gungraun::{Callgrind, LibraryBenchmarkConfig, main};

use counts::admission::admission;
use counts::delivery::delivery;
use counts::encode::encode;
use counts::handshake::handshake;
use counts::jwt::jwt;
use counts::replay::replay;
use counts::shard::{table, wheel};

/// As in the server: an allocation is part of what things cost.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

main!(
    config = LibraryBenchmarkConfig::default()
        // Instructions are what is asked for; simulating caches takes several times as long.
        .tool(Callgrind::with_args(["--cache-sim=no"])),
    library_benchmark_groups = [
        encode, wheel, table, admission, jwt, delivery, handshake, replay
    ]
);
