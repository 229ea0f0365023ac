//! A session change on one node races with connects of the old session on another.

use std::sync::Barrier;
use std::thread;
use std::time::Duration;

use serde_json::json;

use crate::common::subscriber::session_token;
use crate::node::{Node, Settings};
use crate::redis::{Options, Redis};
use crate::support::{Client, NOTIFICATIONS, SECRET};

const RACES: usize = 1_000;
/// Threads, each with races of its own.
const THREADS: usize = 4;
/// For a node that does not confirm a change in time.
const MOST_ATTEMPTS: usize = 10;
/// As long as a change takes, so that connects meet each of its steps.
const MOST_JITTER_US: u64 = 10_000;

#[test]
fn no_stream_of_the_old_session_survives_the_answer_to_a_session_change() {
    let redis = Redis::start(Options::in_memory());
    let nodes = Node::start_ready(2, &Settings::redis(&redis.url()));
    let admitted: usize = thread::scope(|scope| {
        let threads = (0..THREADS).map(|thread| {
            let nodes = &nodes;
            let users = (thread..RACES).step_by(THREADS);
            scope.spawn(move || users.filter(|user| race(nodes, *user)).count())
        });
        let threads: Vec<_> = threads.collect();
        threads.into_iter().map(|it| it.join().unwrap()).sum()
    });
    assert!(admitted > 0, "no client came before a change");
}

/// Returns true if the client came before the change. A busy machine may keep a node from confirming a change in time;
/// such a race shows nothing, and another user repeats it.
fn race(nodes: &[Node], number: usize) -> bool {
    let race = |attempt| race_of(nodes, &format!("user-{number}-{attempt}"));
    (0..MOST_ATTEMPTS)
        .find_map(race)
        .expect("all nodes confirm both changes")
}

/// The same, once; `None` if a node did not confirm a change.
fn race_of(nodes: &[Node], user: &str) -> Option<bool> {
    if !change(&nodes[0], user, "old") {
        return None;
    }
    let old = session_token(SECRET, user, "old");
    let path = format!("{NOTIFICATIONS}?token={old}");
    let barrier = Barrier::new(2);
    let jitter = Duration::from_micros(fastrand::u64(..MOST_JITTER_US));
    let mut raced = thread::scope(|scope| {
        let connect = scope.spawn(|| {
            barrier.wait();
            thread::sleep(jitter);
            Client::connect(nodes[1].public).open(&path)
        });
        barrier.wait();
        if !change(&nodes[0], user, "new") {
            return None;
        }
        // At this moment, nobody is online, and nobody gets in.
        let presence = nodes[1].request("GET", &format!("/v1/users/{user}"), "");
        assert_eq!(presence.json()["online"], false, "{}", presence.body);
        for node in nodes {
            assert_eq!(Client::connect(node.public).open(&path).status, 401);
        }
        Some(connect.join().unwrap())
    })?;
    match raced.status {
        200 => {
            let rest: String = std::iter::from_fn(|| raced.next()).collect();
            assert!(rest.contains("FORCE_LOGOUT"), "{rest}");
            Some(true)
        }
        401 => Some(false),
        other => panic!("{other}"),
    }
}

/// Makes a session the only one of a user, and returns whether both nodes have confirmed that they have applied it.
fn change(node: &Node, user: &str, session: &str) -> bool {
    let body = json!({"session_id": session}).to_string();
    let answer = node.request("PUT", &format!("/v1/users/{user}/session"), &body);
    assert_eq!(answer.status, 200, "{}", answer.body);
    answer.json()["nodes"]["applied"] == 2
}
