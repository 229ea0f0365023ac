//! The same event is published on two nodes at once, and again after a failover.

use std::sync::Barrier;

use crate::common::book::{Event, To, parse_id};
use crate::common::check::Rules;
use crate::load::{Load, Size};
use crate::node::{Node, Settings};
use crate::redis::{Options, Redis};
use crate::replicas::{Links, Replicated};
use crate::support::eventually;

/// Events that are published twice.
const EVENTS: usize = 100;
/// Clients that have to receive each of them once.
const CLIENTS: usize = 30;

#[test]
fn an_event_that_is_published_on_two_nodes_at_once_is_one_event() {
    let redis = Redis::start(Options::in_memory());
    let nodes = Node::start_ready(3, &Settings::redis(&redis.url()));
    let load = quiet_load(&nodes);
    let together = Barrier::new(2);
    for _ in 0..EVENTS {
        let number = new_event(&load);
        std::thread::scope(|scope| {
            for node in &nodes[..2] {
                let (load, together) = (&load, &together);
                scope.spawn(move || {
                    together.wait();
                    publish(load, node, number);
                });
            }
        });
    }
    // The check fails for an event with two ids, and for one that came twice.
    load.finish().check_without_gaps();
}

#[test]
fn an_event_that_is_published_again_after_a_failover_is_the_same_event() {
    let redis = Replicated::start(2, &Options::in_memory(), Links::Direct);
    let settings = Settings::redis(&redis.url()).engine("replicas = 2");
    let nodes = Node::start_ready(2, &settings);
    let load = quiet_load(&nodes);
    let numbers: Vec<usize> = (0..EVENTS).map(|_| new_event(&load)).collect();
    for number in &numbers {
        publish(&load, &nodes[0], *number);
    }
    redis.failover();
    redis.wait_for_replicas(2);
    nodes.iter().for_each(Node::wait_until_ready);
    for number in &numbers {
        publish(&load, &nodes[1], *number);
    }
    // An id that was never accepted may be lost, but all of these were.
    load.finish().check(&Rules::default());
}

/// Clients, but no publishers.
fn quiet_load(nodes: &[Node]) -> Load {
    let size = Size {
        clients: CLIENTS,
        ..Size::default()
    };
    Load::prepare(nodes, size)
}

fn new_event(load: &Load) -> usize {
    let event = Event {
        to: To::All,
        data: "published twice".to_owned(),
        persist: true,
    };
    let number = load.book.add(vec![event]).start;
    load.book.send(number);
    number
}

/// Publishes an event until it is accepted: a node answers 503 if Redis does not confirm in time.
fn publish(load: &Load, node: &Node, number: usize) {
    let body = load.book.body(number).to_string();
    let mut answer = node.request("POST", "/v1/events", &body);
    eventually("the event is accepted", || {
        if answer.status == 503 {
            answer = node.request("POST", "/v1/events", &body);
        }
        answer.status != 503
    });
    assert_eq!(answer.status, 202, "{}", answer.body);
    let id = answer.json()["id"].as_str().and_then(parse_id);
    load.book.accept(number, Some(id.expect("an id")));
}
