//! The nodes: their leases, how far they are, and what they answered.

use std::collections::{BTreeMap, HashMap};

use crate::event::EventId;

/// What a node says of itself.
#[derive(Clone, Debug)]
pub(super) struct Member {
    /// The lease's end, in Unix milliseconds.
    pub(super) until_ms: u64,
    /// When the node began, in Unix milliseconds.
    pub(super) started_ms: u64,
    /// The newest entry that its clients get; everything before it is in force.
    pub(super) applied: EventId,
    /// The number of its streams.
    pub(super) connections: u64,
    pub(super) users: u64,
}

/// The nodes of a store.
#[derive(Debug, Default)]
pub(super) struct Members {
    nodes: BTreeMap<String, Member>,
    /// How many connections a control entry ended, by its node and number, and then by node.
    ended: HashMap<(String, u64), BTreeMap<String, u64>>,
}

impl Members {
    /// Renews a node's lease.
    pub(super) fn renew(&mut self, name: &str, member: Member) {
        self.nodes.insert(name.to_owned(), member);
    }

    /// Takes over a node that a lost store had. The node may have renewed its lease there, and may not know yet that it
    /// is lost. Nothing is known of what is in force there.
    pub(super) fn adopt(&mut self, name: &str, member: &Member, until_ms: u64) {
        self.nodes.entry(name.to_owned()).or_insert_with(|| Member {
            until_ms,
            applied: EventId::default(),
            ..member.clone()
        });
    }

    /// Gives a node's lease up.
    pub(super) fn leave(&mut self, name: &str) {
        self.nodes.remove(name);
    }

    /// The nodes with a lease, by name.
    pub(super) fn live(&self, unix_ms: u64) -> Vec<(String, Member)> {
        let live = self.nodes.iter();
        live.filter(|(_, member)| member.until_ms >= unix_ms)
            .map(|(name, member)| (name.clone(), member.clone()))
            .collect()
    }

    /// Returns true if the node has a lease.
    pub(super) fn is_live(&self, name: &str, unix_ms: u64) -> bool {
        let member = self.nodes.get(name);
        member.is_some_and(|member| member.until_ms >= unix_ms)
    }

    /// Notes what a control entry ended on a node.
    pub(super) fn answer(&mut self, request: (String, u64), node: &str, ended: u64) {
        let answers = self.ended.entry(request).or_default();
        answers.insert(node.to_owned(), ended);
    }

    /// How many connections a control entry has ended. `None` while a live node has not answered.
    pub(super) fn total(&self, request: &(String, u64), unix_ms: u64) -> Option<u64> {
        let answers = self.ended.get(request)?;
        let mut live = self.live(unix_ms).into_iter();
        live.all(|(name, _)| answers.contains_key(&name))
            .then(|| answers.values().sum())
    }
}
