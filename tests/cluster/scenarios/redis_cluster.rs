//! A Redis Cluster: the master that has the log dies, stands still, or is asked to step down.

use std::time::Duration;

use crate::common::real_time::now;
use crate::load::{LOG_KEY, Load, Outcome, Size};
use crate::node::{Node, Settings};
use crate::redis::Options;
use crate::redis_cluster::RedisCluster;
use crate::scenarios::login::RIGHTS;
use crate::support::eventually;

/// The additional rights in docs/cluster.md.
const RIGHTS_IN_A_CLUSTER: &str = "+cluster|slots +cluster|nodes +ping +asking";

#[test]
fn nodes_go_on_with_the_replica_of_a_master_that_dies() {
    let mut redis = RedisCluster::start(1, &Options::in_memory());
    let nodes = nodes(&redis, 0);
    let load = Load::start(&nodes, Size::default());
    load.wait_for_events(200);
    let dead = redis.kill_master();
    let killed = now();
    redis.wait_for_another_master(dead);
    load.wait_for_events(1);
    report("an event was accepted again", now() - killed);
    load.wait_for_events(200);
    let outcome = load.finish();
    assert_eq!(outcome.experience.ends, 0, "{:?}", outcome.experience);
    check(&outcome, &redis);
}

#[test]
fn no_accepted_event_is_lost_if_the_replica_had_to_have_it() {
    let mut redis = RedisCluster::start(1, &Options::in_memory());
    let nodes = nodes(&redis, 1);
    let load = Load::start(&nodes, Size::default());
    load.wait_for_events(200);
    let dead = redis.kill_master();
    redis.wait_for_another_master(dead);
    // Nothing is accepted before there is a replica again.
    redis.server_mut(dead).start_again();
    redis.wait_for_replicas(1);
    load.wait_for_events(200);
    let outcome = load.finish();
    assert_eq!(outcome.experience.ends, 0, "{:?}", outcome.experience);
    outcome.check_nothing_lost(&redis.server(redis.master()).ids(LOG_KEY));
}

#[test]
fn a_master_of_a_cluster_that_stands_still_is_left_and_not_believed_when_it_wakes() {
    let redis = RedisCluster::start(1, &Options::in_memory());
    let nodes = nodes(&redis, 0);
    let load = Load::start(&nodes, Size::default());
    load.wait_for_events(200);
    let old = redis.pause_master();
    redis.wait_for_another_master(old);
    load.wait_for_events(50);
    redis.server(old).resume();
    load.wait_for_events(200);
    redis.wait_for_replicas(1);
    let outcome = load.finish();
    assert_eq!(outcome.experience.ends, 0, "{:?}", outcome.experience);
    check(&outcome, &redis);
}

#[test]
fn a_failover_of_a_cluster_on_request_loses_nothing() {
    let redis = RedisCluster::start(1, &Options::in_memory());
    let nodes = nodes(&redis, 0);
    let load = Load::start(&nodes, Size::default());
    load.wait_for_events(200);
    let asked = now();
    redis.failover();
    load.wait_for_events(1);
    report("an event was accepted again", now() - asked);
    load.wait_for_events(200);
    // And back.
    redis.wait_for_replicas(1);
    redis.failover();
    load.wait_for_events(200);
    load.finish().check_without_gaps();
}

#[test]
fn a_master_that_does_not_know_of_its_successor_is_left() {
    let redis = RedisCluster::start(1, &Options::in_memory());
    let nodes = nodes(&redis, 0);
    let load = Load::start(&nodes, Size::default());
    load.wait_for_events(200);
    let old = redis.master();
    let new = redis.take_over_in_secret();
    let had = redis.server(new).ids(LOG_KEY).len();
    eventually("events are in the log of the new master", || {
        redis.server(new).ids(LOG_KEY).len() > had + 50
    });
    let role = redis.server(old).info("role");
    assert_eq!(role.as_deref(), Some("master"), "it knows");
    load.wait_for_events(200);
    let outcome = load.finish();
    assert_eq!(outcome.experience.ends, 0, "{:?}", outcome.experience);
    check(&outcome, &redis);
}

#[test]
fn nodes_work_on_a_cluster_with_the_fewest_rights() {
    let rules = format!("node on >a-password {RIGHTS} {RIGHTS_IN_A_CLUSTER}");
    let options = Options::in_memory().password("of-the-tests").user(&rules);
    let redis = RedisCluster::start(1, &options);
    let settings = Settings::redis(&redis.url_as("node:a-password@")).engine("replicas = 1");
    let nodes = Node::start_ready(2, &settings);
    let load = Load::start(&nodes, Size::default());
    load.wait_for_events(200);
    redis.failover();
    redis.wait_for_replicas(1);
    load.wait_for_events(200);
    load.finish().check_without_gaps();
    for server in 0..4 {
        let denied: Vec<::redis::Value> = redis.server(server).command(&["ACL", "LOG"]);
        // The library says its name, which Redis 7.0 does not know as a right.
        let mut denied = denied.iter().map(|entry| format!("{entry:?}"));
        let needed = denied.find(|entry| !entry.contains("client|setinfo"));
        assert_eq!(needed, None);
    }
}

fn nodes(redis: &RedisCluster, replicas: u32) -> Vec<Node> {
    let settings = Settings::redis(&redis.url()).engine(&format!("replicas = {replicas}"));
    Node::start_ready(3, &settings)
}

/// Events that are not in the new master may be missing.
fn check(outcome: &Outcome, redis: &RedisCluster) {
    let master = redis.server(redis.master());
    outcome.check(&outcome.lost(&master.ids(LOG_KEY)));
}

/// For docs/cluster.md; nothing depends on it.
#[allow(clippy::print_stderr)]
fn report(what: &str, after: Duration) {
    eprintln!("{what} after {:.1} s", after.as_secs_f64());
}
