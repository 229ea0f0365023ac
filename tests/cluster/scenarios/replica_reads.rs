//! Nodes read the log from replicas, as long as these have the master's.

use crate::load::{LOG_KEY, Load, Size};
use crate::node::{Node, Settings};
use crate::redis::{Options, Redis};
use crate::replicas::{Links, Replicated};
use crate::support::eventually;

const NODES: usize = 3;

#[test]
fn nodes_read_from_replicas_and_from_the_master_if_none_is_left() {
    let mut redis = Replicated::start(1, &Options::in_memory(), Links::Direct);
    let nodes = nodes(&redis, 0);
    wait_for_readers(&redis, |on| on(0) == 0 && on(1) == NODES);
    let replica = redis.server(1).address();
    let said = nodes[0].check_engine();
    assert!(
        said.contains(&format!("will read from {replica}\n")),
        "{said}"
    );
    let load = Load::start(&nodes, Size::default());
    load.wait_for_events(200);
    redis.server_mut(1).kill();
    load.wait_for_events(100);
    wait_for_readers(&redis, |on| on(0) == NODES);
    let said = nodes[0].check_engine();
    assert!(said.contains("no replica can be read from"), "{said}");
    redis.server_mut(1).start_again();
    wait_for_readers(&redis, |on| on(0) == 0 && on(1) == NODES);
    load.wait_for_events(200);
    let outcome = load.finish();
    assert_eq!(outcome.experience.ends, 0, "{:?}", outcome.experience);
    outcome.check_without_gaps();
}

#[test]
fn a_replica_that_stands_still_is_left() {
    let redis = Replicated::start(1, &Options::in_memory(), Links::Direct);
    let nodes = nodes(&redis, 0);
    wait_for_readers(&redis, |on| on(0) == 0 && on(1) == NODES);
    let load = Load::start(&nodes, Size::default());
    load.wait_for_events(200);
    // A client that hops to a node that is seconds behind may be told of a gap.
    load.clients.hop_often(0);
    redis.server(1).pause();
    wait_for_readers(&redis, |on| on(0) == NODES);
    load.go();
    load.wait_for_events(200);
    let outcome = load.finish();
    redis.server(1).resume();
    assert_eq!(outcome.experience.ends, 0, "{:?}", outcome.experience);
    outcome.check_without_gaps();
}

#[test]
fn nodes_that_read_from_replicas_lose_nothing_if_the_master_dies() {
    let mut redis = Replicated::start(2, &Options::in_memory(), Links::Direct);
    let nodes = nodes(&redis, 1);
    wait_for_readers(&redis, |on| on(0) == 0 && on(1) + on(2) == NODES);
    let load = Load::start(&nodes, Size::default());
    load.wait_for_events(200);
    let dead = redis.kill_master();
    let master = redis.wait_for_another_master(dead);
    nodes.iter().for_each(Node::wait_until_ready);
    redis.server_mut(dead).start_again();
    redis.wait_for_replicas(2);
    load.wait_for_events(200);
    wait_for_readers(&redis, |on| {
        on(master) == 0 && (0..3).map(on).sum::<usize>() == NODES
    });
    let outcome = load.finish();
    assert_eq!(outcome.experience.ends, 0, "{:?}", outcome.experience);
    let entries = redis.server(master).ids(LOG_KEY);
    outcome.check_nothing_lost(&entries);
}

#[test]
fn nothing_is_taken_from_a_replica_that_has_gone_its_own_way() {
    let redis = Replicated::start(1, &Options::in_memory(), Links::Direct);
    let nodes = nodes(&redis, 0);
    wait_for_readers(&redis, |on| on(0) == 0 && on(1) == NODES);
    let load = Load::start(&nodes, Size::default());
    load.wait_for_events(200);
    load.pause();
    // It repeats its newest event, at the moment it becomes a master. The master has no entry of this id.
    let repeat = "local newest = redis.call('XREVRANGE', KEYS[1], '+', '-', 'COUNT', 1)[1]
        local ms = tonumber(string.match(newest[1], '^%d+'))
        return redis.call('XADD', KEYS[1], string.format('%.0f-77', ms + 1), unpack(newest[2]))";
    let _: String = redis
        .server(1)
        .transaction(&[&["REPLICAOF", "NO", "ONE"], &["EVAL", repeat, "1", LOG_KEY]]);
    wait_for_readers(&redis, |on| on(0) == NODES);
    load.go();
    load.wait_for_events(200);
    let outcome = load.finish();
    assert_eq!(outcome.experience.ends, 0, "{:?}", outcome.experience);
    outcome.check_without_gaps();
}

fn nodes(redis: &Replicated, replicas: u32) -> Vec<Node> {
    let url = format!("{}?read=replica", redis.url());
    let settings = Settings::redis(&url).engine(&format!("replicas = {replicas}"));
    Node::start_ready(NODES, &settings)
}

/// Waits until a condition on the number of nodes that read from each server is true.
#[track_caller]
fn wait_for_readers(redis: &Replicated, is_so: impl Fn(&dyn Fn(usize) -> usize) -> bool) {
    eventually("the nodes read from these servers", || {
        is_so(&|server| readers(redis.server(server)))
    });
}

/// Connections over which nodes read the log.
fn readers(redis: &Redis) -> usize {
    let clients: String = redis.command(&["CLIENT", "LIST"]);
    let is_reader = |line: &&str| line.contains(" name=idlewild:") && line.contains(":read ");
    clients.lines().filter(is_reader).count()
}
