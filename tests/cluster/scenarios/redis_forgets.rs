//! Redis comes back without its newest data, or without any.

use crate::load::{LOG_KEY, Load, Outcome, Size};
use crate::node::{Node, Settings};
use crate::redis::{Options, Redis};
use crate::support::NOTIFICATIONS;
use crate::support::{Client, eventually};

#[test]
fn an_empty_redis_is_noticed_and_whoever_holds_a_lost_id_is_told_of_a_gap() {
    let mut redis = Redis::start(Options::in_memory());
    let nodes = nodes(&redis);
    let load = Load::start(&nodes, Size::default());
    load.wait_for_events(300);
    quiet(&load);
    let token = revoke(&load, &nodes[0]);
    redis.kill();
    redis.start_empty();
    come_back(&load, &nodes, "new-log");
    for node in &nodes {
        let status = Client::connect(node.public)
            .open(&format!("{NOTIFICATIONS}?token={token}"))
            .status;
        assert_eq!(status, 401, "a revoked token");
    }
    let outcome = go_on(load);
    let lost = outcome.lost(&redis.ids(LOG_KEY));
    let report = outcome.check(&lost);
    assert!(report.gaps >= outcome.journals.len(), "{report:?}");
}

#[test]
fn an_older_snapshot_is_noticed_and_whoever_holds_a_lost_id_is_told_of_a_gap() {
    let mut redis = Redis::start(Options::in_memory());
    let nodes = nodes(&redis);
    let load = Load::start(&nodes, Size::default());
    load.wait_for_events(200);
    let snapshot = redis.snapshot("older.rdb");
    load.wait_for_events(200);
    quiet(&load);
    redis.kill();
    redis.start_from(&snapshot);
    come_back(&load, &nodes, "forked");
    let outcome = go_on(load);
    let lost = outcome.lost(&redis.ids(LOG_KEY));
    assert!(!lost.lost.is_empty(), "nothing was lost");
    let report = outcome.check(&lost);
    assert!(report.gaps > 0, "{report:?}");
}

#[test]
fn a_server_whose_clock_is_behind_gives_out_no_id_below_those_that_were_seen() {
    /// How far the ids of the first server are ahead of the second one's clock.
    const AHEAD_MS: u64 = 30_000;
    let mut redis = Redis::start(Options::in_memory());
    let nodes = nodes(&redis);
    let load = Load::start(&nodes, Size::default());
    load.wait_for_events(100);
    let snapshot = redis.snapshot("before.rdb");
    // After an id from the future, Redis goes on from there.
    let (seconds, _): (u64, u64) = redis.command(&["TIME"]);
    let ahead = format!("{}-0", seconds * 1_000 + AHEAD_MS);
    let _: String = redis.command(&["XADD", LOG_KEY, &ahead, "e", r#"{"origin":{}}"#]);
    load.wait_for_events(100);
    quiet(&load);
    redis.kill();
    redis.start_from(&snapshot);
    come_back(&load, &nodes, "forked");
    let outcome = go_on(load);
    let ids = redis.ids(LOG_KEY);
    let lost = outcome.lost(&ids);
    assert!(!lost.lost.is_empty(), "nothing was lost");
    let report = outcome.check(&lost);
    assert!(report.gaps > 0, "{report:?}");
    let fates = outcome.book.fates();
    let mut given = std::collections::HashSet::new();
    for id in fates.iter().filter_map(crate::common::book::Fate::id) {
        assert!(given.insert(id), "{id:?} was given twice");
    }
}

/// Nodes that send no heartbeat meanwhile. With one from the new log, a client would have a position there, and the id
/// that was lost would not be its last any more.
fn nodes(redis: &Redis) -> Vec<Node> {
    Node::start_ready(3, &Settings::redis(&redis.url()).heartbeat("30s"))
}

/// Stops publishing and hopping; every client has received everything.
fn quiet(load: &Load) {
    load.pause();
    load.reach_everybody();
}

/// Revokes a user's tokens and returns one of them.
fn revoke(load: &Load, node: &Node) -> String {
    let other = crate::common::subscriber::Subscriber {
        user: u16::MAX,
        topics: Vec::new(),
    };
    let token = other.token(crate::support::SECRET);
    let user = crate::common::subscriber::user_name(other.user);
    let answer = node.request("POST", &format!("/v1/users/{user}/logout"), "{}");
    assert!(answer.status < 300, "{}: {}", answer.status, answer.body);
    assert_eq!(load.clients.experience().ends, 0);
    token
}

/// Waits until the nodes have noticed what Redis lacks, and lets every client come back with the id that it has.
fn come_back(load: &Load, nodes: &[Node], verdict: &str) {
    // A node may still be ready as before Redis ended.
    let resyncs = format!("idlewild_engine_resyncs_total{{verdict=\"{verdict}\"}}");
    for node in nodes {
        eventually(&format!("a node's verdict is {verdict}"), || {
            node.metric(&resyncs) > Some(0.0)
        });
        node.wait_until_ready();
    }
    let begun = load.clients.begun();
    load.clients.cut_all();
    eventually("every client is back", || {
        load.clients.begun() >= begun + load.clients.len()
    });
}

fn go_on(load: Load) -> Outcome {
    load.go();
    load.wait_for_events(200);
    load.finish()
}
