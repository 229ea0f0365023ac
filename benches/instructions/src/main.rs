//! Instruction counts of the hot paths. Unlike times, they are the same on a busy machine, so a gate can
//! use them. Set-up is not counted. `scripts/bench` runs this.
//!
//! Short operations are repeated within one count, so that slow paths of the allocator and the overhead
//! of counting do not matter. Each file says how often.

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

/// The server's allocator, because allocations are part of the cost.
#[global_allocator]
static ALLOCATOR: idlewild::sys::Allocator = idlewild::sys::Allocator;

main!(
    config = LibraryBenchmarkConfig::default()
        // Only instructions are counted; simulating caches takes several times as long.
        .tool(Callgrind::with_args(["--cache-sim=no"])),
    library_benchmark_groups = [
        encode, wheel, table, admission, jwt, delivery, handshake, replay
    ]
);
