//! The limit on streams per user counts the connections to all nodes.

use std::sync::Barrier;
use std::thread;

use crate::node::{Node, Settings};
use crate::redis::{Options, Redis};
use crate::support::{Client, NOTIFICATIONS, SECRET, Stream, eventually, process};

const USER: &str = "42";
const LIMIT: usize = 5;

fn settings(redis: &Redis) -> Settings {
    Settings::redis(&redis.url()).limit(LIMIT)
}

/// The user's connections to each node, as they are stated in Redis.
fn stated(redis: &Redis) -> Vec<usize> {
    redis.command(&["HVALS", &format!("idlewild:user:{{{USER}}}")])
}

/// Opens a stream of the user; `Err` is the status of a refusal.
fn open(node: &Node, user: &str) -> Result<Stream, u16> {
    let token = process::token_signed_with(SECRET, user);
    let path = format!("{NOTIFICATIONS}?token={token}");
    let mut stream = Client::connect(node.public).open(&path);
    if stream.status != 200 {
        return Err(stream.status);
    }
    stream.begin();
    Ok(stream)
}

#[test]
fn all_nodes_together_admit_as_many_as_one() {
    let redis = Redis::start(Options::in_memory());
    let nodes = Node::start_ready(3, &settings(&redis));
    let mut streams: Vec<Stream> = (0..LIMIT)
        .map(|number| open(&nodes[number % 3], USER).expect("below the limit"))
        .collect();
    for node in &nodes {
        assert_eq!(open(node, USER).err(), Some(429));
        assert!(open(node, "another").is_ok());
    }
    // A place that was given up on one node is free on the others.
    drop(streams.swap_remove(0));
    eventually("a place is free", || {
        open(&nodes[2], USER)
            .map(|stream| streams.push(stream))
            .is_ok()
    });
    assert_eq!(open(&nodes[1], USER).err(), Some(429));
}

#[test]
fn never_more_than_the_limit_are_in_when_many_come_at_once() {
    /// Clients of one user that come at the same time.
    const CLIENTS: usize = 20;
    let redis = Redis::start(Options::in_memory());
    let nodes = Node::start_ready(3, &settings(&redis));
    for round in 0..50 {
        let user = format!("crowd-{round}");
        let barrier = Barrier::new(CLIENTS);
        let admitted: Vec<Stream> = thread::scope(|scope| {
            let clients: Vec<_> = (0..CLIENTS)
                .map(|number| {
                    let (node, user, barrier) = (&nodes[number % 3], &user, &barrier);
                    scope.spawn(move || {
                        barrier.wait();
                        open(node, user).ok()
                    })
                })
                .collect();
            let opened = clients.into_iter().map(|client| client.join().unwrap());
            opened.flatten().collect()
        });
        assert_eq!(admitted.len(), LIMIT, "round {round}");
    }
    for node in &nodes {
        assert_eq!(node.metric("idlewild_limit_local_total"), Some(0.0));
    }
}

#[test]
fn each_node_applies_the_limit_by_itself_while_redis_is_away_and_states_its_places_afterwards() {
    let mut redis = Redis::start(Options::in_memory());
    let nodes = Node::start_ready(2, &settings(&redis));
    let mut streams = vec![open(&nodes[0], USER).unwrap()];
    redis.kill();
    nodes.iter().for_each(Node::wait_until_not_ready);
    for node in &nodes {
        while let Ok(stream) = open(node, USER) {
            streams.push(stream);
        }
    }
    assert_eq!(streams.len(), 2 * LIMIT);
    let decided = nodes
        .iter()
        .map(|node| node.metric("idlewild_limit_local_total").unwrap());
    // The refused ones were decided here, too.
    assert!(decided.sum::<f64>() > 8.0);
    redis.start_again();
    nodes.iter().for_each(Node::wait_until_ready);
    // All of one node's leave. The other node's fill the limit.
    eventually("the places of both are known to both", || {
        stated(&redis) == [LIMIT, LIMIT]
    });
    streams.truncate(1);
    eventually("one place is taken", || stated(&redis) == [1]);
    for _ in 1..LIMIT {
        streams.push(open(&nodes[1], USER).unwrap());
    }
    assert_eq!(open(&nodes[1], USER).err(), Some(429));
    assert_eq!(open(&nodes[0], USER).err(), Some(429));
}

#[test]
fn the_places_of_a_node_that_died_are_free_when_its_lease_is_over() {
    let redis = Redis::start(Options::in_memory());
    let mut nodes = Node::start_ready(2, &settings(&redis));
    let streams: Vec<Stream> = (0..LIMIT).map(|_| open(&nodes[0], USER).unwrap()).collect();
    assert_eq!(open(&nodes[1], USER).err(), Some(429));
    nodes[0].kill();
    drop(streams);
    let mut streams = Vec::new();
    eventually("the first place is free", || {
        open(&nodes[1], USER)
            .map(|stream| streams.push(stream))
            .is_ok()
    });
    for _ in 1..LIMIT {
        streams.push(open(&nodes[1], USER).unwrap());
    }
    assert_eq!(open(&nodes[1], USER).err(), Some(429));
    assert_eq!(stated(&redis), [LIMIT]);
}

#[test]
fn with_limit_scope_node_each_node_counts_its_own() {
    let redis = Redis::start(Options::in_memory());
    let settings = settings(&redis).engine("limit_scope = \"node\"");
    let nodes = Node::start_ready(2, &settings);
    for node in &nodes {
        let streams: Vec<Stream> = (0..LIMIT).map(|_| open(node, USER).unwrap()).collect();
        assert_eq!(open(node, USER).err(), Some(429));
        drop(streams);
    }
    assert_eq!(
        redis.command::<Vec<String>>(&["KEYS", "idlewild:user:*"]),
        Vec::<String>::new()
    );
}

#[test]
fn a_head_request_is_told_what_a_stream_would_be() {
    let redis = Redis::start(Options::in_memory());
    let nodes = Node::start_ready(2, &settings(&redis));
    let token = process::token_signed_with(SECRET, USER);
    let path = format!("{NOTIFICATIONS}?token={token}");
    let head = |node: &Node| crate::support::request(node.public, "HEAD", &path, &[], "").status;
    assert_eq!(head(&nodes[1]), 200);
    let streams: Vec<Stream> = (0..LIMIT).map(|_| open(&nodes[0], USER).unwrap()).collect();
    assert_eq!(head(&nodes[1]), 429);
    drop(streams);
    eventually("there is room again", || head(&nodes[1]) == 200);
}
