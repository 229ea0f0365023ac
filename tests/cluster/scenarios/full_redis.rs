//! Redis has no memory left.

use serde_json::json;

use crate::load::{Load, Size};
use crate::node::{Node, Settings};
use crate::redis::{Options, Redis};
use crate::support::eventually;

#[test]
fn refusals_do_not_flood_the_log() {
    const REFUSALS: usize = 40;
    let redis = Redis::start(Options::in_memory());
    let node = &Node::start_ready(1, &Settings::redis(&redis.url()))[0];
    let _: String = redis.command(&["CONFIG", "SET", "maxmemory", "1mb"]);
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
    let _: String = redis.command(&["CONFIG", "SET", "maxmemory", "1mb"]);
    let event = json!({"to": {"user": "nobody"}, "data": "x"}).to_string();
    eventually("publishing is refused", || {
        let answer = nodes[0].request("POST", "/v1/events", &event);
        answer.status == 503 && answer.body.contains("maxmemory")
    });
    let _: String = redis.command(&["CONFIG", "SET", "maxmemory", "0"]);
    load.wait_for_events(200);
    let outcome = load.finish();
    outcome.check_without_gaps();
    assert_eq!(outcome.experience.ends, 0, "{:?}", outcome.experience);
    assert_eq!(outcome.experience.refusals, 0, "{:?}", outcome.experience);
}
