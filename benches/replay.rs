//! A client that reconnects after missing events, from its admission to its socket. The cost is
//! linear in the number of missed events, and the same in a log ten times as large.
//! `cargo bench --features bench --bench replay`

#![allow(missing_docs)]

use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;

use criterion::{BatchSize, BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use idlewild::auth::Identity;
use idlewild::event::{EventId, EventName, Target, UserId};
use idlewild::hub::log::Record;
use idlewild::shard::bench::{Setup, Solo};
use idlewild::shard::{Admission, Shared};
use idlewild::wire::Wire;

/// Entries of other users in the log.
const OTHERS: [usize; 2] = [10_000, 100_000];
const MISSED: [usize; 4] = [1, 10, 100, 1_000];
const CLIENTS: usize = 256;

fn shared() -> Shared {
    let setup = Setup {
        history_bytes: 1 << 30,
        capacity: 2 * CLIENTS,
        // All of them are one user's.
        per_user: 2 * CLIENTS,
        ..Setup::default()
    };
    setup.shared()
}

fn append(shared: &Shared, user: &str) -> EventId {
    let to = Target::User(UserId::new(user).expect("a user's id"));
    let log = shared.hub.log();
    let id = log.newest_id().next(1_700_000_000_000);
    let event = Record::Event {
        to,
        name: EventName::default(),
        data: r#"{"type":"order_paid"}"#.into(),
        is_kept: true,
    };
    log.append(id, 0, event).expect("ids rise");
    id
}

fn admission(last_event_id: &str) -> Admission {
    Admission {
        identity: Some(Identity {
            user: "42".into(),
            session: None,
            issued: None,
            expires_at: u64::MAX,
            topics: Box::default(),
        }),
        topics: Box::default(),
        wire: Wire::SseChunked,
        keep_alive: true,
        last_event_id: Some(last_event_id.into()),
        forwarded_for: None,
        expires_at_s: None,
    }
}

fn replay(criterion: &mut Criterion) {
    idlewild::sys::raise_nofile().expect("the soft limit can be raised");
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime starts");
    let mut group = criterion.benchmark_group("replay_missed");
    for others in OTHERS {
        for missed in MISSED {
            let shared = shared();
            let context = runtime.enter();
            let solo = Solo::new(shared.clone()).expect("a shard starts");
            drop(context);
            let last = append(&shared, "42").to_string();
            for n in 0..others {
                append(&shared, &format!("other-{}", n % 5_000));
                // Spread evenly among the entries of others.
                for _ in n * missed / others..(n + 1) * missed / others {
                    append(&shared, "42");
                }
            }
            group.throughput(Throughput::Elements(missed as u64));
            let id = BenchmarkId::new(format!("of_{others}_others"), missed);
            group.bench_function(id, |bencher| {
                bencher.iter_batched(
                    || {
                        // The connections of the previous batch end.
                        solo.poll();
                        UnixStream::pair().expect("the limit allows two descriptors more")
                    },
                    |(client, server)| {
                        let mut shard = solo.shard().borrow_mut();
                        let seat = shard.admit(admission(&last)).expect("there is room");
                        shard
                            .join(seat, OwnedFd::from(server).into(), Vec::new())
                            .expect("epoll takes it");
                        drop(shard);
                        solo.catch_up();
                        client
                    },
                    BatchSize::NumIterations(64),
                );
            });
            let replayed = shared.metrics.sum(|shard| shard.replayed.value());
            assert_eq!(replayed % missed as u64, 0, "somebody did not get it all");
        }
    }
    group.finish();
}

criterion_group!(benches, replay);
criterion_main!(benches);
