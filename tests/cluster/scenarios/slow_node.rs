//! One node cannot follow a burst of large events. The others do not wait for it, Redis keeps nothing for it, and it
//! catches up.

use std::thread;

use serde_json::json;

use crate::node::{Node, Settings};
use crate::proxy::{Faults, Proxy};
use crate::redis::{Options, Redis};
use crate::support::{Client, NOTIFICATIONS, SECRET, Stream, eventually, process};

const EVENTS: usize = 300;
/// Close to the largest event that is allowed by default.
const EVENT_BYTES: usize = 60 * 1024;
/// Most that Redis may keep for its clients, far below the size of the burst.
const MOST_BUFFERED: u64 = 8 * 1024 * 1024;

#[test]
fn a_node_that_reads_slowly_delays_nobody_costs_redis_no_memory_and_misses_nothing() {
    let redis = Redis::start(Options::in_memory());
    let proxy = Proxy::start(redis.address());
    // A read brings the node more events at once than a client takes from its socket.
    let settings = |url: &str| Settings::redis(url).top("max_backlog_bytes = \"32MiB\"");
    let mut nodes = Node::start_ready(1, &settings(&redis.url()));
    nodes.extend(Node::start_ready(
        1,
        &settings(&redis.url_at(proxy.address)),
    ));
    let token = process::token_signed_with(SECRET, "42");
    let open = |node: &Node| {
        let path = format!("{NOTIFICATIONS}?token={token}");
        let mut stream = Client::connect(node.public).open(&path);
        stream.begin();
        stream
    };
    let (mut fast, mut slow) = (open(&nodes[0]), open(&nodes[1]));
    let slow =
        thread::spawn(move || -> Vec<String> { (0..EVENTS).map(|_| next_id(&mut slow)).collect() });
    proxy.set(Faults {
        delay: std::time::Duration::from_millis(100),
        ..Faults::default()
    });
    let mut ids = Vec::new();
    let mut buffered = 0;
    for number in 0..EVENTS {
        let data = format!("{number} {}", "x".repeat(EVENT_BYTES));
        let event = json!({"to": {"user": "42"}, "data": data}).to_string();
        let answer = nodes[0].request("POST", "/v1/events", &event);
        assert_eq!(answer.status, 202, "{}", answer.body);
        ids.push(answer.json()["id"].as_str().unwrap().to_owned());
        // The clients of the other node have it already.
        assert_eq!(Some(&next_id(&mut fast)), ids.last());
        buffered = buffered.max(output_buffers(&redis));
    }
    assert!(buffered < MOST_BUFFERED, "{buffered}");
    proxy.pass();
    assert_eq!(slow.join().unwrap(), ids);
    eventually("it has caught up", || {
        nodes[1].metric("idlewild_engine_lag_seconds") == Some(0.0)
    });
}

/// The id of the next event. Heartbeats between events are skipped.
fn next_id(stream: &mut Stream) -> String {
    loop {
        let block = stream.next().expect("the stream goes on");
        if block.contains("xxx") {
            let id = block.lines().find_map(|line| line.strip_prefix("id: "));
            return id.expect("an id").to_owned();
        }
    }
}

/// Bytes that Redis keeps for all clients.
fn output_buffers(redis: &Redis) -> u64 {
    let clients: String = redis.command(&["CLIENT", "LIST"]);
    let of_each = clients
        .split_whitespace()
        .filter_map(|field| field.strip_prefix("omem="));
    of_each.map(|bytes| bytes.parse::<u64>().unwrap()).sum()
}
