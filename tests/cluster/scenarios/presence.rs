//! Presence over all nodes, and what it says about nodes that do not answer.

use std::collections::HashSet;

use serde_json::{Value, json};

use crate::node::{Node, Settings};
use crate::redis::{Options, Redis};
use crate::support::{Client, NOTIFICATIONS, SECRET, Stream, eventually, process};

const NAMES: [&str; 3] = ["a", "b", "c"];
const TRIES: usize = 40;

struct World {
    redis: Redis,
    nodes: Vec<Node>,
}

impl World {
    fn start() -> Self {
        let redis = Redis::start(Options::append_only());
        let nodes = NAMES.map(|name| {
            let settings = Settings::redis(&redis.url());
            Node::start(&settings.engine(&format!("node = \"{name}\"")))
        });
        let world = Self {
            redis,
            nodes: nodes.into(),
        };
        for node in &world.nodes {
            node.wait_until_ready();
        }
        world.wait_until_live(3);
        world
    }

    fn wait_until_live(&self, number: usize) {
        eventually("the nodes live", || {
            let listed = self.nodes[0].nodes();
            listed["nodes"].as_array().unwrap().len() == number
        });
    }
}

#[test]
fn any_node_lists_the_connections_to_all_of_them() {
    let World {
        nodes,
        redis: _redis,
    } = World::start();
    let _streams: Vec<Stream> = [0, 1, 1, 2].map(|node| open(&nodes[node], "42")).into();
    for node in &nodes {
        let presence = complete(|| describe(node, "42"));
        assert_eq!(presence["online"], true);
        assert_eq!(names_of(&presence), ["a", "b", "b", "c"]);
        let first = &presence["connections"][0];
        assert_eq!(first["remote"], "127.0.0.1");
        assert_eq!(first["transport"], "sse");
        let counted = complete(|| count(node, &["42", "7"]));
        let expected = json!({
            "42": {"online": true, "connections": 4},
            "7": {"online": false, "connections": 0},
        });
        assert_eq!(counted, json!({ "users": expected }));
    }
}

#[test]
fn a_question_that_a_node_does_not_understand_is_ignored() {
    let World { nodes, redis } = World::start();
    let _stream = open(&nodes[0], "42");
    let later = r#"{"by":"later-1","number":1,"until_ms":9999999999999,"ask":{"weigh":"42"}}"#;
    let bad_user = r#"{"by":"x-1","number":1,"until_ms":9999999999999,"ask":{"describe":""}}"#;
    for question in [later, bad_user, "", "[]"] {
        redis.command::<()>(&["XADD", "idlewild:{log}:ask", "*", "e", question]);
    }
    let counted = complete(|| count(&nodes[1], &["42"]));
    let expected = json!({"42": {"online": true, "connections": 1}});
    assert_eq!(counted, json!({ "users": expected }));
}

#[test]
fn a_thousand_users_are_counted_at_once() {
    let World {
        nodes,
        redis: _redis,
    } = World::start();
    let users: Vec<String> = (0..1_000).map(|number| format!("user-{number}")).collect();
    let online = ["user-0", "user-7", "user-500", "user-999"];
    let _streams: Vec<Stream> = online
        .iter()
        .enumerate()
        .flat_map(|(number, user)| {
            [
                open(&nodes[number % 3], user),
                open(&nodes[(number + 1) % 3], user),
            ]
        })
        .collect();
    let all: Vec<&str> = users.iter().map(String::as_str).collect();
    let counted = complete(|| count(&nodes[2], &all));
    let counts = counted["users"].as_object().unwrap();
    assert_eq!(counts.len(), 1_000);
    for (user, presence) in counts {
        let is_online = online.contains(&user.as_str());
        let expected = json!({"online": is_online, "connections": if is_online { 2 } else { 0 }});
        assert_eq!(*presence, expected, "{user}");
    }
}

#[test]
fn a_node_that_does_not_answer_is_named_until_its_lease_ends() {
    let World {
        mut nodes,
        redis: _redis,
    } = World::start();
    let _streams = [open(&nodes[0], "42"), open(&nodes[1], "42")];
    nodes[2].pause();
    for node in &nodes[..2] {
        let presence = without("c", || describe(node, "42"));
        assert_eq!(names_of(&presence), ["a", "b"]);
        without("c", || count(node, &["42"]));
    }
    nodes[2].resume();
    complete(|| describe(&nodes[0], "42"));
    nodes[1].kill();
    let presence = without("b", || describe(&nodes[0], "42"));
    assert_eq!(names_of(&presence), ["a"]);
    // When its lease has ended.
    let counted = complete(|| count(&nodes[2], &["42"]));
    assert_eq!(counted["users"]["42"]["connections"], 1, "{counted}");
}

