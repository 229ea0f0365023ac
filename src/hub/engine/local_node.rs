//! This node, as the others see it.

use super::promise::Answer;
use crate::event::{EventId, UserId};
use crate::hub::connection::ConnectionId;
use crate::hub::inbox::Description;

/// What an engine asks its own node, mostly for the others. The hub implements it.
pub(crate) trait LocalNode: Send + Sync {
    /// Dispatches the log's entries at once, on the caller's thread, or has the dispatcher do it soon.
    fn dispatch(&self);

    /// The user's connections to this node.
    fn describe<'a>(&'a self, user: &'a UserId) -> Answer<'a, Vec<Description>>;

    /// The number of each user's connections to this node, in the order of `users`.
    fn count(&self, users: &[UserId]) -> Vec<usize>;

    /// The number of connections to this node that a session change has ended. `None` if it has not been applied
    /// here yet.
    fn ended_by(&self, change: EventId) -> Option<usize>;

    /// Ends a connection of the user to make room for another one. Returns false if it has ended already.
    fn evict(&self, user: &UserId, connection: ConnectionId) -> bool;

    /// Closes the user's connections to this node that are dead. Returns true if the user may have a place now that
    /// there was not before. Takes a second or two, because clients get some time to answer.
    fn close_dead<'a>(&'a self, user: &'a str) -> Answer<'a, bool>;
}
