//! Measures allocations: none per client on the broadcast path, the accounted size of the log and of
//! tickets, a few bytes per topic. A target of its own, because its allocator counts for the whole
//! process. The tests run one after another.

#![allow(missing_docs, unreachable_pub)] // nobody but this test sees it
#![allow(clippy::format_push_string, clippy::must_use_candidate)]

#[path = "contract/support/mod.rs"]
#[allow(dead_code, unused_imports)] // the contract tests use the rest
mod support;

use std::alloc::System;
use std::io::{Read, Write};
use std::pin::pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use idlewild::auth::Identity;
use idlewild::auth::ticket::{MAX_BYTES as MAX_TICKET_BYTES, Tickets};
use idlewild::clock::Clock;
use idlewild::config::OnLimit;
use idlewild::event::{EventId, EventName, Position, SessionChange, Target, UserId, Users};
use idlewild::hub::directory::Directory;
use idlewild::hub::log::{Log, Record};
use idlewild::hub::{ConnectionId, Limit};
use idlewild::topic::{Topic, TopicPattern};
use parking_lot::Mutex;
use serde_json::json;
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};
use support::{Socket, Stream, TestServer};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

const ROUNDS: usize = 15;
/// Locked by the running test.
static TURN: Mutex<()> = Mutex::new(());

/// Bytes that the result of `make` holds.
fn bytes_held<T>(make: impl FnOnce() -> T) -> (usize, T) {
    let region = Region::new(ALLOCATOR);
    let made = make();
    let change = region.change();
    (change.bytes_allocated - change.bytes_deallocated, made)
}

#[test]
fn the_log_is_as_large_as_accounted() {
    let _turn = TURN.lock();
    // Threads of an earlier test may still free memory, which can only spoil some of the tries.
    let tries: Vec<(usize, usize)> = (0..5).map(|_| log_bytes()).collect();
    // Besides the ring, there is the queue for dispatch, here a hundred pointers at most.
    assert!(
        tries
            .iter()
            .any(|(said, held)| said.abs_diff(*held) < 4_096),
        "(accounted, held): {tries:?}"
    );
}

/// The size that a full log reports, and the size that it holds.
fn log_bytes() -> (usize, usize) {
    let mut random = fastrand::Rng::with_seed(3);
    let user = |random: &mut fastrand::Rng| {
        // Short ids are stored inline, long ones on the heap.
        let n = random.usize(0..300);
        UserId::new(&format!(
            "{n}{}",
            "-a-long-name-of-a-user-here".repeat(n % 2)
        ))
        .unwrap()
    };
    let (held, log) = bytes_held(|| {
        let log = Log::new(4 << 20, Duration::from_secs(600), EventId::origin(1));
        for n in 0..20_000_u64 {
            let to = match random.u8(0..8) {
                0 => Target::All,
                1 => Target::Topic(Topic::parse(&format!("topic/{}", random.u8(0..50))).unwrap()),
                2 => Target::Users(Users::new((0..7).map(|_| user(&mut random)).collect())),
                _ => Target::User(user(&mut random)),
            };
            let data = "d".repeat(random.usize(0..400));
            let record = Record::Event {
                to,
                name: EventName::default(),
                data: data.into(),
                is_kept: n % 10 > 0,
            };
            log.append(log.newest_id().next(1_000 + n), n, record)
                .unwrap();
            if n % 100 == 99 {
                dispatch(&log);
            }
        }
        log.expire(20_000);
        log
    });
    let (bytes, entries) = log.retained();
    assert!(bytes <= 4 << 20 && entries > 2_000, "{bytes} for {entries}");
    log.expire(10_000_000);
    // Only what the log remembers of evicted events since the last broadcast is left.
    let (left, entries) = log.retained();
    assert!(entries == 0 && left < 4_096, "{left} for {entries}");
    (bytes, held)
}

fn dispatch(log: &Log) {
    let mut context = Context::from_waker(Waker::noop());
    while let Poll::Ready(batch) = pin!(log.next_batch(1_000)).poll(&mut context) {
        log.mark_dispatched(batch.last().unwrap(), 0);
    }
}

