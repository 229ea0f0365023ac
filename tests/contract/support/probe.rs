//! Knows when every shard has done all that it was asked for: a stream of its own on each.

use serde_json::{Value, json};

use super::{Stream, TestServer};

/// See the module's text. Its streams count in the server's metrics.
pub struct Probe {
    /// One on each of the two shards, with its user.
    streams: Vec<(String, Stream)>,
    flushes: usize,
}

impl Probe {
    /// Opens streams until each shard holds one; the others are closed again.
    pub fn new(server: &TestServer) -> Self {
        let mut shards = Vec::new();
        let mut streams = Vec::new();
        for number in 0.. {
            let user = format!("probe-{number}");
            let stream = server.stream(&user);
            let shard = shard_of(&connections(server, &user)[0]);
            if !shards.contains(&shard) {
                shards.push(shard);
                streams.push((user, stream));
            }
            if shards.len() == 2 {
                break;
            }
        }
        Self {
            streams,
            flushes: 0,
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
            for (user, _) in &self.streams {
                assert_eq!(connections(server, user).len(), 1);
            }
        }
    }

    /// Waits until everything published before has been sent.
    pub fn flush(&mut self, server: &TestServer) {
        self.flushes += 1;
        let marker = format!("flush {}", self.flushes);
        let users: Vec<&str> = self.streams.iter().map(|(user, _)| user.as_str()).collect();
        server.publish(&json!({"to": {"users": users}, "data": marker}));
        for (_, stream) in &mut self.streams {
            while !stream.next().expect("the probe's stream").contains(&marker) {}
        }
        // Unicasts are grouped: behind the group, a question is answered.
        self.settle(server);
    }
}

/// The shard of a connection in a user's presence.
pub fn shard_of(connection: &Value) -> String {
    let id = connection["id"].as_str().unwrap();
    id.split('-').next().unwrap().to_owned()
}

fn connections(server: &TestServer, user: &str) -> Vec<Value> {
    let presence = server.admin("GET", &format!("/v1/users/{user}"), "").json();
    presence["connections"].as_array().unwrap().clone()
}
