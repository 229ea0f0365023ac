//! Knows when every shard has done all that it was asked for: streams of its own on each.

use std::collections::HashSet;

use serde_json::json;

use super::{Stream, TestServer};

const USER: &str = "probe";

/// See the module's text. Its streams count in the server's metrics.
pub struct Probe {
    /// One on each shard.
    streams: Vec<Stream>,
    flushes: usize,
}

impl Probe {
    /// Opens streams until each of the two shards holds one.
    pub fn new(server: &TestServer) -> Self {
        let mut streams = Vec::new();
        loop {
            streams.push(server.stream(USER));
            let presence = server.admin("GET", "/v1/users/probe", "").json();
            let shards: HashSet<String> = presence["connections"]
                .as_array()
                .unwrap()
                .iter()
                .map(|connection| shard_of(connection["id"].as_str().unwrap()))
                .collect();
            if shards.len() == 2 {
                return Self {
                    streams,
                    flushes: 0,
                };
            }
        }
    }

    /// Streams held.
    pub fn len(&self) -> usize {
        self.streams.len()
    }

    /// Waits until every shard has seen the time that it is. A shard answers at the end of a
    /// turn that may have begun before the clock moved, so it is asked twice.
    pub fn settle(&self, server: &TestServer) {
        for _ in 0..2 {
            let presence = server.admin("GET", "/v1/users/probe", "").json();
            let held = presence["connections"].as_array().unwrap().len();
            assert_eq!(held, self.streams.len());
        }
    }

    /// Waits until everything published before has been sent.
    pub fn flush(&mut self, server: &TestServer) {
        self.flushes += 1;
        let marker = format!("flush {}", self.flushes);
        server.publish(&json!({"to": {"user": USER}, "data": marker}));
        for stream in &mut self.streams {
            while !stream.next().expect("the probe's stream").contains(&marker) {}
        }
        // Unicasts are grouped: behind the group, a question is answered.
        self.settle(server);
    }
}

/// The shard in a connection's id.
pub fn shard_of(connection_id: &str) -> String {
    connection_id.split('-').next().unwrap().to_owned()
}