#[test]
fn tickets_hold_no_more_than_accounted_and_are_freed() {
    const TTL: Duration = Duration::from_secs(30);
    let _turn = TURN.lock();
    let topics = |n: usize, count: usize| -> Box<[TopicPattern]> {
        (0..count)
            .map(|topic| TopicPattern::parse(&format!("a/topic/of/{n}/{topic}")).unwrap())
            .collect()
    };
    // (users, topics per user, length of their names): many small tickets, and the largest ones.
    for (users, count, name_bytes) in [(20_000, 0, 6), (20_000, 2, 40), (8_000, 250, 6)] {
        let clock = Clock::manual(0);
        let tickets = Tickets::new(clock.clone());
        let (held, ()) = bytes_held(|| {
            for n in 0..users {
                let identity = Identity {
                    user: format!("{n:0>name_bytes$}").into(),
                    session: (n % 2 == 0).then(|| format!("session {n}").into()),
                    issued: None,
                    expires_at: u64::MAX,
                    topics: topics(n, count),
                };
                tickets.issue(identity, TTL);
            }
        });
        let said = tickets.bytes();
        println!("{users} users, {count} topics: {held} bytes held, {said} accounted");
        // Threads of another test may still free memory, which can only lower the number.
        assert!(
            held <= said && said <= MAX_TICKET_BYTES,
            "{held} held, {said} accounted"
        );
        let region = Region::new(ALLOCATOR);
        clock.advance(TTL);
        // One sweep does a bounded amount of work.
        for _ in 0..100 {
            tickets.sweep();
        }
        let change = region.change();
        assert_eq!(tickets.bytes(), 0);
        let back = change.bytes_deallocated - change.bytes_allocated;
        assert!(
            held.abs_diff(back) < 4_096,
            "{back} of {held} bytes came back"
        );
    }
}

#[test]
fn a_topic_of_a_client_is_at_most_16_bytes() {
    const CLIENTS: usize = 1_000;
    const FEW: usize = 4;
    const MANY: usize = 32;
    let _turn = TURN.lock();
    let names: Vec<String> = (0..MANY).map(|n| format!("topic/{n}")).collect();
    let connect = |topics: usize| {
        let server = TestServer::start();
        let topics: Vec<&str> = names[..topics].iter().map(String::as_str).collect();
        // The first streams pay for what each topic and each shard needs once.
        let open = |n: usize| server.stream_of(&server.token_with(&format!("u{n}"), None, &topics));
        let first: Vec<Stream> = (0..40).map(open).collect();
        let (held, streams) = bytes_held(|| {
            let streams: Vec<Stream> = (40..40 + CLIENTS).map(open).collect();
            server.wait_for_metric("idlewild_handshakes_in_flight", 0.0);
            streams
        });
        drop((first, streams));
        held
    };
    let pairs = CLIENTS * (MANY - FEW);
    let mut tries: Vec<usize> = (0..3)
        .map(|_| connect(MANY).saturating_sub(connect(FEW)))
        .collect();
    tries.sort_unstable();
    let bytes = tries[1];
    println!("{bytes} bytes for {pairs} (client, topic) pairs");
    assert!(
        (8 * pairs..=16 * pairs).contains(&bytes),
        "{bytes} bytes for {pairs} pairs"
    );
}

#[test]
fn a_broadcast_allocates_nothing_for_a_client() {
    let _turn = TURN.lock();
    let few = median_allocations(100);
    let many = median_allocations(1_000);
    // One slice of about a hundred sends may allocate a few lists of frames. One allocation for each of
    // 900 more clients would show as 900.
    assert!(
        many.abs_diff(few) < 100,
        "{few} allocations for 100 clients, {many} for 1,000"
    );
}

/// Allocations of the process from a broadcast's request to the last client's last byte.
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

/// Reads one frame, which fits the buffer, without allocating.
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

#[test]
fn a_websocket_client_is_served_without_an_allocation() {
    let _turn = TURN.lock();
    let [few, many] = [100, 1_000].map(WebSocketCounts::of);
    println!("{few:?} for 100 clients, {many:?} for 1,000");
    for (few, many) in [
        (few.broadcast, many.broadcast),
        (few.heartbeat, many.heartbeat),
        (few.pong, many.pong),
    ] {
        // As in the test above, one allocation per client would show as 900.
        assert!(
            many.abs_diff(few) < 100,
            "{few} allocations for 100 clients, {many} for 1,000"
        );
    }
}

/// Median allocations of the process until each client has received something.
#[derive(Debug)]
struct WebSocketCounts {
    broadcast: usize,
    heartbeat: usize,
    /// For one ping from each client.
    pong: usize,
}

impl WebSocketCounts {
    fn of(clients: usize) -> Self {
        const HEARTBEAT: Duration = Duration::from_secs(31);
        const MASK: [u8; 4] = [0; 4];
        const PING: [u8; 2] = [0x89, 0x80];
        const PONG: [u8; 2] = [0x8a, 0x80];
        let server = TestServer::start();
        let mut sockets: Vec<Socket> = (0..clients)
            .map(|n| websocket(&server, &format!("u{n}")))
            .collect();
        server.wait_for_metric("idlewild_handshakes_in_flight", 0.0);
        let event = json!({"to": {"all": true}, "data": {"type": "NEWS", "n": 1}});
        let broadcast = median(|| {
            server.publish(&event);
            for socket in &mut sockets {
                read_until(socket, b"\"type\":\"NEWS\"}}");
            }
        });
        let heartbeat = median(|| {
            server.advance(HEARTBEAT);
            for socket in &mut sockets {
                // A client that does not answer the ping is closed.
                read_until(socket, b"\"heartbeat\", \"data\": {}}");
                socket.write_all(&PONG).unwrap();
                socket.write_all(&MASK).unwrap();
            }
        });
        let pong = median(|| {
            for socket in &mut sockets {
                socket.write_all(&PING).unwrap();
                socket.write_all(&MASK).unwrap();
            }
            for socket in &mut sockets {
                read_until(socket, &[0x8a, 0]);
            }
        });
        Self {
            broadcast,
            heartbeat,
            pong,
        }
    }
}

