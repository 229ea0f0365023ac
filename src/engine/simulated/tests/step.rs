//! What happens in the model.

use proptest::prelude::*;

use super::super::link::Faults;

pub(super) const NODES: usize = 3;
pub(super) const USERS: usize = 2;
pub(super) const CLIENTS: usize = 6;
pub(super) const SESSIONS: [&str; 2] = ["a", "b"];

#[derive(Clone, Debug)]
pub(super) enum Step {
    /// A node gets an event for a user, or for all, perhaps with the publisher's own id.
    Publish {
        node: usize,
        to: Option<usize>,
        source: Option<u8>,
    },
    /// A node is told a user's only session; `None` ends all.
    Change {
        node: usize,
        user: usize,
        keep: Option<usize>,
    },
    /// A node is asked to end a user's connections.
    Disconnect {
        node: usize,
        user: usize,
    },
    /// A client gets a new token.
    LogIn {
        client: usize,
        node: usize,
    },
    /// A client connects to a node, with its last id. It leaves the node that it was connected to.
    Connect {
        client: usize,
        node: usize,
    },
    Leave(usize),
    /// A node's shard does so many of its commands.
    Deliver {
        node: usize,
        most: usize,
    },
    /// Clients in a replay take up to so many entries.
    Take(usize),
    /// Clients of a node get heartbeats.
    Beat(usize),
    /// The tasks of all nodes are polled so many times.
    Run(usize),
    /// So many milliseconds pass.
    Pass(u64),
    /// The leader's clock is so far off.
    Skew(i64),
    Fault {
        node: usize,
        faults: Faults,
    },
    Heal(usize),
    /// Another leader takes over, without so many of the newest entries.
    RollBack(usize),
    /// The store comes back empty.
    Empty,
    /// The store drops the oldest entries, except for so many.
    Trim(usize),
}

pub(super) fn step() -> impl Strategy<Value = Step> {
    let node = || 0..NODES;
    let client = || 0..CLIENTS;
    let user = || 0..USERS;
    let keep = || prop::option::weighted(0.7, 0..SESSIONS.len());
    let faults = (any::<bool>(), any::<bool>(), any::<bool>(), any::<bool>()).prop_map(
        |(is_cut, holds_reads, holds_writes, loses_replies)| Faults {
            is_cut,
            holds_reads,
            holds_writes,
            loses_replies,
        },
    );
    prop_oneof![
        12 => (node(), prop::option::of(user()), prop::option::weighted(0.3, 0..4u8))
            .prop_map(|(node, to, source)| Step::Publish { node, to, source }),
        2 => (node(), user(), keep())
            .prop_map(|(node, user, keep)| Step::Change { node, user, keep }),
        1 => (node(), user()).prop_map(|(node, user)| Step::Disconnect { node, user }),
        2 => (client(), node()).prop_map(|(client, node)| Step::LogIn { client, node }),
        8 => (client(), node()).prop_map(|(client, node)| Step::Connect { client, node }),
        1 => client().prop_map(Step::Leave),
        8 => (node(), 1..9usize).prop_map(|(node, most)| Step::Deliver { node, most }),
        4 => (1..6usize).prop_map(Step::Take),
        3 => node().prop_map(Step::Beat),
        8 => (1..30usize).prop_map(Step::Run),
        4 => prop_oneof![0..100u64, 0..3_000u64, Just(31_000)].prop_map(Step::Pass),
        1 => (-40_000..40_000i64).prop_map(Step::Skew),
        3 => (node(), faults).prop_map(|(node, faults)| Step::Fault { node, faults }),
        4 => node().prop_map(Step::Heal),
        2 => (0..8usize).prop_map(Step::RollBack),
        1 => Just(Step::Empty),
        1 => (1..20usize).prop_map(Step::Trim),
    ]
}
