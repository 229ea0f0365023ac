//! The nodes' clocks differ by seconds. The clock of Redis decides who was logged out before whom.

use serde_json::json;

use crate::accounts::{EMAIL, PASSWORD, USER, UserFile};
use crate::node::{Node, Settings};
use crate::redis::{Options, Redis};
use crate::support::{BASE, Client, NOTIFICATIONS, eventually, request};

/// Longer than any round trip on one machine, and shorter than the leeway for tokens of other issuers.
const AHEAD_S: i32 = 3;

#[test]
fn a_log_in_right_after_a_log_out_is_good_whatever_the_clocks_of_the_nodes_say() {
    let redis = Redis::start(Options::in_memory());
    let users = UserFile::new();
    let settings = Settings::redis(&redis.url()).top(&users.setting());
    let mut nodes = Node::start_ready(1, &settings.clone().clock_ahead(AHEAD_S));
    nodes.extend(Node::start_ready(1, &settings.clock_ahead(-AHEAD_S)));
    for (node, ahead_s) in nodes.iter().zip([AHEAD_S, -AHEAD_S]) {
        let offset = node.metric("idlewild_clock_offset_seconds").unwrap();
        assert!((offset + f64::from(ahead_s)).abs() < 1.0, "{offset}");
        assert_eq!(node.metric("idlewild_engine_lag_seconds"), Some(0.0));
    }
    for (out, back) in [(0, 1), (1, 0)] {
        let before = log_in(&nodes[out]);
        for node in &nodes {
            assert_eq!(status(node, &before), 200);
        }
        // A busy machine may keep a node from confirming it in time.
        eventually("both nodes have applied a log-out", || {
            let answer = nodes[out].request("POST", &format!("/v1/users/{USER}/logout"), "");
            answer.json()["nodes"]["applied"] == 2
        });
        let after = log_in(&nodes[back]);
        for node in &nodes {
            assert_eq!(status(node, &after), 200);
            assert_eq!(status(node, &before), 401);
        }
    }
}

fn log_in(node: &Node) -> String {
    let body = json!({"email": EMAIL, "password": PASSWORD}).to_string();
    let answer = request(node.public, "POST", &format!("{BASE}/login/"), &[], &body);
    assert_eq!(answer.status, 200, "{}", answer.body);
    answer.json()["access"].as_str().unwrap().to_owned()
}

fn status(node: &Node, token: &str) -> u16 {
    let path = format!("{NOTIFICATIONS}?token={token}");
    Client::connect(node.public).open(&path).status
}
