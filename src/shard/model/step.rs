//! The random steps of the model test.

use proptest::prelude::*;

use super::speaker::Input;
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
    /// Entries are dispatched by the dispatcher, or by whoever has published last.
    Dispatch {
        in_place: bool,
    },
    Connect {
        device: usize,
        /// The shard that accepts it, as the kernel chooses.
        shard: usize,
        /// The device has lost its last id, and sends one that the server never issued.
        forgets: bool,
        /// Its socket is full, as if the client had not read earlier responses.
        is_full: bool,
        /// Of a WebSocket client.
        answers_pings: bool,
        /// A WebSocket client that never closes after the server.
        is_mute: bool,
    },
    Leave(usize),
    /// A WebSocket client sends something, or the rest of a frame and half of another.
    Say {
        device: usize,
        input: Input,
        is_half: bool,
    },
    /// A WebSocket client with TLS changes its keys.
    ChangeKeys(usize),
    /// A WebSocket client closes, and its side of the connection at once.
    HangUp(usize),
    /// A client reads so many bytes.
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

fn input() -> impl Strategy<Value = Input> {
    prop_oneof![
        6 => Just(Input::Ping),
        2 => (0usize..3_000).prop_map(Input::Message),
        1 => Just(Input::Close),
        1 => (0usize..4).prop_map(Input::Invalid),
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
        6 => any::<bool>().prop_map(|in_place| Step::Dispatch { in_place }),
        5 => (device(), shard(), 0u8..6, 0u8..3, 0u8..4, 0u8..4).prop_map(|(device, shard, forgets, full, silent, mute)| {
            Step::Connect {
                device,
                shard,
                forgets: forgets == 0,
                is_full: full == 0,
                answers_pings: silent > 0,
                is_mute: mute == 0,
            }
        }),
        5 => (device(), input(), 0u8..4).prop_map(|(device, input, half)| Step::Say {
            device,
            input,
            is_half: half == 0,
        }),
        1 => (device(), 0u8..4).prop_map(|(device, kind)| if kind == 0 {
            Step::ChangeKeys(device)
        } else {
            Step::HangUp(device)
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
