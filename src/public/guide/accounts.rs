//! Who can log in, and how many are checked at once.

use std::time::Duration;

use tokio::sync::Semaphore;

use crate::auth::accounts::Accounts;

/// Passwords hashed at once: each takes 19 MiB and a core for a while.
const MAX_HASHING: usize = 2;
/// Attempts that are hashed or wait for it, a few seconds' worth; more get 503. They outlive their
/// connections, so those do not bound them.
const MAX_ATTEMPTS: usize = 64;

/// Who can log in, and how many passwords are checked at once.
#[derive(Debug)]
pub struct Login {
    pub(super) accounts: Accounts,
    pub(super) attempts: Semaphore,
    pub(super) hashing: Semaphore,
    pub(super) token_ttl: Duration,
}

impl Login {
    /// A login for these accounts, whose tokens live for `token_ttl`.
    pub fn new(accounts: Accounts, token_ttl: Duration) -> Self {
        Self {
            accounts,
            attempts: Semaphore::new(MAX_ATTEMPTS),
            hashing: Semaphore::new(MAX_HASHING),
            token_ttl,
        }
    }
}
