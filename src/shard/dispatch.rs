//! Hands the log to the shards: one reader, so that every inbox holds entries in log order.

use std::sync::Arc;

use super::Shared;
use super::inbox::{Command, Ending, Inbox, Recipients};
use super::table::SlotRef;
use crate::directory::ConnectionRef;
use crate::event::{Target, UserId};
use crate::hub::Outgoing;
use crate::log::{Entry, Record};

/// Entries handed over before the shards are woken: enough that a burst leaves in few sends.
const BATCH: usize = 1_024;

/// Tails the log for ever.
pub async fn dispatch(shared: Shared) {
    let mut outgoing: Vec<Vec<Command>> = shared.inboxes.iter().map(|_| Vec::new()).collect();
    loop {
        shared.in_flight.room().await;
        let batch = shared.log.next_batch(BATCH).await;
        for entry in &batch {
            route(&shared, entry, &mut outgoing);
        }
        for (inbox, commands) in shared.inboxes.iter().zip(&mut outgoing) {
            inbox.push_all(commands);
        }
        if let Some(last) = batch.last() {
            shared.log.mark_dispatched(last, shared.clock.now_ms());
        }
    }
}

/// Takes all connections of a user off the server; they may come back.
pub(super) fn disconnect_user(shared: &Shared, user: &UserId) -> usize {
    let ended = shared.directory.disconnect_user(user.as_str());
    for (inbox, tenants) in by_shard(shared.inboxes.iter(), &ended) {
        inbox.push(Command::End {
            tenants,
            end: Ending::Disconnected,
        });
    }
    ended.len()
}

fn route(shared: &Shared, entry: &Arc<Entry>, outgoing: &mut [Vec<Command>]) {
    match &entry.record {
        Record::Event { to, .. } => match to {
            Target::All => to_every_shard(shared, entry, outgoing, || Recipients::Everyone),
            Target::Topic(_) => to_every_shard(shared, entry, outgoing, || Recipients::Subscribers),
            Target::User(user) => to_users(shared, entry, std::slice::from_ref(user), outgoing),
            Target::Users(users) => to_users(shared, entry, users.as_slice(), outgoing),
        },
        Record::Session { change, .. } => {
            let ended = shared
                .directory
                .change_session(change, entry.id.ms, entry.position);
            to_tenants(shared, &ended, entry, outgoing, |outgoing, tenants| {
                Command::End {
                    tenants,
                    end: Ending::LoggedOut(outgoing),
                }
            });
        }
    }
}

fn to_every_shard(
    shared: &Shared,
    entry: &Arc<Entry>,
    outgoing: &mut [Vec<Command>],
    to: impl Fn() -> Recipients,
) {
    let on_its_way = shared.in_flight.begin(entry, outgoing.len());
    for commands in outgoing {
        commands.push(Command::Deliver {
            outgoing: Arc::clone(&on_its_way),
            to: to(),
        });
    }
}

fn to_users(shared: &Shared, entry: &Arc<Entry>, users: &[UserId], outgoing: &mut [Vec<Command>]) {
    let mut connections = Vec::new();
    for user in users {
        shared
            .directory
            .connections(user.as_str(), |connection| connections.push(connection));
    }
    to_tenants(
        shared,
        &connections,
        entry,
        outgoing,
        |outgoing, tenants| Command::Deliver {
            outgoing,
            to: Recipients::Tenants(tenants),
        },
    );
}

fn to_tenants(
    shared: &Shared,
    connections: &[ConnectionRef],
    entry: &Arc<Entry>,
    outgoing: &mut [Vec<Command>],
    command: impl Fn(Arc<Outgoing>, Vec<SlotRef>) -> Command,
) {
    let groups = by_shard(outgoing, connections);
    if groups.is_empty() {
        return;
    }
    let on_its_way = shared.in_flight.begin(entry, groups.len());
    for (commands, tenants) in groups {
        commands.push(command(Arc::clone(&on_its_way), tenants));
    }
}

/// Connections by the shard that owns them, shards without any left out.
pub(super) fn by_shard<'a, S>(
    shards: impl IntoIterator<Item = S> + 'a,
    connections: &[ConnectionRef],
) -> Vec<(S, Vec<SlotRef>)> {
    shards
        .into_iter()
        .enumerate()
        .filter_map(|(number, shard)| {
            let tenants: Vec<SlotRef> = connections
                .iter()
                .filter(|connection| usize::from(connection.shard) == number)
                .map(|connection| SlotRef {
                    key: connection.key,
                    generation: connection.generation,
                })
                .collect();
            (!tenants.is_empty()).then_some((shard, tenants))
        })
        .collect()
}

impl Inbox {
    /// Asks the shard who these are; an empty answer where the shard is gone.
    pub(super) async fn describe(&self, tenants: Vec<SlotRef>) -> Vec<super::Description> {
        let (reply, answer) = tokio::sync::oneshot::channel();
        self.push(Command::Describe { tenants, reply });
        answer.await.unwrap_or_default()
    }
}
