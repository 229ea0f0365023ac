//! The result of authentication: who a client is.

use compact_str::CompactString;

use crate::event::Position;
use crate::topic::TopicPattern;

/// An authenticated client, and what it may do.
#[derive(Clone, Debug)]
pub struct Identity {
    /// The user. An integer claim is written in decimal.
    pub user: CompactString,
    /// The session that the token names, if any.
    pub session: Option<Box<str>>,
    /// The origin of this identity, for comparison with session changes. `None` for a token without `iat`.
    pub issued: Option<Issued>,
    /// When the token expires, in Unix seconds without leeway. [`Identity::NO_END`] means never.
    pub expires_at: u64,
    /// The topics that the client may subscribe to.
    pub topics: Box<[TopicPattern]>,
}

impl Identity {
    /// An identity that does not expire by itself.
    pub const NO_END: u64 = u64::MAX;
}

/// The origin of an identity.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Issued {
    /// A token, with its time of issue.
    Token(IssuedAt),
    /// An answer of the application, with the log's position when it was asked. Later session changes
    /// revoke it, whatever any clock says.
    Answer(Position),
}

/// When a token was issued, as precisely as its `iat` says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct IssuedAt {
    unix_ms: u64,
}

impl IssuedAt {
    /// An `iat` in milliseconds. One in whole seconds counts as the start of its second.
    pub fn from_unix_ms(unix_ms: u64) -> Self {
        Self { unix_ms }
    }

    /// The time, in Unix milliseconds.
    pub(crate) fn unix_ms(self) -> u64 {
        self.unix_ms
    }

    /// Returns true if the token was certainly issued later than `moment_unix_ms`.
    ///
    /// Most issuers write whole seconds. Such a token may be from before or after a revocation in the same
    /// second. Accepting it wrongly is worse than rejecting it wrongly, since the client can sign in again.
    /// So it counts as issued at the start of its second, and is later only if its second is. For whole
    /// seconds `s` and a moment `m` in milliseconds, `1000·s > m` is equivalent to `s > ⌊m / 1000⌋`, so this
    /// comparison serves both precisions. Within the same millisecond the answer is no, for the same reason.
    pub fn is_after(self, moment_unix_ms: u64) -> bool {
        self.unix_ms > moment_unix_ms
    }
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
