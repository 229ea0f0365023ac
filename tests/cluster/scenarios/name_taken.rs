//! Two nodes are given the same name.

use crate::node::{Node, Settings};
use crate::redis::{Options, Redis};
use crate::support::eventually;

#[test]
fn of_two_nodes_with_one_name_the_later_one_is_not_ready_until_the_other_has_ended() {
    let redis = Redis::start(Options::in_memory());
    let settings = Settings::redis(&redis.url()).engine("node = \"one\"");
    let mut first = Node::start_ready(1, &settings).remove(0);
    let second = Node::start(&settings);
    let reason = "another process runs as the node `one`";
    let is_told = || second.not_ready().is_some_and(|said| said.contains(reason));
    eventually("it says that the name is taken", is_told);
    // It tries again twice a second, and is refused each time.
    let asked = redis.info("total_connections_received");
    let rejects = || redis.info("total_connections_received") > asked && is_told();
    eventually("it has tried again", rejects);
    assert_eq!(first.not_ready(), None);
    // A node that starts again is not taken for another one.
    first.stop();
    second.wait_until_ready();
    let mut second = second;
    second.kill();
    second.start_again();
    second.wait_until_ready();
    assert!(!second.log().contains(reason));
}
