//! The register of a single node. It holds tickets and login failures itself, and knows all answers at once.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::auth::Identity;
use crate::auth::failures::{FailureKey, Failures, PortableFailure};
use crate::auth::ticket::{PortableTicket, Tickets};
use crate::clock::Clock;
use crate::hub::engine::{EngineError, Promise, Register};
use crate::hub::{Limit, Rejection};

/// The register of one node.
pub(super) struct LocalRegister {
    tickets: Tickets,
    failures: Failures,
    /// True once another process continues it.
    is_stopped: AtomicBool,
}

impl LocalRegister {
    /// A register without tickets and failures.
    pub(super) fn new(clock: Clock) -> Self {
        Self {
            tickets: Tickets::new(clock.clone()),
            failures: Failures::new(clock),
            is_stopped: AtomicBool::new(false),
        }
    }
}

impl LocalRegister {
    /// Refuses all requests from now on, and describes the tickets and the login failures for another process of the
    /// server.
    pub(super) fn stop(&self) -> (Vec<PortableTicket>, Vec<PortableFailure>) {
        self.is_stopped.store(true, Ordering::SeqCst);
        (self.tickets.describe(), self.failures.describe())
    }

    /// Serves again.
    pub(super) fn resume(&self) {
        self.is_stopped.store(false, Ordering::SeqCst);
    }

    /// Checked after a change: if the register has stopped meanwhile, the other process may not know of it.
    fn unless_stopped<T>(&self, done: T) -> Result<T, EngineError> {
        if self.is_stopped.load(Ordering::SeqCst) {
            return Err(EngineError::NotOpen);
        }
        Ok(done)
    }

    /// Takes over those of another process.
    pub(super) fn take_over(&self, tickets: Vec<PortableTicket>, failures: Vec<PortableFailure>) {
        self.tickets.take_over(tickets);
        self.failures.take_over(failures);
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
        let ticket = self.tickets.issue(identity, ttl);
        Promise::Now(self.unless_stopped(ticket))
    }

    fn redeem_ticket(&self, ticket: &str) -> Promise<'_, Result<Option<Identity>, EngineError>> {
        let identity = self.tickets.redeem(ticket);
        Promise::Now(self.unless_stopped(identity))
    }

    fn look_at_ticket(&self, ticket: &str) -> Promise<'_, Result<Option<Identity>, EngineError>> {
        Promise::Now(Ok(self.tickets.look(ticket)))
    }

    fn begin_login(&self, keys: &[FailureKey]) -> Promise<'_, Result<bool, EngineError>> {
        let may_try = self.failures.begin(keys);
        Promise::Now(self.unless_stopped(may_try))
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

#[cfg(test)]
mod tests {
    use super::*;

    /// A register knows all answers at once.
    fn now<T>(promise: Promise<'_, T>) -> T {
        match promise {
            Promise::Now(answer) => answer,
            Promise::Later(_) => panic!("it waits"),
        }
    }

    #[test]
    fn a_ticket_is_redeemed_by_one_process_only() {
        let identity = Identity {
            user: "42".into(),
            session: None,
            issued: None,
            expires_at: u64::MAX,
            topics: Box::default(),
        };
        let [before, after] = [(); 2].map(|()| LocalRegister::new(Clock::manual(0)));
        let issued = before.issue_ticket(identity, Duration::from_secs(30));
        let ticket = now(issued).unwrap();
        let (tickets, failures) = before.stop();
        after.take_over(tickets, failures);
        let refused = now(before.redeem_ticket(&ticket));
        assert!(matches!(refused, Err(EngineError::NotOpen)), "{refused:?}");
        assert!(now(after.redeem_ticket(&ticket)).unwrap().is_some());
        assert!(now(after.redeem_ticket(&ticket)).unwrap().is_none());
    }
}
