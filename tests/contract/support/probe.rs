//! Detects when every shard has processed everything so far, by a stream on each shard.

use serde_json::{Value, json};

use super::{Stream, TestServer};

/// A stream on each shard. The server's metrics include these streams.
pub struct Probe {
    /// A stream on each of the two shards, with its user.
    streams: Vec<(String, Stream)>,
    flushes: usize,
}

impl Probe {
    /// Opens streams until each shard has one, and closes all others.
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

    /// The number of streams.
    pub fn len(&self) -> usize {
        self.streams.len()
    }

    /// Waits until every shard has seen the current time. A shard answers at the end of a
    /// turn that may have begun before the clock advanced, so it has to answer twice.
    pub fn settle(&mut self, server: &TestServer) {
        for _ in 0..2 {
            for (user, stream) in &mut self.streams {
                assert_eq!(connections(server, user).len(), 1);
                stream.respond();
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
        // Unicasts are grouped, and this command comes after the group.
        self.settle(server);
    }
}

/// The shard of a connection in the presence of a user.
pub fn shard_of(connection: &Value) -> String {
    let id = connection["id"].as_str().unwrap();
    // Several nodes put their name before it.
    let id = id.rsplit(':').next().unwrap();
    id.split('-').next().unwrap().to_owned()
}

fn connections(server: &TestServer, user: &str) -> Vec<Value> {
    let presence = server.admin("GET", &format!("/v1/users/{user}"), "").json();
    presence["connections"].as_array().unwrap().clone()
}
