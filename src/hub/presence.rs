//! Lists the connections of users, and ends them.

use super::connection::ConnectionId;
use super::engine::EngineError;
use super::hub::Hub;
use super::inbox::{Command, Description, Inbox};
use super::log::Control;
use crate::event::UserId;

impl Hub {
    /// Returns the user's connections to all nodes, the oldest first.
    pub(crate) async fn presence(&self, user: &UserId) -> Vec<Description> {
        let elsewhere = self.register().elsewhere(user).get();
        let (mut descriptions, others) = tokio::join!(self.here(user), elsewhere);
        descriptions.extend(others);
        descriptions.sort_by_key(|one| (one.since_s, one.connection.generation()));
        descriptions
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
        self.engine.command(Control::Disconnect { user }).await
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
