//! What the configuration says about tokens.

use crate::clock::millis;
use crate::config;

pub(super) const SECOND_MS: u64 = 1_000;

/// How far off a token may be, and how long it is good.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Rules {
    /// How far an issuer's clock may be off.
    pub(crate) leeway_ms: u64,
    /// The longest life of a token that is accepted.
    pub(crate) max_token_life_ms: u64,
}

impl Rules {
    /// Those of a configuration.
    pub(crate) fn of(auth: &config::Auth) -> Self {
        Self {
            leeway_ms: millis(auth.leeway),
            max_token_life_ms: millis(auth.max_token_life),
        }
    }

    /// How long after now a token can be accepted that was issued until now. It may be dated ahead
    /// by the leeway, and is accepted for as long after its end; and both are compared in whole
    /// seconds.
    pub(super) fn longest_use_ms(self) -> u64 {
        self.max_token_life_ms
            .saturating_add(self.leeway_ms.saturating_mul(2))
            .saturating_add(SECOND_MS)
    }
}
