//! What must be one for all nodes: a user's places, tickets, login failures, and who is online
//! elsewhere. The engine brings it, because what several nodes share is in the engine's store.

use std::fmt;
use std::time::Duration;

use super::error::EngineError;
use super::promise::Promise;
use crate::auth::Identity;
use crate::auth::failures::FailureKey;
use crate::event::UserId;
use crate::hub::inbox::Description;
use crate::hub::limits::Limit;
use crate::hub::rejection::Rejection;

/// What must be one for all nodes. What is asked is copied where it is needed later.
pub(crate) trait Register: Send + Sync {
    /// Reserves a place for one more connection of a user, under the limit of all nodes. It is held
    /// until [`Register::release`]. The directory counts this node's connections against the same
    /// limit, so one node alone has nothing to do here.
    fn reserve(&self, user: &str, limit: Limit) -> Promise<'_, Result<(), Rejection>>;

    /// Whether [`Register::reserve`] would reserve a place now. Reserves nothing.
    fn has_place(&self, user: &str, limit: Limit) -> Promise<'_, bool>;

    /// Gives so many places of a user back. Called on a shard's thread and under a lock of the
    /// directory: it must not wait. The name is written out only where it is needed.
    fn release(&self, user: &dyn fmt::Display, places: usize);

    /// A ticket that stands for `identity` once, within `ttl`.
    fn issue_ticket(
        &self,
        identity: Identity,
        ttl: Duration,
    ) -> Promise<'_, Result<String, EngineError>>;

    /// Whom a ticket stands for, if it was issued, is unused and in time. It is used up.
    fn redeem_ticket(&self, ticket: &str) -> Promise<'_, Result<Option<Identity>, EngineError>>;

    /// Whom a ticket would stand for. It stays unused.
    fn look_at_ticket(&self, ticket: &str) -> Promise<'_, Result<Option<Identity>, EngineError>>;

    /// Counts a login as failed for all `keys`, before its password is checked; false, and nothing
    /// counted, where one of them has failed too often.
    fn begin_login(&self, keys: &[FailureKey]) -> Promise<'_, Result<bool, EngineError>>;

    /// Takes back what [`Register::begin_login`] counted: the password was right.
    fn forgive_login(&self, keys: &[FailureKey]) -> Promise<'_, ()>;

    /// The user's connections to other nodes.
    fn elsewhere(&self, user: &UserId) -> Promise<'_, Vec<Description>>;

    /// Forgets what has run out. Called every second.
    fn sweep(&self);
}
