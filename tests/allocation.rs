//! The broadcast path allocates nothing per client. A target of its own: the allocator that
//! counts is the whole process's, and no other test may run beside.

#![allow(missing_docs, unreachable_pub)] // nobody but this test sees it
#![allow(clippy::format_push_string, clippy::must_use_candidate)]

#[path = "contract/support/mod.rs"]
#[allow(dead_code, unused_imports)] // the contract tests use the rest
mod support;

use std::alloc::System;
use std::io::Read;

use serde_json::json;
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};
use support::{Stream, TestServer};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

const ROUNDS: usize = 15;

#[test]
fn a_broadcast_allocates_nothing_for_a_client() {
    let few = median_allocations(100);
    let many = median_allocations(1_000);
    // A slice of about a hundred sends may have its few lists of frames; 900 more clients that
    // allocated once each would show as 900.
    assert!(
        many.abs_diff(few) < 100,
        "{few} allocations for 100 clients, {many} for 1,000"
    );
}

/// Allocations of the process from a broadcast's request to its last client's last byte.
fn median_allocations(clients: usize) -> usize {
    let server = TestServer::start();
    let mut streams: Vec<Stream> = (0..clients)
        .map(|n| server.stream(&format!("u{n}")))
        .collect();
    let event = json!({"to": {"all": true}, "data": {"type": "NEWS", "n": 1}});
    let mut counts: Vec<usize> = (0..ROUNDS)
        .map(|_| {
            let region = Region::new(ALLOCATOR);
            let id = server.publish(&event);
            for stream in &mut streams {
                read_frame(stream, &id);
            }
            region.change().allocations
        })
        .collect();
    counts.sort_unstable();
    counts[ROUNDS / 2]
}

/// Reads one frame, which fits the buffer, and allocates nothing doing so.
fn read_frame(stream: &mut Stream, id: &str) {
    let mut buffer = [0; 1_024];
    let mut read = 0;
    while !buffer[..read].ends_with(b"\n\n\r\n") {
        let more = stream.socket.read(&mut buffer[read..]).unwrap();
        assert!(more > 0, "closed");
        read += more;
    }
    assert!(
        buffer[..read]
            .windows(id.len())
            .any(|window| window == id.as_bytes())
    );
}
