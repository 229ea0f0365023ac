//! Publishes numbered events to a server, one request after the other.

use std::net::SocketAddr;

use anyhow::{Result, ensure};

use super::admin::Admin;
use super::requests::{Event, Requests};

/// The publisher of a run whose events keep their order. It has a connection to each node that it publishes on, and
/// takes them in turn. A request is sent after the one before it was answered, so all nodes have the events in this
/// order.
#[derive(Debug)]
pub(super) struct Publisher {
    admins: Vec<Admin>,
    /// Index of the node that takes the next event.
    turn: usize,
    requests: Requests,
}

impl Publisher {
    /// A publisher that is not connected yet, for the nodes with these admin listeners.
    pub(super) fn new(requests: Requests, admins: Vec<SocketAddr>) -> Self {
        Self {
            admins: admins.into_iter().map(Admin::new).collect(),
            turn: 0,
            requests,
        }
    }

    /// What it sends.
    pub(super) fn requests(&self) -> &Requests {
        &self.requests
    }

    /// The admin listeners that it publishes on.
    pub(super) fn admins(&self) -> impl Iterator<Item = SocketAddr> {
        self.admins.iter().map(Admin::address)
    }

    /// Publishes events, several of them in one request. They keep their order.
    pub(super) fn publish(&mut self, events: &[Event]) -> Result<()> {
        let request = self.requests.of(events)?;
        let turn = self.turn;
        self.turn = (turn + 1) % self.admins.len();
        let (status, answer) = self.admins[turn].request(
            request.method,
            &request.path,
            &request.headers,
            Some(&request.body),
        )?;
        ensure!(request.status.contains(&status), "{status} {answer}");
        Ok(())
    }
}
