//! The register of several nodes.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use super::elsewhere;
use super::failures::SharedFailures;
use super::reserving;
use super::tickets::SharedTickets;
use crate::auth::Identity;
use crate::auth::failures::FailureKey;
use crate::config::LimitScope;
use crate::engine::redis::core::Core;
use crate::event::{EventId, UserId};
use crate::hub::engine::{Elsewhere, EngineError, Located, Promise, Register};
use crate::hub::{Limit, Rejection};

/// The register of several nodes.
pub(in crate::engine::redis) struct RedisRegister {
    core: Arc<Core>,
    tickets: SharedTickets,
    failures: SharedFailures,
}

impl RedisRegister {
    /// A register without places.
    pub(in crate::engine::redis) fn new(core: &Arc<Core>) -> Self {
        Self {
            core: Arc::clone(core),
            tickets: SharedTickets::new(Arc::clone(core)),
            failures: SharedFailures::new(Arc::clone(core)),
        }
    }

    /// Then the directory's check is enough.
    fn is_limit_per_node(&self) -> bool {
        self.core.settings.limit_scope == LimitScope::Node
    }
}

impl Register for RedisRegister {
    fn reserve(&self, user: &str, limit: Limit) -> Promise<'_, Result<(), Rejection>> {
        if self.is_limit_per_node() {
            return Promise::Now(Ok(()));
        }
        let user: Arc<str> = user.into();
        Promise::Later(Box::pin(async move {
            reserving::reserve(&self.core, &user, limit).await
        }))
    }

    fn has_place(&self, user: &str, limit: Limit) -> Promise<'_, bool> {
        if self.is_limit_per_node() {
            return Promise::Now(true);
        }
        let user = user.to_owned();
        Promise::Later(Box::pin(async move {
            reserving::has_place(&self.core, &user, limit).await
        }))
    }

    fn admitted(&self, user: &str) {
        if !self.is_limit_per_node() {
            self.core.places.admitted(user);
        }
    }

    fn cancel(&self, user: &str) {
        if !self.is_limit_per_node() {
            self.core.places.cancel(user);
        }
    }

    fn release(&self, user: &dyn fmt::Display, _: usize) {
        if !self.is_limit_per_node() {
            self.core.places.change(user);
        }
    }

    fn passes_on(&self, user: &str) {
        if !self.is_limit_per_node() {
            self.core.places.pass_on(user);
        }
    }

    fn adopted(&self, user: &str) {
        if !self.is_limit_per_node() {
            self.core.places.change(&user);
        }
    }

    fn issue_ticket(
        &self,
        identity: Identity,
        ttl: Duration,
    ) -> Promise<'_, Result<String, EngineError>> {
        self.tickets.issue(&identity, ttl)
    }

    fn redeem_ticket(&self, ticket: &str) -> Promise<'_, Result<Option<Identity>, EngineError>> {
        self.tickets.redeem(ticket)
    }

    fn look_at_ticket(&self, ticket: &str) -> Promise<'_, Result<Option<Identity>, EngineError>> {
        self.tickets.look(ticket)
    }

    fn begin_login(&self, keys: &[FailureKey]) -> Promise<'_, Result<bool, EngineError>> {
        self.failures.begin(keys)
    }

    fn forgive_login(&self, keys: &[FailureKey]) -> Promise<'_, ()> {
        self.failures.forgive(keys)
    }

    fn elsewhere(&self, user: &UserId) -> Promise<'_, Elsewhere<Vec<Located>>> {
        Promise::Later(Box::pin(elsewhere::describe(&self.core, user.clone())))
    }

    fn count_elsewhere(&self, users: &[UserId]) -> Promise<'_, Elsewhere<Vec<usize>>> {
        let users = users.to_vec();
        Promise::Later(Box::pin(async move {
            elsewhere::count(&self.core, &users).await
        }))
    }

    fn ended_elsewhere(&self, change: EventId) -> Promise<'_, Elsewhere<usize>> {
        Promise::Later(Box::pin(elsewhere::ended_by(&self.core, change)))
    }

    fn close_dead_elsewhere(&self, user: &str) -> Promise<'_, bool> {
        Promise::Later(Box::pin(elsewhere::close_dead(&self.core, user.to_owned())))
    }

    /// Redis drops what has expired.
    fn sweep(&self) {}
}
