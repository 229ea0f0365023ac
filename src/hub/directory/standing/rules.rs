//! The rules for tokens, from the configuration.

use crate::clock::millis;
use crate::config;

pub(super) const SECOND_MS: u64 = 1_000;

/// Limits on the dates and the life of a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Rules {
    /// How far an issuer's clock may be off.
    pub(crate) leeway_ms: u64,
    /// The longest life of a token that is accepted.
    pub(crate) max_token_life_ms: u64,
}

impl Rules {
    /// The rules of a configuration.
    pub(crate) fn of(auth: &config::Auth) -> Self {
        Self {
            leeway_ms: millis(auth.leeway),
            max_token_life_ms: millis(auth.max_token_life),
        }
    }

    /// How long a token that has been issued by now can still be accepted. It may be dated ahead by the leeway,
    /// and is accepted for the leeway after its end. Both are compared in whole seconds.
    pub(super) fn longest_use_ms(self) -> u64 {
        self.max_token_life_ms
            .saturating_add(self.leeway_ms.saturating_mul(2))
            .saturating_add(SECOND_MS)
    }
}
