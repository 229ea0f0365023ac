//! The order in which clients connect.

use super::conn::Identity;
use super::nodes::Nodes;

/// Connects still to be made: new clients by number, then reconnects.
#[derive(Debug, Default)]
pub(super) struct Queue {
    next: u32,
    stride: u32,
    left: u32,
    returning: Vec<Identity>,
}

impl Queue {
    /// New clients numbered `first`, `first + stride`, …
    pub(super) fn add(&mut self, first: u32, stride: u32, count: u32) {
        self.next = first;
        self.stride = stride;
        self.left += count;
    }

    /// One new client with this number.
    pub(super) fn add_newcomer(&mut self, number: u32, nodes: &Nodes) {
        self.returning.push(Identity::new(number, nodes));
    }

    /// Clients that were disconnected, with their state.
    pub(super) fn add_returning(&mut self, cut: &mut Vec<Identity>) {
        self.returning.append(cut);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.left == 0 && self.returning.is_empty()
    }

    /// The next client to connect.
    pub(super) fn pop(&mut self, nodes: &Nodes) -> Option<Identity> {
        if self.left == 0 {
            return self.returning.pop();
        }
        let number = self.next;
        self.next += self.stride;
        self.left -= 1;
        Some(Identity::new(number, nodes))
    }
}
