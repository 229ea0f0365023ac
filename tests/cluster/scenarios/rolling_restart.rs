//! Nodes are restarted one after another, as an upgrade does it.

use crate::common::check::Rules;
use crate::load::{LOG_KEY, Load, Size};
use crate::node::{Node, Settings};
use crate::redis::{Options, Redis};

#[test]
fn a_rolling_restart_loses_and_repeats_nothing_and_a_later_version_may_add_to_entries() {
    let redis = Redis::start(Options::in_memory());
    let mut nodes = Node::start_ready(3, &Settings::redis(&redis.url()));
    let load = Load::start(&nodes, Size::default());
    load.wait_for_events(200);
    let later = r#"{"event":{"to":{"user":"nobody"},"event":"message","data":"x","later":1}}"#;
    let unknown = r#"{"of_a_later_version":{"x":1}}"#;
    for entry in [later, unknown] {
        let _: String = redis.command(&["XADD", LOG_KEY, "*", "e", entry]);
    }
    for (number, node) in nodes.iter_mut().enumerate() {
        load.clients.open_node(number, false);
        node.stop();
        load.wait_for_events(50);
        node.start_again();
        node.wait_until_ready();
        load.clients.open_node(number, true);
    }
    load.wait_for_events(200);
    let outcome = load.finish();
    outcome.check(&Rules::default());
}
