//! What is remembered of a user's sessions: which tokens are still good.

use serde::{Deserialize, Serialize};

use crate::auth::IssuedAt;
use crate::event::SessionChange;

/// What the last session change said. A durable engine stores it, so that a token that was
/// revoked stays so.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Standing {
    /// The session that the last change named; `None` after a log-out.
    current: Option<Box<str>>,
    /// When the last change was (Unix milliseconds): tokens that name no session are refused
    /// when issued until then.
    changed_at_ms: u64,
    /// When the last log-out was; 0 for never. Outlives later changes, so that a session named
    /// again does not bring its old tokens back.
    logged_out_at_ms: u64,
}

impl Standing {
    /// What holds after `change`, with what held before it.
    pub fn after(change: &SessionChange, before: Option<&Self>) -> Self {
        let logged_out_at_ms = match change.keep {
            Some(_) => before.map_or(0, |before| before.logged_out_at_ms),
            None => change.at_unix_ms,
        };
        Self {
            current: change.keep.clone(),
            changed_at_ms: change.at_unix_ms,
            logged_out_at_ms,
        }
    }

    /// What holds of a user of whom nothing else is known, after a log-out of everyone.
    pub fn logged_out(at_unix_ms: u64) -> Self {
        Self {
            current: None,
            changed_at_ms: at_unix_ms,
            logged_out_at_ms: at_unix_ms,
        }
    }

    /// Whether a token of `session`, issued at `issued`, is still good. Few users have a standing;
    /// inlined, it would cost the others registers.
    #[inline(never)]
    pub(super) fn allows(&self, session: Option<&str>, issued: Option<IssuedAt>) -> bool {
        let issued_after = |moment_ms| issued.is_some_and(|issued| issued.is_after(moment_ms));
        match (session, self.current.as_deref()) {
            (None, _) | (Some(_), None) => issued_after(self.changed_at_ms),
            (Some(session), Some(current)) => {
                session == current && !self.was_logged_out_since(issued)
            }
        }
    }

    /// Whether a token of the current session is from before the last log-out. One of the same
    /// second is let in: most tokens tell the second only, and a log-in right behind a log-out
    /// has to work.
    fn was_logged_out_since(&self, issued: Option<IssuedAt>) -> bool {
        let second_began_ms = self.logged_out_at_ms / 1_000 * 1_000;
        second_began_ms > 0 && issued.is_some_and(|issued| !issued.is_after(second_began_ms - 1))
    }
}