/// The median of the allocations of several rounds.
fn median(mut round: impl FnMut()) -> usize {
    let mut counts: Vec<usize> = (0..ROUNDS)
        .map(|_| {
            let region = Region::new(ALLOCATOR);
            round();
            region.change().allocations
        })
        .collect();
    counts.sort_unstable();
    counts[ROUNDS / 2]
}

/// A client that has received its first message.
fn websocket(server: &TestServer, user: &str) -> Socket {
    let mut client = server.connect();
    let token = server.token(user);
    client.send(format!(
        "GET /ws/notifications/?token={token} HTTP/1.1\r\nHost: test\r\nConnection: Upgrade\r\n\
         Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    ));
    read_until(&mut client.socket, b"}}");
    client.socket
}

/// Reads bytes that end with `end` and fit into the buffer, without allocating.
fn read_until(socket: &mut Socket, end: &[u8]) {
    let mut buffer = [0; 1_024];
    let mut read = 0;
    while !buffer[..read].ends_with(end) {
        let more = socket.read(&mut buffer[read..]).unwrap();
        assert!(more > 0, "closed");
        read += more;
    }
}

/// Maps that all double at the same number of users would show here: the bytes per user would rise by half within a few
/// percent more users, and fall until the next time.
#[test]
fn a_connected_user_costs_the_directory_about_the_same_at_any_number_of_users() {
    const USERS: usize = 130_000;
    let limit = Limit {
        connections: 1,
        on_limit: OnLimit::Reject,
    };
    let _turn = TURN.lock();
    let directory = Directory::default();
    let region = Region::new(ALLOCATOR);
    // Users, and tenths of a byte for each.
    let mut costs: Vec<(usize, usize)> = Vec::new();
    let mut next = 10_000;
    for users in 1..=USERS {
        let identity = Identity {
            user: users.to_string().into(),
            session: None,
            issued: None,
            expires_at: u64::MAX,
            topics: Box::default(),
        };
        let connection = ConnectionId::new(0, u32::try_from(users).unwrap(), 0);
        directory
            .admit(&identity, connection, limit, |_| ())
            .unwrap();
        if users == next {
            let change = region.change();
            let held = change.bytes_allocated - change.bytes_deallocated;
            costs.push((users, held * 10 / users));
            next += next / 20;
        }
    }
    println!("(users, tenths of a byte per user): {costs:?}");
    let tenths = || costs.iter().map(|(_, tenths)| *tenths);
    let (least, most) = (tenths().min().unwrap(), tenths().max().unwrap());
    // 40 for the user, 5.7 to 11.4 for the index, and the end of each stripe's last chunk.
    assert!(most < 600 && most * 10 < least * 12, "{costs:?}");
}

#[test]
fn log_outs_cost_nothing_once_no_token_from_before_is_left() {
    const USERS: u64 = 100_000;
    const MONTH_MS: u64 = 30 * 24 * 60 * 60 * 1_000;
    let _turn = TURN.lock();
    let change = |user: u64, keep: Option<&str>| SessionChange {
        user: UserId::new(&user.to_string()).unwrap(),
        keep: keep.map(Into::into),
        at_unix_ms: 1_700_000_000_000,
    };
    let held_by = |keep: Option<&str>| {
        bytes_held(|| {
            let directory = Directory::default();
            for user in 0..USERS {
                let change = change(user, keep);
                directory.change_session(&change, change.at_unix_ms, Position(1));
            }
            directory
        })
    };
    let session = "a-session-whose-name-is-43-characters-long";
    let (current, directory) = held_by(Some(session));
    println!("{} bytes for a current session", current as u64 / USERS);
    assert!(current as u64 / USERS <= 125);
    drop(directory);
    let (logged_out, directory) = held_by(None);
    println!("{} bytes for a log-out", logged_out as u64 / USERS);
    let region = Region::new(ALLOCATOR);
    for _ in 0..20 {
        directory.sweep(1_700_000_000_000 + MONTH_MS + 11_001);
    }
    let change = region.change();
    let given_back = change.bytes_deallocated - change.bytes_allocated;
    let left = logged_out - given_back;
    println!("{left} bytes for {USERS} forgotten log-outs");
    // The size of the empty stripes; a million users leave no more.
    assert!(left < 100 * 1_024, "{left} bytes are left");
}
