//! Redis closes one of a node's connections.

use crate::node::{Node, Settings};
use crate::redis::{Options, Redis};
use crate::support::eventually;

#[test]
fn each_connection_that_is_lost_is_made_again() {
    let redis = Redis::start(Options::in_memory());
    let node = Node::start(&Settings::redis(&redis.url()).engine("node = \"a\""));
    node.wait_until_ready();
    for purpose in ["read", "write", "ask", "spread"] {
        let name = format!("idlewild:a:{purpose}");
        // All are made again when one is lost, so the one that is found may just be ending.
        let mut old = String::new();
        eventually(&format!("there is a connection {name}"), || {
            node.wait_until_ready();
            old = client_of(&redis, &name).unwrap_or_default();
            !old.is_empty() && redis.command::<usize>(&["CLIENT", "KILL", "ID", &old]) == 1
        });
        eventually(&format!("there is another connection {name}"), || {
            client_of(&redis, &name).is_some_and(|id| id != old)
        });
    }
    node.wait_until_ready();
}

/// The number of the connection with this name.
fn client_of(redis: &Redis, name: &str) -> Option<String> {
    let clients: String = redis.command(&["CLIENT", "LIST"]);
    let line = clients
        .lines()
        .find(|line| line.split(' ').any(|field| field == format!("name={name}")))?;
    let id = line.strip_prefix("id=")?.split(' ').next()?;
    Some(id.to_owned())
}
