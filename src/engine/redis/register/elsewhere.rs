//! What the other nodes know about a user.

use std::sync::Arc;
use std::time::Duration;

use crate::engine::redis::ask;
use crate::engine::redis::core::Core;
use crate::engine::redis::questions::{Question, StoredDescription};
use crate::event::{EventId, UserId};
use crate::hub::ConnectionId;
use crate::hub::engine::{Elsewhere, Located};

/// How long the others may take to describe connections: no node needs more, unless it is stuck.
const PRESENCE_PATIENCE: Duration = Duration::from_millis(500);
/// How long they may take to close dead connections. Clients have a second to show that they live.
const ROOM_PATIENCE: Duration = Duration::from_secs(2);

/// The user's connections to other nodes.
pub(super) async fn describe(core: &Core, user: UserId) -> Elsewhere<Vec<Located>> {
    let question = Question::Describe(user.as_str().to_owned());
    let answers = ask::ask::<Vec<StoredDescription>>(core, question, PRESENCE_PATIENCE, |_| false);
    let Elsewhere { found, mut silent } = answers.await;
    let mut all = Vec::new();
    for (name, stored) in found {
        let node: Arc<str> = name.as_str().into();
        let descriptions: Option<Vec<_>> =
            stored.into_iter().map(StoredDescription::read).collect();
        match descriptions {
            Some(descriptions) => all.extend(descriptions.into_iter().map(|description| Located {
                node: Some(Arc::clone(&node)),
                description,
            })),
            None => silent.push(name),
        }
    }
    Elsewhere { found: all, silent }
}

/// The number of each user's connections to other nodes, in the order of `users`.
pub(super) async fn count(core: &Core, users: &[UserId]) -> Elsewhere<Vec<usize>> {
    let names = users.iter().map(|user| user.as_str().to_owned());
    let question = Question::Count(names.collect());
    let answers = ask::ask::<Vec<usize>>(core, question, PRESENCE_PATIENCE, |_| false);
    let Elsewhere { found, mut silent } = answers.await;
    let mut all = vec![0_usize; users.len()];
    for (name, counts) in found {
        if counts.len() == users.len() {
            for (all, count) in all.iter_mut().zip(counts) {
                *all = all.saturating_add(count);
            }
        } else {
            silent.push(name);
        }
    }
    Elsewhere { found: all, silent }
}

/// How many connections to other nodes have ended because of a session change.
pub(super) async fn ended_by(core: &Core, change: EventId) -> Elsewhere<usize> {
    let question = Question::Ended(change.to_string());
    let answers = ask::ask::<usize>(core, question, PRESENCE_PATIENCE, |_| false);
    let Elsewhere { found, silent } = answers.await;
    Elsewhere {
        found: found.into_iter().map(|(_, ended)| ended).sum(),
        silent,
    }
}

/// Asks a node to end a connection, and waits until the store knows that its place is free.
pub(super) async fn evict(core: &Core, node: &str, user: &UserId, connection: ConnectionId) {
    let question = Question::Evict {
        node: node.to_owned(),
        user: user.as_str().to_owned(),
        connection: connection.to_bits(),
    };
    ask::ask::<bool>(core, question, PRESENCE_PATIENCE, |has_ended| *has_ended).await;
}

/// Asks the other nodes to close the user's dead connections. Returns true if one of them has made room.
pub(super) async fn close_dead(core: &Core, user: String) -> bool {
    let question = Question::Room(user);
    let answers = ask::ask::<bool>(core, question, ROOM_PATIENCE, |has_room| *has_room);
    answers
        .await
        .found
        .into_iter()
        .any(|(_, has_room)| has_room)
}
