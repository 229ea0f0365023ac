//! The limit on streams per user counts the connections to all nodes.

use std::sync::Barrier;
use std::thread;
use std::time::Duration;

use serde_json::json;
use socket2::{SockFilter, SockRef};

use crate::node::{Node, Settings};
use crate::redis::{Options, Redis};
use crate::scenarios::presence::complete;
use crate::support::{Client, NOTIFICATIONS, SECRET, Stream, eventually, process, request};

const LIMIT: usize = 5;
const TRIES: usize = 50;

fn settings(redis: &Redis) -> Settings {
    Settings::redis(&redis.url()).limit(LIMIT)
}

/// The user's connections to each node, as they are stated in Redis.
fn stated(redis: &Redis, user: &str) -> Vec<usize> {
    redis.command(&["HVALS", &format!("idlewild:user:{{{user}}}")])
}

/// Opens streams until one is refused.
fn open_all(node: &Node, user: &str) -> Vec<Stream> {
    std::iter::from_fn(|| open(node, user).ok()).collect()
}

/// From now on, the client's kernel receives nothing on this connection, as after a change of network.
fn cut_off(stream: &Stream) {
    /// `BPF_RET | BPF_K`: the verdict of a socket filter.
    const RETURN: u16 = 0x06;
    SockRef::from(stream.socket.tcp())
        .attach_filter(&[SockFilter::new(RETURN, 0, 0, 0)])
        .unwrap();
}

