//! Lists the connections of users, and ends them.

use std::sync::Arc;

use super::connection::ConnectionId;
use super::engine::{Answer, Elsewhere, EngineError, LocalNode, Located};
use super::hub::Hub;
use super::inbox::{Command, Description, Inbox};
use super::log::Control;
use crate::event::{EventId, UserId};

impl Hub {
    /// Returns the user's connections to all nodes, the oldest first, and the names of nodes that have not answered.
    pub(crate) async fn presence(&self, user: &UserId) -> Elsewhere<Vec<Located>> {
        let elsewhere = self.register().elsewhere(user).get();
        let (here, mut all) = tokio::join!(self.here(user), elsewhere);
        let node: Option<Arc<str>> = self.engine.node().map(Into::into);
        all.found
            .extend(here.into_iter().map(|description| Located {
                node: node.clone(),
                description,
            }));
        all.found.sort_by_key(|one| one.description.age_order());
        all
    }

    /// Returns the number of each user's connections to all nodes, in the order of `users`, and the names of nodes
    /// that have not answered.
    pub(crate) async fn connections_of(&self, users: &[UserId]) -> Elsewhere<Vec<usize>> {
        let mut all = self.register().count_elsewhere(users).get().await;
        for (all, here) in all.found.iter_mut().zip(self.count(users)) {
            *all += here;
        }
        all
    }

    /// The number of the user's connections to this node.
    pub(super) fn count_here(&self, user: &str) -> usize {
        self.directory.held(user, |connections| connections)
    }

    /// Returns the user's connections to this node.
    async fn here(&self, user: &UserId) -> Vec<Description> {
        let mut connections = Vec::new();
        self.directory
            .connections(user.as_str(), |connection| connections.push(connection));
        let mut descriptions = Vec::new();
        for (inbox, connections) in by_shard(self.inboxes.iter(), &connections) {
            descriptions.extend(inbox.describe(connections).await);
        }
        descriptions
    }

    /// Ends all connections of a user, and returns their number. The clients may come back.
    ///
    /// # Errors
    /// [`EngineError`]. Except with [`EngineError::Unknown`], nothing has changed then.
    pub(crate) async fn disconnect(&self, user: UserId) -> Result<u64, EngineError> {
        let ended = self.engine.command(Control::Disconnect { user }).await;
        self.until_forwarded().await;
        ended
    }
}

impl LocalNode for Hub {
    fn dispatch(&self) {
        self.dispatch_now();
    }

    fn describe<'a>(&'a self, user: &'a UserId) -> Answer<'a, Vec<Description>> {
        Box::pin(self.here(user))
    }

    fn count(&self, users: &[UserId]) -> Vec<usize> {
        let counts = users.iter().map(|user| self.count_here(user.as_str()));
        counts.collect()
    }

    fn ended_by(&self, change: EventId) -> Option<usize> {
        // Applied before this process kept count: for example, it has started since.
        let is_applied = || self.log.dispatched_cursor().id >= change;
        self.ended.by(change).or_else(|| is_applied().then_some(0))
    }

    fn evict(&self, user: &UserId, connection: ConnectionId) -> bool {
        let user = self.directory.find(user.as_str());
        let was_there = user.is_some_and(|user| self.leave(user, connection));
        if was_there {
            self.end_evicted(connection);
        }
        was_there
    }

    fn close_dead<'a>(&'a self, user: &'a str) -> Answer<'a, bool> {
        Box::pin(self.close_dead_here(user))
    }
}

/// Groups connections by the shard that owns them. Shards without any are left out.
pub(super) fn by_shard<'a, S>(
    shards: impl IntoIterator<Item = S> + 'a,
    connections: &[ConnectionId],
) -> Vec<(S, Vec<ConnectionId>)> {
    shards
        .into_iter()
        .enumerate()
        .filter_map(|(number, shard)| {
            let here = connections.iter().copied();
            let here: Vec<ConnectionId> = here
                .filter(|connection| usize::from(connection.shard()) == number)
                .collect();
            (!here.is_empty()).then_some((shard, here))
        })
        .collect()
}

impl Inbox {
    /// Asks the shard to describe connections. The answer is empty if the shard has ended.
    async fn describe(&self, connections: Vec<ConnectionId>) -> Vec<Description> {
        let (reply, answer) = tokio::sync::oneshot::channel();
        self.push(Command::Describe { connections, reply });
        answer.await.unwrap_or_default()
    }
}
