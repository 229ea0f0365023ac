//! Redis executes a request, but its reply is lost together with the connection.

use crate::common::book::{Event, To, parse_id};
use crate::load::{Load, Size};
use crate::node::{Node, Settings};
use crate::proxy::Proxy;
use crate::redis::{Options, Redis};

/// Part of the requests that run a script.
const SCRIPT: &str = "EVAL";
/// Replies that have to be lost.
const LOST: usize = 50;

#[test]
fn lost_replies_repeat_and_lose_nothing() {
    let redis = Redis::start(Options::in_memory());
    let (proxies, nodes) = proxied_nodes(&redis);
    let load = Load::start(&nodes, Size::default());
    load.wait_for_events(100);
    for proxy in &proxies {
        proxy.lose_replies(5, SCRIPT);
    }
    let lost = || proxies.iter().map(Proxy::lost_replies).sum::<usize>();
    while lost() < LOST {
        load.wait_for_events(50);
    }
    proxies.iter().for_each(Proxy::pass);
    let outcome = load.finish();
    outcome.check_without_gaps();
    assert_eq!(outcome.experience.ends, 0, "{:?}", outcome.experience);
}

#[test]
fn a_publisher_that_waits_too_long_asks_again_on_another_node_and_gets_the_same_answer() {
    const DATA: &str = "with an unknown outcome";
    let redis = Redis::start(Options::in_memory());
    let (proxies, nodes) = proxied_nodes(&redis);
    let load = Load::prepare(&nodes, Size::default());
    let event = Event {
        to: To::All,
        data: DATA.to_owned(),
        persist: true,
    };
    let number = load.book.add(vec![event]).start;
    load.book.send(number);
    let body = load.book.body(number).to_string();
    // Only these: if the node had just lost its connection for another reply, the event would not be sent at all.
    proxies[0].lose_replies(100, DATA);
    let answer = nodes[0].request("POST", "/v1/events", &body);
    assert_eq!(answer.status, 503, "{}", answer.body);
    assert_eq!(answer.json()["error"]["code"], "outcome_unknown");
    proxies[0].pass();
    for node in [&nodes[1], &nodes[0], &nodes[2]] {
        node.wait_until_ready();
        let answer = node.request("POST", "/v1/events", &body);
        assert_eq!(answer.status, 202, "{}", answer.body);
        let id = answer.json()["id"].as_str().and_then(parse_id);
        load.book.accept(number, Some(id.expect("an id")));
    }
    load.finish().check_without_gaps();
}

fn proxied_nodes(redis: &Redis) -> (Vec<Proxy>, Vec<Node>) {
    let proxies: Vec<Proxy> = (0..3).map(|_| Proxy::start(redis.address())).collect();
    let nodes: Vec<Node> = proxies
        .iter()
        .map(|proxy| Node::start(&Settings::redis(&redis.url_at(proxy.address))))
        .collect();
    nodes.iter().for_each(Node::wait_until_ready);
    (proxies, nodes)
}