/// Runs `scenario` with a fresh user, and again with another one if a node did not wait for Redis: a machine that is busy
/// with other things may keep it from answering in time, and then each node's own limit decides.
fn by_all_nodes<T>(nodes: &[Node], scenario: impl Fn(&str) -> T) -> T {
    let decided_here = || -> f64 {
        let totals = nodes
            .iter()
            .map(|node| node.metric("idlewild_limit_local_total").unwrap());
        totals.sum()
    };
    for number in 0..TRIES {
        let before = decided_here();
        let outcome = scenario(&format!("user-{number}"));
        if decided_here() <= before {
            return outcome;
        }
    }
    panic!("Redis was never in time");
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

/// Opens this many streams of a user at the same time, spread over the nodes. Returns those that were admitted.
fn open_at_once(nodes: &[Node], user: &str, clients: usize) -> Vec<Stream> {
    let barrier = Barrier::new(clients);
    thread::scope(|scope| {
        let clients: Vec<_> = (0..clients)
            .map(|number| {
                let (node, barrier) = (&nodes[number % nodes.len()], &barrier);
                scope.spawn(move || {
                    barrier.wait();
                    open(node, user).ok()
                })
            })
            .collect();
        let opened = clients.into_iter().map(|client| client.join().unwrap());
        opened.flatten().collect()
    })
}

#[test]
fn all_nodes_together_admit_as_many_as_one() {
    let redis = Redis::start(Options::in_memory());
    let nodes = Node::start_ready(3, &settings(&redis));
    let (admitted, others, again, after) = by_all_nodes(&nodes, |user| {
        let mut streams: Vec<Stream> = (0..LIMIT)
            .filter_map(|number| open(&nodes[number % 3], user).ok())
            .collect();
        let admitted = streams.len();
        let others: Vec<_> = nodes.iter().map(|node| open(node, user).err()).collect();
        // A place that was given up on one node is free on the others.
        drop(streams.swap_remove(0));
        let mut again = 0;
        eventually("a place is free", || {
            let more = open_all(&nodes[2], user);
            again += more.len();
            streams.extend(more);
            again > 0
        });
        (admitted, others, again, open(&nodes[1], user).err())
    });
    assert_eq!((admitted, again, after), (LIMIT, 1, Some(429)));
    assert_eq!(others, [Some(429); 3]);
}

#[test]
fn never_more_than_the_limit_are_in_when_many_come_at_once() {
    /// Clients of one user that come at the same time.
    const CLIENTS: usize = 20;
    /// Users one after the other. None may have more streams, and none fewer.
    const USERS: usize = 30;
    let redis = Redis::start(Options::in_memory());
    let nodes = Node::start_ready(3, &settings(&redis));
    for round in 0..USERS {
        let admitted = by_all_nodes(&nodes, |user| {
            open_at_once(&nodes, &format!("{user}-{round}"), CLIENTS).len()
        });
        assert_eq!(admitted, LIMIT, "round {round}");
    }
}

#[test]
fn each_node_applies_the_limit_by_itself_while_redis_is_away_and_states_its_places_afterwards() {
    const USER: &str = "42";
    let mut redis = Redis::start(Options::in_memory());
    let nodes = Node::start_ready(2, &settings(&redis));
    let first = open(&nodes[0], USER).unwrap();
    redis.kill();
    nodes.iter().for_each(Node::wait_until_not_ready);
    let mut of_both: Vec<Vec<Stream>> = nodes.iter().map(|node| open_all(node, USER)).collect();
    of_both[0].push(first);
    assert!(of_both.iter().all(|streams| streams.len() == LIMIT));
    for node in &nodes {
        let decided = node.metric("idlewild_limit_local_total").unwrap();
        assert!(decided >= 4.0, "{decided}");
    }
    redis.start_again();
    nodes.iter().for_each(Node::wait_until_ready);
    eventually("the places of both are known", || {
        stated(&redis, USER) == [LIMIT; 2]
    });
    assert_eq!(
        by_all_nodes(&nodes, |_| open(&nodes[0], USER).err()),
        Some(429)
    );
    // All of one node leave, and all but one of the other.
    of_both[0].clear();
    of_both[1].truncate(1);
    eventually("one place is taken", || stated(&redis, USER) == [1]);
    let more = by_all_nodes(&nodes, |_| {
        let more = open_all(&nodes[1], USER);
        let (number, other) = (more.len(), open(&nodes[0], USER).err());
        drop(more);
        eventually("one place is taken", || stated(&redis, USER) == [1]);
        (number, other)
    });
    assert_eq!(more, (LIMIT - 1, Some(429)));
}

#[test]
fn the_places_of_a_node_that_died_are_free_when_its_lease_is_over() {
    let redis = Redis::start(Options::in_memory());
    let settings = settings(&redis);
    let other = Node::start_ready(1, &settings);
    // Each try needs a node that dies.
    let outcome = by_all_nodes(&other, |user| {
        let mut dying = Node::start_ready(1, &settings).remove(0);
        let streams = by_all_nodes(std::slice::from_ref(&dying), |_| open_all(&dying, user));
        let refused = open(&other[0], user).err();
        dying.kill();
        drop(streams);
        let mut streams = Vec::new();
        eventually("the first place is free", || {
            streams.extend(open_all(&other[0], user));
            !streams.is_empty()
        });
        (refused, streams.len(), stated(&redis, user))
    });
    assert_eq!(outcome, (Some(429), LIMIT, vec![LIMIT]));
}

#[test]
fn dead_connections_to_one_node_give_way_to_a_newcomer_on_another() {
    /// After this time, the acknowledgements from the start of a stream are no sign of life.
    const QUIET: Duration = Duration::from_millis(400);
    let redis = Redis::start(Options::in_memory());
    let nodes = Node::start_ready(2, &settings(&redis));
    let stalled = || {
        nodes[0]
            .metric("idlewild_disconnects_total{reason=\"stalled\"}")
            .unwrap()
    };
    let newcomer = |user: &str, are_dead: bool| {
        let streams: Vec<Stream> = (0..LIMIT)
            .filter_map(|_| open(&nodes[0], user).ok())
            .collect();
        thread::sleep(QUIET);
        if are_dead {
            streams.iter().for_each(cut_off);
        }
        open(&nodes[1], user).err()
    };
    let (of_the_living, of_the_dead, closed) = by_all_nodes(&nodes, |user| {
        let closed = stalled();
        (
            newcomer(&format!("{user}-living"), false),
            newcomer(&format!("{user}-dead"), true),
            stalled() - closed,
        )
    });
    #[allow(clippy::cast_precision_loss)] // a few
    let all = LIMIT as f64;
    assert_eq!((of_the_living, of_the_dead, closed), (Some(429), None, all));
}

#[test]
fn with_limit_scope_node_each_node_counts_its_own() {
    let redis = Redis::start(Options::in_memory());
    let settings = settings(&redis).engine("limit_scope = \"node\"");
    let nodes = Node::start_ready(2, &settings);
    let of_both: Vec<Vec<Stream>> = nodes.iter().map(|node| open_all(node, "42")).collect();
    for streams in &of_both {
        assert_eq!(streams.len(), LIMIT);
    }
    // A node that has new connections would state all its users at once.
    let _: u64 = redis.command(&["CLIENT", "KILL", "TYPE", "normal"]);
    redis.wait_for_beats();
    let stated: Vec<String> = redis.command(&["KEYS", "idlewild:user:*"]);
    assert_eq!(stated, Vec::<String>::new());
}

#[test]
fn a_head_request_is_told_what_a_stream_would_be() {
    let redis = Redis::start(Options::in_memory());
    let nodes = Node::start_ready(2, &settings(&redis));
    let head = |user: &str| {
        let token = process::token_signed_with(SECRET, user);
        let path = format!("{NOTIFICATIONS}?token={token}");
        request(nodes[1].public, "HEAD", &path, &[], "").status
    };
    let (before, at_the_limit) = by_all_nodes(&nodes, |user| {
        let before = head(user);
        let streams = open_all(&nodes[0], user);
        let at_the_limit = head(user);
        drop(streams);
        eventually("there is room again", || head(user) == 200);
        (before, at_the_limit)
    });
    assert_eq!((before, at_the_limit), (200, 429));
}

#[test]
fn with_evict_oldest_the_oldest_of_all_nodes_gives_way() {
    let redis = Redis::start(Options::in_memory());
    let nodes = Node::start_ready(3, &settings(&redis).top("on_limit = \"evict_oldest\""));
    let next = by_all_nodes(&nodes, |user| {
        let mut streams: Vec<Stream> = (0..LIMIT)
            .map(|number| {
                let stream = open(&nodes[number % 3], user).unwrap();
                wait_for_another_second(&redis);
                stream
            })
            .collect();
        // The oldest is on the first node.
        streams.push(open(&nodes[1], user).unwrap());
        let event = json!({"to": {"user": user}, "data": "still here"}).to_string();
        let answer = nodes[2].request("POST", "/v1/events", &event);
        assert_eq!(answer.status, 202, "{}", answer.body);
        streams.iter_mut().map(next_of).collect::<Vec<_>>()
    });
    let mut expected = vec!["an event"; LIMIT + 1];
    expected[0] = "evicted";
    assert_eq!(next, expected);
}

#[test]
fn with_evict_oldest_everybody_comes_in_and_the_limit_holds() {
    /// Clients of one user that come at the same time.
    const CLIENTS: usize = 12;
    let redis = Redis::start(Options::in_memory());
    let nodes = Node::start_ready(3, &settings(&redis).top("on_limit = \"evict_oldest\""));
    let (admitted, left) = by_all_nodes(&nodes, |user| {
        let streams = open_at_once(&nodes, user, CLIENTS);
        let admitted = streams.len();
        let path = format!("/v1/users/{user}");
        let presence = complete(|| nodes[0].request("GET", &path, "").json());
        let left = presence["connections"].as_array().unwrap().len();
        (admitted, left)
    });
    assert_eq!((admitted, left), (CLIENTS, LIMIT));
}

/// Nodes tell the ages of streams in seconds.
fn wait_for_another_second(redis: &Redis) {
    let second = || redis.command::<(u64, u64)>(&["TIME"]).0;
    let begun = second();
    eventually("another second begins", || second() > begun);
}

/// What a stream gets next, apart from heartbeats.
fn next_of(stream: &mut Stream) -> &'static str {
    while let Some(block) = stream.next() {
        if block.contains("event: evicted") {
            return "evicted";
        }
        if block.contains("still here") {
            return "an event";
        }
    }
    "its end"
}
