//! The state that all nodes share: the places of each user, tickets, login failures, and presence. The engine
//! provides it, because shared state is in the engine's store.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use super::error::EngineError;
use super::promise::Promise;
use crate::auth::Identity;
use crate::auth::failures::FailureKey;
use crate::event::{EventId, UserId};
use crate::hub::inbox::Description;
use crate::hub::limits::Limit;
use crate::hub::rejection::Rejection;

/// A connection, and the node that it is to.
#[derive(Clone, Debug)]
pub(crate) struct Located {
    /// The node's name; `None` if there is only one.
    pub(crate) node: Option<Arc<str>>,
    pub(crate) description: Description,
}

/// What the other nodes have answered.
#[derive(Clone, Debug, Default)]
pub(crate) struct Elsewhere<T> {
    /// The answers together.
    pub(crate) found: T,
    /// The names of live nodes that have not answered in time. If the store is away, of all that were last known.
    pub(crate) silent: Vec<String>,
}

/// The state that all nodes share. An implementation copies the arguments that it needs later.
pub(crate) trait Register: Send + Sync {
    /// Reserves a place for one more connection of a user, under the limit of all nodes. It is held until
    /// [`Register::admitted`] or [`Register::cancel`]. The directory counts this node's connections against the same
    /// limit, so the register of a single node has nothing to do here.
    fn reserve(&self, user: &str, limit: Limit) -> Promise<'_, Result<(), Rejection>>;

    /// Returns whether [`Register::reserve`] would reserve a place now. Reserves nothing.
    fn has_place(&self, user: &str, limit: Limit) -> Promise<'_, bool>;

    /// A reserved place has become a connection in the directory, which counts it from now on. Called under the lock
    /// of the directory that protects the user's connections, so whoever reads their number under the same lock
    /// counts each place once.
    fn admitted(&self, user: &str);

    /// Gives back a place that was reserved for a client who was not admitted.
    fn cancel(&self, user: &str);

    /// Connections of a user have left the directory. Called on a shard's thread and under a lock of the directory, so
    /// it must not wait. The name is not a `str`, because the directory would have to allocate one for each call.
    fn release(&self, user: &dyn fmt::Display, places: usize);

    /// A connection of a user is about to leave the directory for another process of the server. That one does not
    /// count it yet, so this one goes on counting it. By default, nobody else counts, here and below.
    fn passes_on(&self, user: &str) {
        let _ = user;
    }

    /// A connection of a user has come from another process of the server, and is in the directory.
    fn adopted(&self, user: &str) {
        let _ = user;
    }

    /// Issues a ticket that can be used once within `ttl`, in place of a token of `identity`.
    fn issue_ticket(
        &self,
        identity: Identity,
        ttl: Duration,
    ) -> Promise<'_, Result<String, EngineError>>;

    /// Uses a ticket up. Returns its identity if the ticket was issued, is unused and has not expired.
    fn redeem_ticket(&self, ticket: &str) -> Promise<'_, Result<Option<Identity>, EngineError>>;

    /// Returns the same without using the ticket up.
    fn look_at_ticket(&self, ticket: &str) -> Promise<'_, Result<Option<Identity>, EngineError>>;

    /// Counts a login as failed for all `keys`, before its password is checked. If one of them has failed too
    /// often, it counts nothing and returns false.
    fn begin_login(&self, keys: &[FailureKey]) -> Promise<'_, Result<bool, EngineError>>;

    /// Takes back what [`Register::begin_login`] counted, after the right password.
    fn forgive_login(&self, keys: &[FailureKey]) -> Promise<'_, ()>;

    /// Returns the user's connections to other nodes. By default, there is no other node, here and below.
    fn elsewhere(&self, user: &UserId) -> Promise<'_, Elsewhere<Vec<Located>>> {
        let _ = user;
        Promise::Now(Elsewhere::default())
    }

    /// Returns the number of each user's connections to other nodes, in the order of `users`.
    fn count_elsewhere(&self, users: &[UserId]) -> Promise<'_, Elsewhere<Vec<usize>>> {
        Promise::Now(Elsewhere {
            found: vec![0; users.len()],
            silent: Vec::new(),
        })
    }

    /// Returns how many connections to other nodes have ended because of a session change.
    fn ended_elsewhere(&self, change: EventId) -> Promise<'_, Elsewhere<usize>> {
        let _ = change;
        Promise::Now(Elsewhere::default())
    }

    /// Asks the other nodes to close the user's connections that are dead. Returns true as soon as one of them has
    /// made room. Takes two seconds at most.
    fn close_dead_elsewhere(&self, user: &str) -> Promise<'_, bool> {
        let _ = user;
        Promise::Now(false)
    }

    /// Removes expired tickets. Called every second.
    fn sweep(&self);
}
