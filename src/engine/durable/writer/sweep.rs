//! The sweep over the users' session rows: it finds the rows that nothing depends on any more.

use crate::engine::durable::store::{Row, Store, StoreError};
use crate::hub::directory::{Rules, Standing};

/// Time between two pieces of the sweep.
const INTERVAL_MS: u64 = 1_000;
/// Rows of one piece: a few milliseconds of work, and a million rows in ten minutes.
const MAX_ROWS: usize = 2_048;

/// How far the sweep is.
pub(super) struct Sweep {
    next_ms: u64,
    /// The last user of the piece before. Empty at the beginning of a round.
    after: String,
}

impl Sweep {
    /// A sweep whose first piece is due now.
    pub(super) fn new(now_ms: u64) -> Self {
        Self {
            next_ms: now_ms,
            after: String::new(),
        }
    }

    /// Returns true if the next piece is due.
    pub(super) fn is_due(&self, now_ms: u64) -> bool {
        now_ms >= self.next_ms
    }

    /// Looks at the next piece. Returns what removes its rows that are over at `unix_ms`, and the user to continue
    /// after ([`Sweep::continue_after`]). Without that call the sweep starts again from the first user.
    pub(super) fn next_piece(
        &mut self,
        store: &Store,
        now_ms: u64,
        unix_ms: u64,
        rules: Rules,
    ) -> Result<(Vec<Row>, String), StoreError> {
        self.next_ms = now_ms + INTERVAL_MS;
        let after = std::mem::take(&mut self.after);
        let mut over = Vec::new();
        let last = store.sessions_after(&after, MAX_ROWS, |user, standing| {
            // A standing that cannot be parsed was refused at the start.
            if let Ok(standing) = serde_json::from_str::<Standing>(standing)
                && standing.is_over(unix_ms, rules)
            {
                let user = user.to_owned();
                over.push(Row::NoSession { user });
            }
        })?;
        // After the last user it starts again.
        Ok((over, last.unwrap_or_default()))
    }

    /// Continues after this user.
    pub(super) fn continue_after(&mut self, user: String) {
        self.after = user;
    }
}
