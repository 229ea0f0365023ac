//! Encodes an event, which happens once per event, whatever the number of clients.

use std::hint::black_box;

use gungraun::{library_benchmark, library_benchmark_group};
use idlewild::event::EventId;
use idlewild::wire::{Encoded, Event, Signal, Wire};

use crate::fixture::NOW_MS;

/// Events in one count.
const EVENTS: usize = 100;

fn data(bytes: usize) -> String {
    "x".repeat(bytes)
}

#[library_benchmark(setup = data)]
#[bench::bytes_64(64)]
#[bench::bytes_1024(1_024)]
#[bench::bytes_16384(16_384)]
fn event(data: String) -> String {
    let id = Some(EventId { ms: NOW_MS, seq: 7 });
    for _ in 0..EVENTS {
        let (encoded, name, data) = (Encoded::default(), "message", black_box(&data));
        let event = || Signal::Event(Event { id, name, data });
        encoded.get(Wire::SseChunked, event);
        black_box(encoded);
    }
    data
}

library_benchmark_group!(name = encode, benchmarks = event);
