//! A node is cut off from Redis for longer than the log reaches back.

use serde_json::Value;

use crate::common::book::{Id, parse_id};
use crate::common::check::Rules;
use crate::load::{LOG_KEY, Load, Size};
use crate::node::{Node, Settings};
use crate::proxy::Proxy;
use crate::redis::{Options, Redis};
use crate::support::eventually;

#[test]
fn a_node_that_was_away_for_longer_than_the_log_reaches_back_ends_its_streams_and_their_clients_are_told()
 {
    let redis = Redis::start(Options::in_memory());
    let proxy = Proxy::start(redis.address());
    let mut nodes = Node::start_ready(2, &Settings::redis(&redis.url()));
    let cut_off = Settings::redis(&redis.url_at(proxy.address));
    nodes.extend(Node::start_ready(1, &cut_off));
    let load = Load::start(&nodes, Size::default());
    load.wait_for_events(200);
    // Its clients stay.
    load.clients.hop_often(0);
    proxy.refuse();
    nodes[2].wait_until_not_ready();
    load.wait_for_events(40);
    // What the node has not read is gone when it comes back, and the others have read it.
    let newest = redis.ids(LOG_KEY).into_iter().max().unwrap();
    eventually("the other nodes have read it", || {
        let have = applied(&redis).into_iter().filter(|id| *id >= newest);
        have.count() == 2
    });
    let (ms, sequence) = newest;
    let first = format!("{ms}-{sequence}");
    let _: u64 = redis.command(&["XTRIM", LOG_KEY, "MINID", &first]);
    proxy.pass();
    nodes[2].wait_until_ready();
    let trimmed = "idlewild_engine_resyncs_total{verdict=\"trimmed\"}";
    assert_eq!(nodes[2].metric(trimmed), Some(1.0));
    let ended = "idlewild_disconnects_total{reason=\"resync\"}";
    eventually("its streams end", || nodes[2].metric(ended) > Some(0.0));
    load.wait_for_events(200);
    let report = load.finish().check(&Rules::default());
    assert!(report.gaps > 0, "{report:?}");
}

/// How far each node has read, as it tells the others every second.
fn applied(redis: &Redis) -> Vec<Id> {
    let said: Vec<String> = redis.command(&["HVALS", "idlewild:{log}:said"]);
    let applied = said.iter().map(|said| {
        let said: Value = serde_json::from_str(said).unwrap();
        parse_id(said["applied"].as_str().unwrap()).unwrap()
    });
    applied.collect()
}
