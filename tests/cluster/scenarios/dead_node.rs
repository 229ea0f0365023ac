//! A node dies under load. Its clients go on elsewhere, and presence forgets it.

use crate::common::check::Rules;
use crate::common::subscriber::user_name;
use crate::load::{LOG_KEY, Load, Size};
use crate::node::{Node, Settings};
use crate::redis::{Options, Redis};
use crate::scenarios::presence::{complete, count, without};
use crate::support::eventually;

#[test]
fn clients_of_a_node_that_dies_miss_nothing_elsewhere_and_presence_knows_only_the_living() {
    let redis = Redis::start(Options::in_memory());
    let settings = |name| Settings::redis(&redis.url()).engine(&format!("node = \"{name}\""));
    let mut nodes: Vec<Node> = ["a", "b", "c"]
        .map(|name| Node::start(&settings(name)))
        .into();
    nodes.iter().for_each(Node::wait_until_ready);
    let load = Load::start(&nodes, Size::default());
    load.wait_for_events(200);
    let users: Vec<String> = (0..Size::default().audience.users).map(user_name).collect();
    let users: Vec<&str> = users.iter().map(String::as_str).collect();
    let online = |answer: &serde_json::Value| -> u64 {
        let users = answer["users"].as_object().unwrap().values();
        users.map(|it| it["connections"].as_u64().unwrap()).sum()
    };
    // Clients stay where they are, so that each is counted once.
    load.clients.hop_often(0);
    let everybody = load.clients.len() as u64;
    eventually("all clients are counted", || {
        online(&complete(|| count(&nodes[0], &users))) == everybody
    });
    let of_the_dead = nodes[1].metric("idlewild_connections{transport=\"sse\"}");
    load.clients.open_node(1, false);
    nodes[1].kill();
    // Nobody can say what it had, so it is named until its lease is over.
    let partial = without("b", || count(&nodes[0], &users));
    assert!(online(&partial) <= everybody, "{partial}");
    let after = complete(|| count(&nodes[2], &users));
    assert!(online(&after) <= everybody, "{after}");
    eventually("all clients are counted elsewhere", || {
        online(&complete(|| count(&nodes[2], &users))) == everybody
    });
    load.wait_for_events(200);
    let outcome = load.finish();
    // The test must not pass because it had no clients.
    assert!(of_the_dead > Some(0.0), "{of_the_dead:?}");
    assert!(outcome.experience.ends > 0, "{:?}", outcome.experience);
    let lost = outcome.lost(&redis.ids(LOG_KEY)).lost;
    assert!(lost.is_empty(), "{} events are lost: {lost:?}", lost.len());
    outcome.check(&Rules::default());
}
