//! Measures the bytes that the log, tickets and the directory hold. A target of its own, because its allocator counts for the
//! whole process, and no server runs in it: the threads of one could still free memory after its test.

#![allow(missing_docs, unreachable_pub)] // nobody but this test sees it

#[path = "common/allocator.rs"]
mod allocator;

use std::pin::pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use allocator::{ALLOCATOR, TURN, bytes_held};
use idlewild::auth::Identity;
use idlewild::auth::ticket::{MAX_BYTES as MAX_TICKET_BYTES, Tickets};
use idlewild::clock::Clock;
use idlewild::config::OnLimit;
use idlewild::event::{EventId, EventName, Position, SessionChange, Target, UserId, Users};
use idlewild::hub::directory::Directory;
use idlewild::hub::log::{Log, Record};
use idlewild::hub::{ConnectionId, Limit};
use idlewild::topic::{Topic, TopicPattern};
use stats_alloc::Region;

#[test]
fn the_log_is_as_large_as_accounted() {
    let _turn = TURN.lock();
    let (said, held) = log_bytes();
    // Besides the ring, there is the queue for dispatch, here a hundred pointers at most.
    assert!(said.abs_diff(held) < 4_096, "{said} accounted, {held} held");
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
