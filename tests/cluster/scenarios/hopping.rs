//! Clients leave one node and come to another one with their last id, under load.

use crate::load::{Load, Size};
use crate::node::{Node, Settings};
use crate::redis::{Options, Redis};

#[test]
fn clients_that_hop_between_nodes_miss_and_repeat_nothing() {
    let redis = Redis::start(Options::in_memory());
    let nodes = Node::start_ready(3, &Settings::redis(&redis.url()));
    let size = Size {
        events: 600,
        hops: 500,
        ..Size::default()
    };
    let load = Load::start(&nodes, size);
    load.wait_for_hops(3_000);
    let outcome = load.finish();
    outcome.check_without_gaps();
    assert_eq!(outcome.experience.ends, 0, "{:?}", outcome.experience);
    assert_eq!(outcome.experience.refusals, 0, "{:?}", outcome.experience);
}
