//! Bytes between one node and Redis disappear in both directions, and no connection is closed.

use crate::common::check::Rules;
use crate::load::{Load, Size};
use crate::node::{Node, Settings};
use crate::proxy::Proxy;
use crate::redis::{Options, Redis};
use crate::support::eventually;

#[test]
fn a_node_notices_a_half_open_connection_and_resumes_without_loss() {
    let redis = Redis::start(Options::in_memory());
    let proxy = Proxy::start(redis.address());
    let mut nodes = Node::start_ready(2, &Settings::redis(&redis.url()));
    let cut_off = Settings::redis(&redis.url_at(proxy.address)).engine("max_stale = \"5s\"");
    nodes.extend(Node::start_ready(1, &cut_off));
    let load = Load::start(&nodes, Size::default());
    load.wait_for_events(200);
    proxy.swallow();
    nodes[2].wait_until_not_ready();
    nodes[..2].iter().for_each(Node::wait_until_ready);
    // It has heard nothing for too long, and no longer accepts streams.
    eventually("a client is refused", || {
        load.clients.experience().refusals > 0
    });
    load.clients.open_node(2, false);
    // A publisher that comes to this node waits for two seconds, and goes to the next one.
    load.wait_for_events(40);
    proxy.pass();
    nodes[2].wait_until_ready();
    load.clients.open_node(2, true);
    load.wait_for_events(200);
    let outcome = load.finish();
    // A client that came from another node may have been ahead of this one. Then it was told of a gap.
    outcome.check(&Rules::default());
    assert_eq!(outcome.experience.ends, 0, "{:?}", outcome.experience);
}
