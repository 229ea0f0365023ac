//! Encoding an event, which happens once per event, whatever the number of clients.

#![allow(missing_docs)]

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use idlewild::event::EventId;
use idlewild::wire::{Encoded, Event, Signal, Wire};

fn encode(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("encode_event");
    let id = Some(EventId {
        ms: 1_700_000_000_000,
        seq: 7,
    });
    for bytes in [64, 1_024, 16 * 1_024] {
        let data = "x".repeat(bytes);
        group.throughput(Throughput::Bytes(bytes as u64));
        group.bench_function(bytes.to_string(), |bencher| {
            let name = "message";
            bencher.iter(|| {
                let encoded = Encoded::default();
                let data = black_box(&data);
                let event = || Signal::Event(Event { id, name, data });
                encoded.get(Wire::SseChunked, event).len()
            });
        });
    }
    group.finish();
}

criterion_group!(benches, encode);
criterion_main!(benches);
