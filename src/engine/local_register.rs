//! The register of a single node. It holds tickets and login failures itself, and knows all answers at once.

use std::fmt;
use std::time::Duration;

use crate::auth::Identity;
use crate::auth::failures::{FailureKey, Failures};
use crate::auth::ticket::Tickets;
use crate::clock::Clock;
use crate::hub::engine::{EngineError, Promise, Register};
use crate::hub::{Limit, Rejection};

/// The register of one node.
pub(super) struct LocalRegister {
    tickets: Tickets,
    failures: Failures,
}

impl LocalRegister {
    /// A register without tickets and failures.
    pub(super) fn new(clock: Clock) -> Self {
        Self {
            tickets: Tickets::new(clock.clone()),
            failures: Failures::new(clock),
        }
    }
}

impl Register for LocalRegister {
    /// The directory counts all connections of a user, and checks their limit in one critical section.
    fn reserve(&self, _: &str, _: Limit) -> Promise<'_, Result<(), Rejection>> {
        Promise::Now(Ok(()))
    }

    fn has_place(&self, _: &str, _: Limit) -> Promise<'_, bool> {
        Promise::Now(true)
    }

    fn admitted(&self, _: &str) {}

    fn cancel(&self, _: &str) {}

    fn release(&self, _: &dyn fmt::Display, _: usize) {}

    fn issue_ticket(
        &self,
        identity: Identity,
        ttl: Duration,
    ) -> Promise<'_, Result<String, EngineError>> {
        Promise::Now(Ok(self.tickets.issue(identity, ttl)))
    }

    fn redeem_ticket(&self, ticket: &str) -> Promise<'_, Result<Option<Identity>, EngineError>> {
        Promise::Now(Ok(self.tickets.redeem(ticket)))
    }

    fn look_at_ticket(&self, ticket: &str) -> Promise<'_, Result<Option<Identity>, EngineError>> {
        Promise::Now(Ok(self.tickets.look(ticket)))
    }

    fn begin_login(&self, keys: &[FailureKey]) -> Promise<'_, Result<bool, EngineError>> {
        Promise::Now(Ok(self.failures.begin(keys)))
    }

    fn forgive_login(&self, keys: &[FailureKey]) -> Promise<'_, ()> {
        for key in keys {
            self.failures.forget(*key);
        }
        Promise::Now(())
    }

    fn sweep(&self) {
        self.tickets.sweep();
    }
}