#[test]
fn without_redis_a_node_knows_its_own_connections_and_names_all_others() {
    let World { nodes, mut redis } = World::start();
    let _streams = [open(&nodes[0], "42"), open(&nodes[1], "42")];
    eventually("it has heard of all", || {
        nodes[0].metric("idlewild_nodes") == Some(3.0)
    });
    redis.kill();
    let presence = describe(&nodes[0], "42");
    assert_eq!(presence["partial"], json!(["b", "c"]), "{presence}");
    assert_eq!(names_of(&presence), ["a"]);
    let counted = count(&nodes[0], &["42"]);
    assert_eq!(counted["users"]["42"]["connections"], 1);
    assert_eq!(counted["partial"], json!(["b", "c"]));
    redis.start_again();
    eventually("all answer again", || {
        let presence = describe(&nodes[0], "42");
        presence.get("partial").is_none() && names_of(&presence) == ["a", "b"]
    });
}

#[test]
fn a_user_on_two_nodes_counts_for_both() {
    let World {
        nodes,
        redis: _redis,
    } = World::start();
    let _streams = [
        open(&nodes[0], "42"),
        open(&nodes[0], "42"),
        open(&nodes[1], "42"),
    ];
    // Nodes tell their numbers every second.
    eventually("all numbers are told", || {
        let listed = nodes[2].nodes();
        let listed = listed["nodes"].as_array().unwrap();
        let users: Vec<Option<u64>> = listed.iter().map(|node| node["users"].as_u64()).collect();
        let stats = nodes[2].request("GET", "/v1/stats", "").json();
        assert_eq!(stats["users"], 0, "{stats}");
        users == [Some(1), Some(1), Some(0)] && stats["engine"]["users"] == 2
    });
}

#[test]
fn many_questions_at_once_are_all_answered() {
    let World {
        nodes,
        redis: _redis,
    } = World::start();
    let _streams = [open(&nodes[0], "42"), open(&nodes[1], "42")];
    let are_complete = || {
        std::thread::scope(|scope| {
            let threads = (0..8).map(|number| {
                let nodes = &nodes;
                scope.spawn(move || {
                    (0..50).all(|round| {
                        let counted = count(&nodes[(number + round) % 3], &["42"]);
                        let is_complete = counted.get("partial").is_none();
                        let expected = json!({"online": true, "connections": 2});
                        assert!(
                            !is_complete || counted["users"]["42"] == expected,
                            "{counted}"
                        );
                        is_complete
                    })
                })
            });
            let threads: Vec<_> = threads.collect();
            let mut of_each = threads.into_iter().map(|thread| thread.join().unwrap());
            of_each.all(|are_complete| are_complete)
        })
    };
    // A busy machine may keep a node from answering in time, but not every time.
    assert!((0..TRIES).any(|_| are_complete()), "questions are lost");
}

fn open(node: &Node, user: &str) -> Stream {
    let token = process::token_signed_with(SECRET, user);
    let path = format!("{NOTIFICATIONS}?token={token}");
    let mut stream = Client::connect(node.public).open(&path);
    stream.begin();
    stream
}

fn describe(node: &Node, user: &str) -> Value {
    let answer = node.request("GET", &format!("/v1/users/{user}"), "");
    assert_eq!(answer.status, 200, "{}", answer.body);
    answer.json()
}

/// Asks until all nodes have answered: a busy machine may keep one from answering within half a second.
pub fn complete(mut ask: impl FnMut() -> Value) -> Value {
    let mut answer = Value::Null;
    eventually("all nodes answer", || {
        answer = ask();
        answer.get("partial").is_none()
    });
    answer
}

/// The same until this node alone has not answered.
pub fn without(name: &str, ask: impl Fn() -> Value) -> Value {
    let mut answer = Value::Null;
    eventually("one node does not answer", || {
        answer = ask();
        answer["partial"] == json!([name])
    });
    answer
}

/// The answer of `POST /v1/presence`.
pub fn count(node: &Node, users: &[&str]) -> Value {
    let body = json!({ "users": users }).to_string();
    let answer = node.request("POST", "/v1/presence", &body);
    assert_eq!(answer.status, 200, "{}", answer.body);
    answer.json()
}

/// The nodes of the connections in a presence, sorted. Each connection has an id of its own.
fn names_of(presence: &Value) -> Vec<String> {
    let connections = presence["connections"].as_array().unwrap();
    let ids: HashSet<&str> = connections
        .iter()
        .map(|connection| connection["id"].as_str().unwrap())
        .collect();
    assert_eq!(ids.len(), connections.len(), "{presence}");
    let names = ids
        .iter()
        .map(|id| id.split_once(':').unwrap().0.to_owned());
    let mut names: Vec<String> = names.collect();
    names.sort_unstable();
    names
}
