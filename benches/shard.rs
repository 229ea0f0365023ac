//! The cost of a client in the table and the wheel, next to 10,000 others.
//! `cargo bench --features bench --bench shard`

#![allow(missing_docs)]

use std::fs::File;
use std::os::fd::OwnedFd;

use criterion::{BatchSize, Criterion, criterion_group, criterion_main};
use idlewild::shard::bench::Rig;

const CLIENTS: usize = 10_000;
const HEARTBEAT_TICKS: u32 = 30 * 32;
/// Descriptors besides those of the clients. criterion's default batch, a tenth of all iterations,
/// exceeds many limits.
const BATCH: u64 = 1_000;

fn descriptor() -> OwnedFd {
    File::open("/dev/null").expect("/dev/null opens").into()
}

/// One descriptor per client: the soft limit has to allow [`CLIENTS`] of them.
fn rig() -> Rig {
    idlewild::sys::raise_nofile().expect("the soft limit can be raised");
    let mut rig = Rig::new(CLIENTS * 2);
    for client in 0..CLIENTS {
        let due = 1 + u32::try_from(client).unwrap_or(0) % HEARTBEAT_TICKS;
        rig.join(descriptor(), due);
    }
    rig
}

fn shard(criterion: &mut Criterion) {
    let mut full = rig();
    criterion.bench_function("wheel/rearm", |bencher| {
        let mut key = 0;
        bencher.iter(|| {
            key = (key + 7_919) % 10_000;
            full.rearm(key, HEARTBEAT_TICKS);
        });
    });
    criterion.bench_function("wheel/pass_one_tick", |bencher| {
        bencher.iter(|| full.pass(1, HEARTBEAT_TICKS));
    });
    criterion.bench_function("table/join_and_leave", |bencher| {
        bencher.iter_batched(
            descriptor,
            |fd| {
                let key = full.join(fd, HEARTBEAT_TICKS);
                full.leave(key)
            },
            BatchSize::NumIterations(BATCH),
        );
    });
}

criterion_group!(benches, shard);
criterion_main!(benches);
