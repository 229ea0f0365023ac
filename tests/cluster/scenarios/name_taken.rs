//! Two nodes are given the same name.

use crate::node::{Node, Settings};
use crate::redis::{Options, Redis};
use crate::scenarios::sessions::token_of;
use crate::support::{Client, NOTIFICATIONS, eventually};

const REASON: &str = "another process runs as the node `one`";

fn settings(redis: &Redis) -> Settings {
    Settings::redis(&redis.url()).engine("node = \"one\"")
}

fn is_told(node: &Node) -> bool {
    node.not_ready().is_some_and(|said| said.contains(REASON))
}

/// The times that a node began to serve.
fn attached(node: &Node) -> usize {
    node.log().matches("attached to the log in Redis").count()
}

#[test]
fn a_node_whose_name_is_taken_does_not_serve_until_the_other_has_ended() {
    let redis = Redis::start(Options::in_memory());
    let settings = settings(&redis);
    let mut first = Node::start_ready(1, &settings).remove(0);
    let mut second = Node::start(&settings);
    eventually("it says that the name is taken", || is_told(&second));
    // It tries again and again, each time over three connections.
    let opened = || -> u64 {
        let opened = redis.info("total_connections_received").unwrap();
        opened.parse().unwrap()
    };
    let before = opened();
    eventually("it has tried again", || opened() > before + 12);
    assert!(is_told(&second));
    assert_eq!((attached(&first), attached(&second)), (1, 0));
    assert_eq!(first.not_ready(), None);
    first.stop();
    second.wait_until_ready();
    // After a crash, the node's last process still has the lease, but does not renew it.
    second.kill();
    second.start_again();
    second.wait_until_ready();
    assert!(!second.log().contains(REASON));
}

#[test]
fn a_process_that_wakes_after_another_has_its_name_ends_its_streams_and_stays_out() {
    let redis = Redis::start(Options::in_memory());
    let settings = settings(&redis);
    let first = Node::start_ready(1, &settings).remove(0);
    let path = format!("{NOTIFICATIONS}?token={}", token_of("42"));
    let mut stream = Client::connect(first.public).open(&path);
    stream.begin();
    first.pause();
    let mut second = Node::start(&settings);
    second.wait_until_ready();
    first.resume();
    eventually("it says that the name is taken", || is_told(&first));
    // No event would come over it for as long as the other process runs.
    let frames = stream.last();
    assert!(
        frames.iter().any(|frame| frame.starts_with("retry: ")),
        "{frames:?}"
    );
    assert_eq!(Client::connect(first.public).open(&path).status, 503);
    assert_eq!(second.not_ready(), None);
    assert_eq!(attached(&second), 1);
    second.stop();
    first.wait_until_ready();
}
