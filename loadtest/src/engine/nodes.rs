//! The nodes that the clients connect to: a single server, or several that share one log.
//!
//! Clients are spread evenly over the nodes. A client that reconnects goes to another node than the one it left, and
//! the spread stays even.

use std::net::SocketAddr;

use anyhow::{Result, ensure};

use super::way::Way;
use crate::tls;

/// Limit of nodes: each has up to nine figures, and `report` reads 500 per run. A connection keeps its node in one byte.
const MAX_NODES: usize = 32;

/// A node's listener for clients, and how they ask for their streams there.
#[derive(Clone, Debug)]
pub(crate) struct Node {
    pub(crate) address: SocketAddr,
    pub(crate) way: Way,
    /// The TLS settings of its clients, if they use TLS. Each node has session tickets of its own.
    pub(crate) tls: Option<tls::Client>,
}

/// The nodes of a run: at least one.
#[derive(Clone, Debug)]
pub(crate) struct Nodes {
    /// Of a single server, these are the ways to it.
    nodes: Vec<Node>,
    is_one_server: bool,
}

impl Nodes {
    /// A single server.
    pub(crate) fn single(node: Node) -> Self {
        Self::of_one_server(vec![node])
    }

    /// A single server, with several ways to it. Clients are spread evenly over these.
    pub(crate) fn of_one_server(nodes: Vec<Node>) -> Self {
        Self {
            nodes,
            is_one_server: true,
        }
    }

    /// Several nodes, in this order, each with an address of its own, and all or none with TLS.
    pub(crate) fn new(nodes: Vec<Node>) -> Result<Self> {
        ensure!(!nodes.is_empty(), "--url: no node");
        ensure!(
            nodes.len() <= MAX_NODES,
            "--url: {} nodes; the limit is {MAX_NODES}",
            nodes.len()
        );
        for (index, node) in nodes.iter().enumerate() {
            ensure!(
                nodes[..index]
                    .iter()
                    .all(|other| other.address != node.address),
                "--url: {} is given twice; each node has an address of its own",
                node.address
            );
        }
        let secure = nodes.iter().filter(|node| node.tls.is_some()).count();
        ensure!(
            secure == 0 || secure == nodes.len(),
            "--url: http:// and https:// nodes in one run; use the same for all"
        );
        let is_one_server = nodes.len() == 1;
        Ok(Self {
            nodes,
            is_one_server,
        })
    }

    /// Returns true if there is one server.
    pub(crate) fn is_one_server(&self) -> bool {
        self.is_one_server
    }

    /// The number of nodes.
    pub(crate) fn count(&self) -> usize {
        self.nodes.len()
    }

    /// Returns true if any client uses TLS.
    pub(crate) fn secure(&self) -> bool {
        self.nodes.iter().any(|node| node.tls.is_some())
    }

    /// Returns true if any client uses WebSocket.
    pub(crate) fn by_websocket(&self) -> bool {
        self.nodes.iter().any(|node| node.way.messages.is_some())
    }

    /// The nodes in order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Node> {
        self.nodes.iter()
    }

    /// The node with this index.
    pub(super) fn get(&self, index: u8) -> &Node {
        &self.nodes[usize::from(index)]
    }

    /// The first node of connection `number`.
    pub(super) fn first(&self, number: u32) -> u8 {
        first(number, self.nodes.len())
    }

    /// The node that connection `number` reconnects to after it has left `node`.
    pub(super) fn next(&self, node: u8, number: u32) -> u8 {
        next(node, number, self.nodes.len())
    }
}

fn first(number: u32, nodes: usize) -> u8 {
    u8::try_from(number as usize % nodes).expect("at most 32 nodes")
}

/// The clients of one node go on to all the others, not to the same one. Each client always moves by the same
/// number of places, which is why clients that were spread evenly stay so.
fn next(node: u8, number: u32, nodes: usize) -> u8 {
    if nodes == 1 {
        return node;
    }
    let places = 1 + number as usize / nodes % (nodes - 1);
    u8::try_from((usize::from(node) + places) % nodes).expect("at most 32 nodes")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::template::{OF_CLIENT, Template};

    /// Clients per node.
    fn spread(of: &[u8], nodes: usize) -> Vec<usize> {
        let mut counts = vec![0; nodes];
        for &node in of {
            counts[usize::from(node)] += 1;
        }
        counts
    }

    #[test]
    fn clients_are_spread_evenly_over_the_nodes() {
        for nodes in [1, 2, 3, 7, 32] {
            let of: Vec<u8> = (0..1_000).map(|number| first(number, nodes)).collect();
            let counts = spread(&of, nodes);
            let (most, least) = (counts.iter().max().unwrap(), counts.iter().min().unwrap());
            assert!(most - least <= 1, "{nodes}: {counts:?}");
        }
    }

    #[test]
    fn a_client_returns_to_another_node_and_the_spread_stays_even() {
        for nodes in [2, 3, 5] {
            let clients = u32::try_from(nodes * (nodes - 1) * 10).unwrap();
            let mut of: Vec<u8> = (0..clients).map(|number| first(number, nodes)).collect();
            for _ in 0..2 * nodes {
                for (number, node) in (0..).zip(&mut of) {
                    let left = *node;
                    *node = next(left, number, nodes);
                    assert_ne!(*node, left);
                }
                let each = clients as usize / nodes;
                assert_eq!(spread(&of, nodes), vec![each; nodes]);
            }
        }
    }

    #[test]
    fn the_clients_of_a_node_go_to_all_the_others() {
        let gone_to: Vec<u8> = (0..30)
            .filter(|&number| first(number, 3) == 0)
            .map(|number| next(0, number, 3))
            .collect();
        assert_eq!(spread(&gone_to, 3), [0, 5, 5]);
    }

    #[test]
    fn a_single_server_is_returned_to() {
        assert_eq!((first(17, 1), next(0, 17, 1)), (0, 0));
    }

    #[test]
    fn nodes_that_cannot_be_told_apart_or_use_tls_in_part_are_refused() {
        let plain = |port| Node {
            address: ([127, 0, 0, 1], port).into(),
            way: Way {
                path: Template::parse("/", OF_CLIENT).unwrap(),
                headers: Vec::new(),
                messages: None,
            },
            tls: None,
        };
        let refused = |nodes| Nodes::new(nodes).unwrap_err().to_string();
        assert!(refused(vec![plain(1), plain(2), plain(1)]).contains("127.0.0.1:1 is given twice"));
        assert!(refused((1..=33).map(plain).collect()).contains("limit is 32"));
        let client = tls::Client::new("localhost", tls::Trust::Anybody, None, None).unwrap();
        let secure = Node {
            tls: Some(client),
            ..plain(2)
        };
        assert!(refused(vec![plain(1), secure]).contains("use the same for all"));
        assert_eq!(Nodes::new(vec![plain(1), plain(2)]).unwrap().count(), 2);
    }
}
