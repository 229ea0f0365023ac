//! Who are you: from the bytes of a request to an [`Identity`], and the means to hand one out.
//!
//! | module | one purpose |
//! |---|---|
//! | [`credentials`] | which of a request's credentials decides |
//! | [`keys`] | the keys that tokens are checked with, each of a known kind |
//! | [`jwt`] | a token becomes an [`Identity`], or a reason why not |
//! | [`checks`] | checks signatures on other threads |
//! | [`session`] | asks the application whose session a cookie is |
//! | [`ticket`] | one-time tickets that stand in a URL in a token's place |
//! | [`turns`] | whose costly question is next, fair between addresses |
//! | [`mint`] | signs tokens: the login and `idlewild token` |
//! | [`users`] | the login's user file |
//! | [`allowance`] | how often an address may be wrong |
//! | [`failures`] | how often a login may fail |
//! | [`api_key`] | the admin side's keys |
//!
//! Nothing reads the time but through what it is given. What is asked of others ([`session`], a key
//! set at a URL) is asked on the control runtime; a shard's clients only wait for it.

#![warn(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

pub mod allowance;
pub mod api_key;
pub mod checks;
pub mod credentials;
pub mod failures;
pub mod jwt;
pub mod keys;
pub mod mint;
mod name;
pub mod session;
pub mod ticket;
pub mod turns;
pub mod users;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use compact_str::CompactString;

use crate::event::Position;
use crate::topic::TopicPattern;

/// A client that has proved who it is, and what it may do.
#[derive(Clone, Debug)]
pub struct Identity {
    /// The user; an integer claim stands here in decimal.
    pub user: CompactString,
    /// The session that the token belongs to, where it names one.
    pub session: Option<Box<str>>,
    /// What it is from, to be compared with session changes. None for a token without `iat`.
    pub issued: Option<Issued>,
    /// When the token ends, in Unix seconds, leeway not added; [`Identity::NO_END`] for never.
    pub expires_at: u64,
    /// The topics that may be subscribed to.
    pub topics: Box<[TopicPattern]>,
}

impl Identity {
    /// What does not end by itself.
    pub const NO_END: u64 = u64::MAX;
}

/// What an identity is from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Issued {
    /// A token, with its issuer's time.
    Token(IssuedAt),
    /// An answer of the application, which was asked when the log had come so far. Session changes
    /// beyond that revoke it, whatever any clock says.
    Answer(Position),
}

/// The moment a token was issued at, as precisely as its `iat` tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct IssuedAt {
    unix_ms: u64,
}

impl IssuedAt {
    /// An `iat` in milliseconds. One that was written in whole seconds counts as issued at the
    /// start of its second.
    pub fn from_unix_ms(unix_ms: u64) -> Self {
        Self { unix_ms }
    }

    /// Whether the token was certainly issued later than `moment_unix_ms`.
    ///
    /// Most issuers write whole seconds. Such a token may be from before or after a revocation
    /// that fell into its second, and a token let through wrongly is worse than one refused
    /// wrongly (the client signs in again): so it counts as issued at the start of its second,
    /// and comes after a moment only if its second does. For whole seconds `s` and a moment `m`
    /// in milliseconds, `1000·s > m` says the same as `s > ⌊m / 1000⌋`, so this one comparison
    /// serves both precisions. Within the millisecond the answer is no, for the same reason.
    pub fn is_after(self, moment_unix_ms: u64) -> bool {
        self.unix_ms > moment_unix_ms
    }
}

/// `N` unpredictable bytes.
fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    #[allow(clippy::expect_used)]
    getrandom::fill(&mut bytes)
        .expect("getrandom(2) cannot fail for a few bytes once the kernel has booted");
    bytes
}

/// 256 unpredictable bits as 43 characters that need no escaping in a URL, a header or a shell.
pub fn random_name() -> String {
    URL_SAFE_NO_PAD.encode(random::<32>())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_token_of_the_same_second_as_a_revocation_is_refused() {
        let issued = IssuedAt::from_unix_ms(1_700_000_000_000);
        assert!(!issued.is_after(1_700_000_000_000));
        assert!(!issued.is_after(1_700_000_000_999));
        assert!(issued.is_after(1_699_999_999_999));
    }

    #[test]
    fn a_fractional_iat_is_compared_by_the_millisecond() {
        let issued = IssuedAt::from_unix_ms(1_700_000_000_500);
        assert!(issued.is_after(1_700_000_000_499));
        assert!(!issued.is_after(1_700_000_000_500));
    }

    proptest! {
        #[test]
        fn whole_seconds_compare_as_seconds(seconds in 0..u64::from(u32::MAX), moment_ms: u64) {
            let issued = IssuedAt::from_unix_ms(seconds * 1_000);
            prop_assert_eq!(issued.is_after(moment_ms), seconds > moment_ms / 1_000);
        }
    }
}
