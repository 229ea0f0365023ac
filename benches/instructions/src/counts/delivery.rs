//! The delivery of an event: from the log or the inbox to the clients' sockets.

use std::os::unix::net::UnixStream;
use std::pin::pin;
use std::task::{Context, Waker};
use std::time::Duration;

use gungraun::{library_benchmark, library_benchmark_group};
use idlewild::config::Compression;
use idlewild::event::{EventName, Target, UserId};
use idlewild::hub::log::Record;
use idlewild::shard::Shared;
use idlewild::shard::bench::{Setup, Solo};
use idlewild::topic::Topic;
use idlewild::wire::Wire;
use tokio::runtime::Runtime;

use crate::fixture;

/// Streams in the table: one broadcast needs this many sends and ten turns of the shard's loop.
const CLIENTS: usize = 1_000;
/// Unicast events in one count, for one client each.
const UNICASTS: usize = 100;
/// Broadcasts that wait for one turn.
const QUEUED: usize = 8;

/// Texts in a large event, which is compressed.
const LARGE_TEXTS: usize = 50;
/// The text of an event.
const TEXT: &str = r#"{"type":"order_paid","data":{"id":7}}"#;

struct Stage {
    // Dropped first, because it is registered with the runtime.
    solo: Solo,
    shared: Shared,
    _ends: Vec<UnixStream>,
    _runtime: Runtime,
}

fn stage() -> Stage {
    stage_with(Wire::SseChunked, |_| Box::default())
}

/// A stage with streams of this wire, on which a user's stream subscribes to `topics`.
fn stage_with(wire: Wire, topics: impl Fn(usize) -> Box<[Topic]>) -> Stage {
    idlewild::sys::raise_nofile().expect("the soft limit can be raised");
    let runtime = fixture::runtime();
    let setup = Setup {
        compression: Compression {
            enabled: wire == Wire::SseGzip,
            ..Compression::default()
        },
        ..fixture::setup()
    };
    let shared = setup.shared();
    let context = runtime.enter();
    let solo = Solo::new(shared.clone()).expect("a shard starts");
    drop(context);
    let ends = fixture::connect(&solo, CLIENTS, wire, topics);
    Stage {
        solo,
        shared,
        _ends: ends,
        _runtime: runtime,
    }
}

fn append(shared: &Shared, to: Target) {
    append_text(shared, to, TEXT);
}

fn append_text(shared: &Shared, to: Target, text: &str) {
    let record = Record::Event {
        to,
        name: EventName::default(),
        data: text.into(),
        is_kept: true,
    };
    let log = shared.hub.log();
    log.append(log.newest_id().next(fixture::NOW_MS), 0, record)
        .expect("ids rise");
}

/// Moves the log's entries into the inbox.
fn route(shared: &Shared) {
    let dispatch = pin!(shared.hub.dispatch());
    let is_ready = dispatch
        .poll(&mut Context::from_waker(Waker::noop()))
        .is_ready();
    assert!(!is_ready, "the dispatcher waits for more");
}

fn one_for_all() -> Stage {
    let stage = stage();
    append(&stage.shared, Target::All);
    route(&stage.shared);
    stage
}

fn large_for_all_with_gzip() -> Stage {
    let stage = stage_with(Wire::SseGzip, |_| Box::default());
    append_text(&stage.shared, Target::All, &TEXT.repeat(LARGE_TEXTS));
    route(&stage.shared);
    stage
}

fn eight_for_all() -> Stage {
    let stage = stage();
    for _ in 0..QUEUED {
        append(&stage.shared, Target::All);
    }
    route(&stage.shared);
    stage
}

fn one_for_subscribers() -> Stage {
    let news = || Topic::parse("news").expect("a topic's name");
    let topics = |user: usize| user.is_multiple_of(100).then(news).into_iter().collect();
    let stage = stage_with(Wire::SseChunked, topics);
    append(&stage.shared, Target::Topic(news()));
    route(&stage.shared);
    stage
}

fn append_one_each(stage: &Stage) {
    for user in 0..UNICASTS {
        let user = UserId::new(&user.to_string()).expect("a user's id");
        append(&stage.shared, Target::User(user));
    }
}

fn one_each() -> Stage {
    let stage = stage();
    append_one_each(&stage);
    stage
}

fn all_silent() -> Stage {
    let stage = stage();
    stage.shared.clock.advance(Duration::from_secs(31));
    stage
}

#[allow(clippy::needless_pass_by_value)] // as a teardown is called
fn all_heard_one(stage: Stage) {
    let heartbeats = stage.shared.metrics.sum(|shard| shard.heartbeats.value());
    assert_eq!(heartbeats, CLIENTS as u64);
}

fn expect_delivered(stage: &Stage, events: usize) {
    let delivered = stage.shared.metrics.sum(|shard| shard.delivered.value());
    assert_eq!(delivered, events as u64);
}

#[allow(clippy::needless_pass_by_value)] // as a teardown is called
fn all_got_it(stage: Stage) {
    expect_delivered(&stage, CLIENTS);
}

#[allow(clippy::needless_pass_by_value)] // as a teardown is called
fn all_got_eight(stage: Stage) {
    expect_delivered(&stage, QUEUED * CLIENTS);
}

#[allow(clippy::needless_pass_by_value)] // as a teardown is called
fn subscribers_got_it(stage: Stage) {
    expect_delivered(&stage, CLIENTS / 100);
}

#[allow(clippy::needless_pass_by_value)] // as a teardown is called
fn each_got_theirs(stage: Stage) {
    expect_delivered(&stage, UNICASTS);
}

// The walk over the table, with one send per client.
#[library_benchmark(setup = one_for_all, teardown = all_got_it)]
fn broadcast(stage: Stage) -> Stage {
    stage.solo.deliver();
    stage
}

// A large event for compressed streams: it is compressed once, and each stream's checksum goes on.
#[library_benchmark(setup = large_for_all_with_gzip, teardown = all_got_it)]
fn broadcast_compressed(stage: Stage) -> Stage {
    stage.solo.deliver();
    stage
}

// Several at once, which leave in one send per client.
#[library_benchmark(setup = eight_for_all, teardown = all_got_eight)]
fn broadcasts_queued(stage: Stage) -> Stage {
    stage.solo.deliver();
    stage
}

// One client in a hundred gets it.
#[library_benchmark(setup = one_for_subscribers, teardown = subscribers_got_it)]
fn topic(stage: Stage) -> Stage {
    stage.solo.deliver();
    stage
}

// From the log: finding the connections, the inbox, the sends.
#[library_benchmark(setup = one_each, teardown = each_got_theirs)]
fn unicast(stage: Stage) -> Stage {
    route(&stage.shared);
    stage.solo.deliver();
    stage
}

// The same, starting with the engine, so it includes the encoding wherever that happens.
#[library_benchmark(setup = stage, teardown = each_got_theirs)]
fn published_unicast(stage: Stage) -> Stage {
    append_one_each(&stage);
    route(&stage.shared);
    stage.solo.deliver();
    stage
}

// After a silent interval: one heartbeat per client, and its timer is armed again.
#[library_benchmark(setup = all_silent, teardown = all_heard_one)]
fn heartbeats(stage: Stage) -> Stage {
    stage.solo.run_timers();
    stage
}

library_benchmark_group!(
    name = delivery,
    benchmarks = [
        broadcast,
        broadcast_compressed,
        broadcasts_queued,
        topic,
        unicast,
        published_unicast,
        heartbeats
    ]
);
