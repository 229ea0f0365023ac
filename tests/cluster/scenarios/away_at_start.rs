//! Redis is down when a node starts.

use crate::common::subscriber::Subscriber;
use crate::load::{Load, Size};
use crate::node::{Node, Settings};
use crate::redis::{Options, Redis};
use crate::support::SECRET;
use crate::support::{Client, NOTIFICATIONS, heartbeat};

#[test]
fn a_node_without_redis_is_up_but_not_ready_and_serves_when_redis_comes() {
    let mut redis = Redis::start(Options::append_only());
    redis.kill();
    let nodes = [Node::start(&Settings::redis(&redis.url()))];
    assert!(nodes[0].not_ready().is_some());
    let subscriber = Subscriber {
        user: 1,
        topics: Vec::new(),
    };
    let path = format!("{NOTIFICATIONS}?token={}", subscriber.token(SECRET));
    let status = Client::connect(nodes[0].public).open(&path).status;
    assert_eq!(status, 503);
    redis.start_again();
    nodes[0].wait_until_ready();
    // The refused client has left nothing of the time before.
    let mut stream = Client::connect(nodes[0].public).open(&path);
    stream.begin();
    assert_eq!(stream.next(), Some(heartbeat(&stream.position)));
    drop(stream);
    let load = Load::start(&nodes, Size::default());
    load.wait_for_events(100);
    load.finish().check_without_gaps();
}
