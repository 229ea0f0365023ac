//! A client that reconnects after missing events, from its admission to its socket. The cost is
//! linear in the number of missed events, and the same in a log ten times as large.
//! `cargo bench --features bench --bench replay`

#![allow(missing_docs)]

use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::Duration;

use criterion::{BatchSize, BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use idlewild::auth::Identity;
use idlewild::clock::Clock;
use idlewild::config::OnLimit;
use idlewild::engine::MemoryEngine;
use idlewild::event::{EventId, EventName, Target, UserId};
use idlewild::hub::directory::Directory;
use idlewild::hub::log::{Log, Record};
use idlewild::hub::{Hub, Limit, Limits, Parts};
use idlewild::metrics::Metrics;
use idlewild::shard::bench::Solo;
use idlewild::shard::{Admission, Settings, Shared};
use idlewild::wire::Wire;

/// Entries of other users in the log.
const OTHERS: [usize; 2] = [10_000, 100_000];
const MISSED: [usize; 4] = [1, 10, 100, 1_000];
const CLIENTS: usize = 256;

fn shared() -> Shared {
    let clock = Clock::manual(1_700_000_000_000);
    let log = Arc::new(Log::new(
        1 << 30,
        Duration::from_secs(600),
        EventId::origin(1),
    ));
    let hub = Hub::new(Parts {
        engine: Arc::new(MemoryEngine::new(Arc::clone(&log), clock.clone())),
        clock,
        metrics: Arc::new(Metrics::new(1)),
        log,
        directory: Arc::new(Directory::default()),
        limits: Limits {
            connections: 2 * CLIENTS,
            test_streams: 64,
            // All of the missed events are of one user.
            per_user: Limit {
                connections: 2 * CLIENTS,
                on_limit: OnLimit::Reject,
            },
        },
    });
    let settings = Settings {
        heartbeat: Duration::from_secs(30),
        stall_timeout: Duration::from_secs(30),
        max_backlog_bytes: 64 * 1_024,
        retry_ms: 2_000..=6_000,
        table_capacity: 2 * CLIENTS,
        max_handshakes: CLIENTS,
    };
    Shared::new(hub, settings)
}

fn append(shared: &Shared, user: &str) -> EventId {
    let to = Target::User(UserId::new(user).expect("a user's id"));
    let log = shared.hub.log();
    let id = log.newest_id().next(1_700_000_000_000);
    let event = Record::Event {
        to,
        name: EventName::default(),
        data: r#"{"type":"order_paid"}"#.into(),
        persist: true,
    };
    log.append(id, 0, event);
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
