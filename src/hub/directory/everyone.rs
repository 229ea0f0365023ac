//! A log-out of all users. It decides for users with no known session change, after some changes may have been
//! lost.

use super::standing::{Rules, Standing};
use crate::auth::IssuedAt;

/// When all users were logged out, in Unix milliseconds; 0 for never.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Everyone(pub(super) u64);

impl Everyone {
    /// Returns true if a token of a user with no other session change is still good.
    pub(super) fn allows(self, issued: Option<IssuedAt>) -> bool {
        self.0 == 0 || issued.is_some_and(|issued| issued.is_after(self.0))
    }

    /// The standing of such a user before their first known change.
    pub(super) fn standing(self, rules: Rules) -> Option<Standing> {
        (self.0 > 0).then(|| Standing::logged_out(self.0, rules))
    }
}
