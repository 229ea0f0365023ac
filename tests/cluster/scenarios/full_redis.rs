//! Redis has no memory left.

use serde_json::json;

use crate::load::{Load, Size};
use crate::node::{Node, Settings};
use crate::redis::{Options, Redis};
use crate::scenarios::sessions::token_of;
use crate::support::{Client, NOTIFICATIONS, eventually};

#[test]
fn refusals_do_not_flood_the_log() {
    const REFUSALS: usize = 40;
    let redis = Redis::start(Options::in_memory());
    let node = &Node::start_ready(1, &Settings::redis(&redis.url()))[0];
    redis.set_max_memory("1mb");
    let event = json!({"to": {"user": "42"}, "data": "x"}).to_string();
    let mut refused = 0;
    eventually("publishing is refused often", || {
        let answer = node.request("POST", "/v1/events", &event);
        refused += usize::from(answer.body.contains("maxmemory"));
        refused == REFUSALS
    });
    let lines = node.log().matches("Redis refused to write").count();
    assert!((1..REFUSALS / 4).contains(&lines), "{lines}");
}

#[test]
fn a_full_redis_refuses_events_keeps_streams_and_accepts_again() {
    let redis = Redis::start(Options::in_memory());
    let nodes = Node::start_ready(2, &Settings::redis(&redis.url()));
    let load = Load::start(&nodes, Size::default());
    load.wait_for_events(200);
    redis.set_max_memory("1mb");
    let event = json!({"to": {"user": "nobody"}, "data": "x"}).to_string();
    eventually("publishing is refused", || {
        let answer = nodes[0].request("POST", "/v1/events", &event);
        answer.status == 503 && answer.body.contains("maxmemory")
    });
    redis.set_max_memory("0");
    load.wait_for_events(200);
    let outcome = load.finish();
    outcome.check_without_gaps();
    assert_eq!(outcome.experience.ends, 0, "{:?}", outcome.experience);
    assert_eq!(outcome.experience.refusals, 0, "{:?}", outcome.experience);
}

/// What nodes need to stay together takes little memory, and log-outs must not fail.
#[test]
fn a_full_redis_keeps_its_nodes_admits_others_and_stores_session_changes() {
    let redis = Redis::start(Options::in_memory());
    let settings = Settings::redis(&redis.url());
    let first = &Node::start_ready(1, &settings)[0];
    let path = |user: &str| format!("{NOTIFICATIONS}?token={}", token_of(user));
    let logged_out = path("42");
    let mut stream = Client::connect(first.public).open(&logged_out);
    stream.begin();
    redis.set_max_memory("1mb");
    redis.wait_for_beats();
    assert_eq!(first.not_ready(), None);
    let event = json!({"to": {"user": "42"}, "data": "x"}).to_string();
    let answer = first.request("POST", "/v1/events", &event);
    assert_eq!(answer.status, 503);
    assert!(answer.body.contains("maxmemory"), "{}", answer.body);

    let second = &Node::start_ready(1, &settings)[0];
    assert_eq!(Client::connect(second.public).open(&path("43")).status, 200);
    // Nodes still ask each other.
    let answer = second.request("GET", "/v1/users/42", "").json();
    assert_eq!(
        answer["connections"].as_array().unwrap().len(),
        1,
        "{answer}"
    );
    let answer = second.request("POST", "/v1/users/42/logout", "");
    assert_eq!(answer.status, 200, "{}", answer.body);
    assert_eq!(answer.json()["nodes"]["of"], 2, "{}", answer.body);
    let frames = stream.rest();
    assert!(
        frames.iter().any(|frame| frame.contains("FORCE_LOGOUT")),
        "{frames:?}"
    );
    assert_eq!(Client::connect(second.public).open(&logged_out).status, 401);
    assert!(!first.log().contains("Redis cannot be used"));
}
