//! Clients that leave and come back to a single node, which keeps its events itself.

use crate::load::{Load, Size};
use crate::node::{Node, Settings};

#[test]
fn clients_that_come_back_with_their_last_id_miss_and_repeat_nothing() {
    let nodes = Node::start_ready(1, &Settings::memory());
    let load = Load::start(&nodes, Size::default());
    load.wait_for_events(500);
    load.wait_for_hops(300);
    let replayed = nodes[0].metric("idlewild_replayed_total").unwrap();
    let outcome = load.finish();
    outcome.check_without_gaps();
    // The test must not pass because nothing happened.
    assert!(replayed > 0.0, "{:?}", outcome.experience);
    assert_eq!(outcome.experience.ends, 0, "{:?}", outcome.experience);
}
