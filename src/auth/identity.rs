//! Who a client is, once that is proved.

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
