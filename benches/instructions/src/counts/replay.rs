//! Reads what a client missed from the log. The cost depends on the missed events, not on the size of
//! the log. Each count has a counterpart in a log ten times as large.

use std::hint::black_box;
use std::time::Duration;

use gungraun::{library_benchmark, library_benchmark_group};
use idlewild::event::{EventId, EventName, Position, Target, UserId};
use idlewild::hub::log::{JoinRequest, Log, PieceLimit, Progress, Record};

use crate::fixture::{NOW_MS, ORIGIN};

/// Entries of other users in the log.
const SMALL: usize = 10_000;
const LARGE: usize = 100_000;
/// Events that one client missed.
const MISSED: usize = 1_000;
/// Clients that missed one event each, in one count.
const CLIENTS: usize = 500;
/// The size of the pieces that a shard reads.
const PIECE: PieceLimit = PieceLimit {
    entries: 64,
    bytes: 32 * 1024,
};

struct Absence {
    log: Log,
    /// The clients that reconnect, each with its last id.
    clients: Vec<(String, String)>,
    expected: usize,
}

fn append(log: &Log, user: &str) -> EventId {
    let to = Target::User(UserId::new(user).expect("a user's id"));
    let id = log.newest_id().next(NOW_MS);
    let event = Record::Event {
        to,
        name: EventName::default(),
        data: r#"{"type":"order_paid"}"#.into(),
        is_kept: true,
    };
    log.append(id, 0, event).expect("ids rise");
    id
}

/// A log with this many entries of others, spread evenly among those that `clients` missed.
fn absence(others: usize, clients: usize, missed_each: usize) -> Absence {
    let log = Log::new(1 << 30, Duration::from_secs(600), ORIGIN);
    let last = append(&log, "nobody").to_string();
    let missed = clients * missed_each;
    for n in 0..others {
        append(&log, &format!("other-{}", n % 5_000));
        // Spread evenly among the entries of others.
        for nth in n * missed / others..(n + 1) * missed / others {
            append(&log, &(nth % clients).to_string());
        }
    }
    Absence {
        log,
        clients: (0..clients)
            .map(|client| (client.to_string(), last.clone()))
            .collect(),
        expected: missed,
    }
}

fn one_who_missed_much() -> Absence {
    absence(SMALL, 1, MISSED)
}

fn one_who_missed_much_of_a_large_log() -> Absence {
    absence(LARGE, 1, MISSED)
}

fn many_who_missed_one() -> Absence {
    absence(SMALL, CLIENTS, 1)
}

fn many_who_missed_one_of_a_large_log() -> Absence {
    absence(LARGE, CLIENTS, 1)
}

fn come_back(absence: Absence) -> Absence {
    let mut taken = 0;
    let mut piece = Vec::new();
    for (user, last) in &absence.clients {
        let joined = absence.log.join(&JoinRequest {
            user,
            session: None,
            topics: &[],
            last_event_id: Some(black_box(last)),
            settled: Position(0),
        });
        let mut replay = joined.replay.expect("something was missed");
        loop {
            let progress = absence.log.replay(&mut replay, PIECE, &mut piece);
            taken += piece.len();
            piece.clear();
            match progress {
                Progress::More | Progress::Moved => {}
                Progress::CaughtUp(_) => break,
                Progress::Ended(_) | Progress::Lost => panic!("nothing was to be counted"),
            }
        }
    }
    assert_eq!(taken, absence.expected);
    absence
}

#[library_benchmark(setup = one_who_missed_much)]
fn thousand_missed(absence: Absence) -> Absence {
    come_back(absence)
}

#[library_benchmark(setup = one_who_missed_much_of_a_large_log)]
fn thousand_missed_large_log(absence: Absence) -> Absence {
    come_back(absence)
}

#[library_benchmark(setup = many_who_missed_one)]
fn one_missed_each(absence: Absence) -> Absence {
    come_back(absence)
}

#[library_benchmark(setup = many_who_missed_one_of_a_large_log)]
fn one_missed_each_large_log(absence: Absence) -> Absence {
    come_back(absence)
}

library_benchmark_group!(
    name = replay,
    benchmarks = [
        thousand_missed,
        thousand_missed_large_log,
        one_missed_each,
        one_missed_each_large_log
    ]
);
