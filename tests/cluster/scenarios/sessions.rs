//! A session change on one node holds on all of them.

use serde_json::Value;

use crate::node::{Node, Settings};
use crate::redis::{Options, Redis};
use crate::scenarios::presence::complete;
use crate::support::{Client, NOTIFICATIONS, SECRET, eventually, process};

const USER: &str = "42";

#[test]
fn a_log_out_is_in_force_on_all_nodes_when_it_is_answered() {
    let redis = Redis::start(Options::in_memory());
    let nodes = Node::start_ready(3, &Settings::redis(&redis.url()));
    let token = token_of(USER);
    for _ in 0..20 {
        applied_by_all(&nodes[0], nodes.len());
        for node in &nodes {
            assert_eq!(status(node, &token), 401);
        }
    }
    // A node that starts later knows it, too.
    let later = Node::start_ready(1, &Settings::redis(&redis.url()));
    assert_eq!(status(&later[0], &token), 401);
}

#[test]
fn the_answer_names_a_node_that_does_not_confirm_a_log_out() {
    let redis = Redis::start(Options::in_memory());
    let url = redis.url();
    let mut nodes = Node::start_ready(1, &Settings::redis(&url));
    let named = Settings::redis(&url).engine("node = \"slow\"");
    nodes.extend(Node::start_ready(1, &named));
    eventually("both live", || {
        nodes[0].nodes()["nodes"].as_array().unwrap().len() == 2
    });
    nodes[1].pause();
    let body = log_out(&nodes[0]);
    assert_eq!(body["nodes"]["of"], 2, "{body}");
    assert_eq!(body["nodes"]["missing"][0], "slow", "{body}");
    nodes[1].resume();
    let token = token_of(USER);
    applied_by_all(&nodes[0], 2);
    assert_eq!(status(&nodes[1], &token), 401);
}

#[test]
fn a_node_that_has_not_read_the_sessions_yet_is_waited_for() {
    // It may do everything else.
    let rules = "starting on >secret ~idlewild:* -@all +evalsha +script|load +xadd +xread +xrange \
                 +xrevrange +xtrim +xinfo|stream +get +set +del +hget +hgetall +hset +hdel +zadd +zrem \
                 +zrangebyscore +exists +pexpire +memory|usage +time +info +client|setname";
    let redis = Redis::start(Options::in_memory().user(rules));
    let url = redis.url();
    let ready = &Node::start_ready(1, &Settings::redis(&url))[0];
    let login = url.replace("://", "://starting:secret@");
    let starting = Node::start(&Settings::redis(&login).engine("node = \"starting\""));
    eventually("both live", || {
        ready.nodes()["nodes"].as_array().unwrap().len() == 2
    });
    let token = process::token_signed_with(crate::support::SECRET, USER);
    let body = log_out(ready);
    assert_eq!(body["nodes"]["missing"][0], "starting", "{body}");
    assert!(starting.not_ready().is_some());
    let _: String = redis.command(&["ACL", "SETUSER", "starting", "+hscan"]);
    starting.wait_until_ready();
    assert_eq!(status(&starting, &token), 401);
    applied_by_all(ready, 2);
}

#[test]
fn connections_end_on_all_nodes_and_are_counted_together() {
    let redis = Redis::start(Options::in_memory());
    let nodes = Node::start_ready(3, &Settings::redis(&redis.url()));
    let token = token_of(USER);
    let mut streams: Vec<_> = nodes
        .iter()
        .map(|node| {
            let path = format!("{NOTIFICATIONS}?token={token}");
            let mut stream = Client::connect(node.public).open(&path);
            stream.begin();
            stream
        })
        .collect();
    let path = format!("/v1/users/{USER}/connections");
    let answer = nodes[1].request("DELETE", &path, "");
    assert_eq!(answer.json()["ended"], 3, "{}", answer.body);
    for stream in &mut streams {
        assert_eq!(stream.next(), None);
    }
}

#[test]
fn a_log_out_reports_how_many_connections_it_has_ended_on_all_nodes() {
    let redis = Redis::start(Options::in_memory());
    let nodes = Node::start_ready(3, &Settings::redis(&redis.url()));
    let mut number = 0;
    // A busy machine may keep a node from telling its number within half a second.
    let body = complete(|| {
        let user = format!("user-{number}");
        number += 1;
        let path = format!("{NOTIFICATIONS}?token={}", token_of(&user));
        let streams = [0, 1, 1, 2].map(|node: usize| {
            let mut stream = Client::connect(nodes[node].public).open(&path);
            stream.begin();
            stream
        });
        let body = log_out_of(&nodes[0], &user);
        for mut stream in streams {
            assert!(stream.next().unwrap().contains("FORCE_LOGOUT"));
        }
        body
    });
    assert_eq!(body["ended"], 4, "{body}");
    // A node that has started since has ended none.
    let id = body["id"].as_str().unwrap().to_owned();
    let later = Node::start_ready(1, &Settings::redis(&redis.url()));
    let body = complete(|| log_out(&later[0]));
    assert_ne!(body["id"], id.as_str());
    assert_eq!(body["ended"], 0, "{body}");
}

pub fn token_of(user: &str) -> String {
    process::token_signed_with(SECRET, user)
}

/// Logs out until all nodes have confirmed it in time: a busy machine may keep one from it.
fn applied_by_all(node: &Node, nodes: usize) {
    eventually("all nodes have applied a log-out", || {
        log_out(node)["nodes"]["applied"] == nodes
    });
}

fn log_out(node: &Node) -> Value {
    log_out_of(node, USER)
}

fn log_out_of(node: &Node, user: &str) -> Value {
    let answer = node.request("POST", &format!("/v1/users/{user}/logout"), "");
    assert_eq!(answer.status, 200, "{}", answer.body);
    answer.json()
}

fn status(node: &Node, token: &str) -> u16 {
    let path = format!("{NOTIFICATIONS}?token={token}");
    Client::connect(node.public).open(&path).status
}
