//! Redis is killed and started again, with its append-only file.

use crate::common::check::Rules;
use crate::load::{Load, Size};
use crate::node::{Node, Settings};
use crate::redis::{Options, Redis};

const EVENT: &str = r#"{"to": {"user": "nobody"}, "data": "x"}"#;

#[test]
fn three_kills_of_a_redis_with_an_append_only_file_lose_and_repeat_nothing() {
    let mut redis = Redis::start(Options::append_only());
    let nodes = Node::start_ready(3, &Settings::redis(&redis.url()));
    let load = Load::start(&nodes, Size::default());
    for _ in 0..3 {
        load.wait_for_events(200);
        redis.kill();
        nodes.iter().for_each(Node::wait_until_not_ready);
        let answer = nodes[0].request("POST", "/v1/events", EVENT);
        assert_eq!(answer.status, 503, "{}", answer.body);
        // A batch of which nothing is stored is an error, too, whatever else is wrong with it.
        let lines = format!("{EVENT}\n{EVENT}\nnonsense");
        let answer = nodes[0].request("POST", "/v1/events/batch", &lines);
        assert_eq!(answer.status, 503, "{}", answer.body);
        redis.start_again();
        nodes.iter().for_each(Node::wait_until_ready);
    }
    load.wait_for_events(200);
    let outcome = load.finish();
    // A client that comes to a node which has not read the client's last event yet is told of a gap.
    outcome.check(&Rules::default());
    // Streams go on without Redis.
    assert_eq!(outcome.experience.ends, 0, "{:?}", outcome.experience);
}
