//! The random steps of the model test.

use proptest::prelude::*;

use super::{SESSIONS, SHARDS, TOPICS, USERS, devices, topic, user};
use crate::event::{Target, Users};

#[derive(Clone, Debug)]
pub(super) enum Step {
    /// Publishes `count` events of the same kind.
    Publish {
        to: Target,
        bytes: usize,
        is_kept: bool,
        count: usize,
    },
    /// Makes a session (second) the user's (first) only one.
    ChangeSession(usize, usize),
    Dispatch,
    Connect {
        device: usize,
        /// The device has lost its last id, and sends one that the server never issued.
        forgets: bool,
        /// Its socket is full, as if the client had not read earlier responses.
        is_full: bool,
    },
    Leave(usize),
    /// A client (first) reads a number of bytes (second).
    Read(usize, usize),
    /// A shard does one slice of one kind of work.
    Sockets(usize),
    Deliver(usize),
    CatchUp(usize),
    Timers(usize),
    Pass(u64),
}

fn target() -> impl Strategy<Value = Target> {
    let user = || (0..USERS).prop_map(user);
    prop_oneof![
        3 => user().prop_map(Target::User),
        1 => prop::collection::vec(user(), 0..4).prop_map(|users| Target::Users(Users::new(users))),
        2 => (0..TOPICS.len()).prop_map(|n| Target::Topic(topic(n))),
        2 => Just(Target::All),
    ]
}

pub(super) fn step() -> impl Strategy<Value = Step> {
    let shard = || 0..usize::from(SHARDS);
    let device = || 0..devices().len();
    prop_oneof![
        10 => (target(), 0usize..1_500, 0u8..6, 1usize..8).prop_map(|(to, bytes, n, count)| {
            Step::Publish {
                to,
                bytes,
                is_kept: n > 0,
                count,
            }
        }),
        1 => (0..USERS, 0..SESSIONS.len()).prop_map(|(user, n)| Step::ChangeSession(user, n)),
        6 => Just(Step::Dispatch),
        5 => (device(), 0u8..6, 0u8..3).prop_map(|(device, forgets, full)| Step::Connect {
            device,
            forgets: forgets == 0,
            is_full: full == 0,
        }),
        2 => device().prop_map(Step::Leave),
        6 => (device(), 1usize..5_000).prop_map(|(device, bytes)| Step::Read(device, bytes)),
        4 => shard().prop_map(Step::Sockets),
        6 => shard().prop_map(Step::Deliver),
        6 => shard().prop_map(Step::CatchUp),
        4 => shard().prop_map(Step::Timers),
        2 => (0u64..2_500).prop_map(Step::Pass),
    ]
}
