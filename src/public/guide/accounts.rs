//! The accounts that can log in, and the limits on concurrent logins.

use std::time::Duration;

use tokio::sync::Semaphore;

use crate::auth::accounts::Accounts;

/// The most passwords hashed at the same time. Each takes 19 MiB and keeps a core busy.
const MAX_HASHING: usize = 2;
/// The most attempts that are hashed or wait for it, a few seconds' worth; more get a 503. An attempt
/// outlives its connection, so the limit on connections does not bound attempts.
const MAX_ATTEMPTS: usize = 64;

/// The accounts that can log in, and the limits on concurrent logins.
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
