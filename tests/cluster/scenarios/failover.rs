//! The master is replaced: it dies, stands still, or is asked to step down.

use std::time::Duration;

use crate::load::{LOG_KEY, Load, Outcome, Size};
use crate::node::{Node, Settings};
use crate::redis::Options;
use crate::replicas::{Links, Replicated};
use crate::support::eventually;

#[test]
fn no_accepted_event_is_lost_if_the_master_dies_and_a_replica_had_to_have_it() {
    let mut redis = Replicated::start(2, &Options::in_memory(), Links::Proxied);
    let nodes = nodes(&redis, 1);
    let load = Load::start(&nodes, Size::default());
    load.wait_for_events(200);
    redis.delay_replication(Duration::from_millis(100));
    load.wait_for_events(100);
    let dead = redis.kill_master();
    redis.wait_for_another_master(dead);
    nodes.iter().for_each(Node::wait_until_ready);
    redis.delay_replication(Duration::ZERO);
    load.wait_for_events(200);
    let outcome = load.finish();
    assert_eq!(outcome.experience.ends, 0, "{:?}", outcome.experience);
    check(&outcome, &redis);
}

#[test]
fn a_master_that_stands_still_is_left_and_nothing_is_accepted_on_it_when_it_wakes() {
    let redis = Replicated::start(2, &Options::in_memory(), Links::Direct);
    let nodes = nodes(&redis, 1);
    let load = Load::start(&nodes, Size::default());
    load.wait_for_events(200);
    let old = redis.pause_master();
    redis.wait_for_another_master(old);
    nodes.iter().for_each(Node::wait_until_ready);
    redis.server(old).resume();
    load.wait_for_events(200);
    redis.wait_for_replicas(2);
    let outcome = load.finish();
    assert_eq!(outcome.experience.ends, 0, "{:?}", outcome.experience);
    check(&outcome, &redis);
}

#[test]
fn a_failover_on_request_loses_nothing_that_all_replicas_had_to_have() {
    let redis = Replicated::start(2, &Options::in_memory(), Links::Direct);
    let nodes = nodes(&redis, 2);
    let load = Load::start(&nodes, Size::default());
    load.wait_for_events(200);
    redis.failover();
    // Nothing is accepted before the old master is a replica.
    redis.wait_for_replicas(2);
    load.wait_for_events(200);
    let outcome = load.finish();
    assert_eq!(outcome.experience.ends, 0, "{:?}", outcome.experience);
    check(&outcome, &redis);
}

#[test]
fn sentinels_that_ask_for_a_password_are_followed() {
    let redis = Replicated::start(1, &Options::in_memory().password("a-secret"), Links::Direct);
    let nodes = nodes(&redis, 1);
    let load = Load::start(&nodes, Size::default());
    load.wait_for_events(100);
    // The connections over which the nodes hear of another master.
    eventually("all nodes listen to all Sentinels", || {
        redis
            .sentinels
            .subscribers()
            .iter()
            .all(|it| *it == nodes.len())
    });
    redis.failover();
    redis.wait_for_replicas(1);
    nodes.iter().for_each(Node::wait_until_ready);
    load.wait_for_events(100);
    let outcome = load.finish();
    assert!(nodes.iter().all(|node| !node.log().contains("a-secret")));
    check(&outcome, &redis);
}

fn nodes(redis: &Replicated, replicas: u32) -> Vec<Node> {
    let settings = Settings::redis(&redis.url()).engine(&format!("replicas = {replicas}"));
    Node::start_ready(3, &settings)
}

/// Events that clients have received, but that nobody accepted, may be missing in the new master.
fn check(outcome: &Outcome, redis: &Replicated) {
    let master = redis.server(redis.master());
    outcome.check_nothing_lost(&master.ids(LOG_KEY));
}
