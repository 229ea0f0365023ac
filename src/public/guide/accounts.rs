//! The accounts that can log in, and the limits of concurrent logins.

use std::time::Duration;

use tokio::sync::Semaphore;

use crate::auth::accounts::Accounts;

/// Passwords hashed at once: each takes 19 MiB and a core for a while.
const MAX_HASHING: usize = 2;
/// Attempts in hashing or waiting for it, a few seconds' worth; more get 503. An attempt outlives its
/// connection, so the limit of connections does not bound attempts.
const MAX_ATTEMPTS: usize = 64;

/// The accounts that can log in, and the limits of concurrent logins.
#[derive(Debug)]
pub struct Login {
    pub(super) accounts: Accounts,
    pub(super) attempts: Semaphore,
    pub(super) hashing: Semaphore,
    pub(super) token_ttl: Duration,
}

impl Login {
    /// Creates a login for these accounts; its tokens are valid for `token_ttl`.
    pub fn new(accounts: Accounts, token_ttl: Duration) -> Self {
        Self {
            accounts,
            attempts: Semaphore::new(MAX_ATTEMPTS),
            hashing: Semaphore::new(MAX_HASHING),
            token_ttl,
        }
    }
}
