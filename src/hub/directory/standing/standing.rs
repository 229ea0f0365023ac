//! What the server remembers of a user's session changes, and which tokens it allows.
//!
//! All bounds are computed when a change is made, so that a check only compares numbers. While a token from before
//! a bound can still be valid, the bound only rises. So a token that a log-out revoked never becomes valid again,
//! whichever session is named later and whatever the clock does.

use serde::{Deserialize, Serialize};

use super::past::{Claim, Forgotten, PastLists, PastSession, PastSessions};
use super::rules::{Rules, SECOND_MS};
use crate::auth::IssuedAt;
use crate::event::SessionChange;
use crate::hub::directory::digest::Digest;

/// The session changes of one user, as far as a valid token can depend on them. A durable engine stores it, so
/// that a revoked token stays revoked.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "StandingRow", into = "StandingRow")]
pub(crate) struct Standing {
    /// The session that the last change named; `None` after a log-out.
    current: Option<Claim>,
    /// Tokens that name no session must be issued after this (Unix milliseconds). It never falls, even if the
    /// clock is set back.
    changed_at_ms: u64,
    /// The time of the last log-out; 0 for never.
    logged_out_at_ms: u64,
    /// Sessions that may be named again.
    past: PastSessions,
}

impl Standing {
    /// The standing after `change`, which is stored under an id of `log_ms`. `before` is the standing before it.
    pub(crate) fn after(
        change: &SessionChange,
        log_ms: u64,
        before: Option<&Self>,
        rules: Rules,
    ) -> Self {
        let mut standing = before.cloned().unwrap_or_default();
        match change.keep.as_deref() {
            Some(session) => standing.name(Digest::of(session), change.at_unix_ms, rules),
            // Ids rise even if the clock was set back. So a log-out covers everything before it, even if it was
            // recorded while the clock was slow.
            None => standing.log_out(change.at_unix_ms.max(log_ms), rules),
        }
        standing
    }

    /// Returns true if `session` is the current one.
    pub(crate) fn names(&self, session: &str) -> bool {
        self.current
            .is_some_and(|current| current.session == Digest::of(session))
    }

    /// The standing of a user with no known session change after a log-out of all users.
    pub(crate) fn logged_out(at_unix_ms: u64, rules: Rules) -> Self {
        let mut standing = Self::default();
        standing.log_out(at_unix_ms, rules);
        standing
    }

    /// Returns true if a token of `session`, issued at `issued`, is still good. Not inlined: few users have a
    /// standing, and it would cost all others registers.
    #[inline(never)]
    pub(in crate::hub::directory) fn allows(
        &self,
        session: Option<&str>,
        issued: Option<IssuedAt>,
    ) -> bool {
        match (session, self.current) {
            (Some(session), Some(current)) => {
                current.session == Digest::of(session) && current.allows(issued)
            }
            _ => issued.is_some_and(|issued| issued.is_after(self.changed_at_ms)),
        }
    }

    /// Drops what no token can depend on any more at `unix_ms`. Returns false if nothing is left.
    pub(in crate::hub::directory) fn fade(&mut self, unix_ms: u64, rules: Rules) -> bool {
        let last_needed_ms = self
            .changed_at_ms
            .max(self.logged_out_at_ms)
            .saturating_add(rules.longest_use_ms());
        if unix_ms > last_needed_ms {
            self.past = PastSessions::default();
            return self.current.is_some();
        }
        true
    }

    /// Returns true if no token can depend on it any more at `unix_ms`.
    pub(crate) fn is_over(&self, unix_ms: u64, rules: Rules) -> bool {
        !self.clone().fade(unix_ms, rules)
    }

    fn name(&mut self, session: Digest, at_unix_ms: u64, rules: Rules) {
        if self
            .current
            .is_some_and(|current| current.session == session)
        {
            // Naming it again changes nothing.
            return;
        }
        if let Some(replaced) = self.current.take() {
            let life_ms = rules.longest_use_ms();
            self.past.replaced(replaced, at_unix_ms, life_ms);
        }
        // The log-out was before now. If its time is later, the clock was fast then. That must not keep a new
        // session out now.
        let after_ms = self.logged_out_at_ms.min(at_unix_ms);
        let from_ms = match self.logged_out_at_ms {
            0 => 0,
            _ => second_of(after_ms.saturating_sub(rules.leeway_ms)),
        };
        self.current = Some(self.past.claim(session, from_ms));
        self.changed_at_ms = self.changed_at_ms.max(at_unix_ms);
    }

    /// Logs the user out as of `at_ms`, in Unix milliseconds.
    pub(crate) fn log_out(&mut self, at_ms: u64, rules: Rules) {
        // A token that was accepted until now may be dated ahead by the leeway.
        let from_ms = at_ms.saturating_add(rules.leeway_ms).saturating_add(1);
        let life_ms = rules.longest_use_ms();
        let current = self.current.take();
        self.past.logged_out(current, from_ms, at_ms, life_ms);
        self.logged_out_at_ms = self.logged_out_at_ms.max(at_ms);
        self.changed_at_ms = self.changed_at_ms.max(at_ms);
    }
}

/// The beginning of the second. Most tokens only state the second of their issue, and a login right after a
/// log-out has to work.
fn second_of(unix_ms: u64) -> u64 {
    unix_ms / SECOND_MS * SECOND_MS
}

/// A standing as it is stored. Zero and empty fields are left out, because each user has a row.
#[derive(Default, Serialize, Deserialize)]
#[serde(default)]
struct StandingRow {
    /// The name of the current session, as earlier versions wrote it.
    #[serde(skip_serializing)]
    current: Option<Box<str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    session: Option<Digest>,
    #[serde(skip_serializing_if = "is_default")]
    from_ms: u64,
    #[serde(skip_serializing_if = "is_default")]
    needs_iat: bool,
    changed_at_ms: u64,
    #[serde(skip_serializing_if = "is_default")]
    logged_out_at_ms: u64,
    #[serde(skip_serializing_if = "is_default")]
    past: Box<[PastSession]>,
    #[serde(skip_serializing_if = "Option::is_none")]
    forgotten: Option<Box<Forgotten>>,
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

impl From<Standing> for StandingRow {
    fn from(standing: Standing) -> Self {
        let past = standing.past.into_lists();
        Self {
            current: None,
            session: standing.current.map(|current| current.session),
            from_ms: standing.current.map_or(0, |current| current.from_ms),
            needs_iat: standing.current.is_some_and(|current| current.needs_iat),
            changed_at_ms: standing.changed_at_ms,
            logged_out_at_ms: standing.logged_out_at_ms,
            past: past.known,
            forgotten: past.forgotten,
        }
    }
}

impl From<StandingRow> for Standing {
    fn from(row: StandingRow) -> Self {
        let named = row.session.map(|session| Claim {
            session,
            from_ms: row.from_ms,
            needs_iat: row.needs_iat,
        });
        // Earlier versions did not store which session a log-out ended, and accepted tokens of the same second.
        let named_by_text = row.current.map(|session| Claim {
            session: Digest::of(&session),
            from_ms: second_of(row.logged_out_at_ms),
            needs_iat: false,
        });
        Self {
            current: named.or(named_by_text),
            changed_at_ms: row.changed_at_ms,
            logged_out_at_ms: row.logged_out_at_ms,
            past: PastSessions::new(PastLists {
                known: row.past,
                forgotten: row.forgotten,
            }),
        }
    }
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
