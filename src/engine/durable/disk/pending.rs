//! Session changes that were accepted, and that the database does not have yet.

use hashbrown::HashMap;

use crate::engine::durable::session_log::{Change, ChangeKind};
use crate::engine::durable::store::Row;

/// The newest of these changes per user, and the newest log-out of everyone.
#[derive(Debug, Default)]
pub(in crate::engine::durable) struct Pending {
    /// Number and standing, by user.
    sessions: HashMap<String, (u64, String)>,
    /// Number of the newest log-out of everyone, and the latest time of one, in Unix milliseconds.
    everyone: Option<(u64, u64)>,
}

impl Pending {
    /// Adds a change that is newer than all others.
    pub(super) fn add(&mut self, change: &Change) {
        match &change.kind {
            ChangeKind::Session { user, standing } => {
                let newest = (change.number, standing.clone());
                self.sessions.insert(user.clone(), newest);
            }
            ChangeKind::Everyone { logged_out_ms } => {
                let at_ms = self.everyone_ms().max(*logged_out_ms);
                self.everyone = Some((change.number, at_ms));
            }
        }
    }

    /// Forgets all changes: the database has them now.
    pub(super) fn clear(&mut self) {
        self.sessions.clear();
        self.everyone = None;
    }

    /// Returns true if the database has everything that was accepted.
    pub(super) fn is_empty(&self) -> bool {
        self.sessions.is_empty() && self.everyone.is_none()
    }

    /// The changes as rows for the database.
    pub(super) fn rows(&self) -> Vec<Row> {
        let sessions = self
            .sessions()
            .map(|(number, user, standing)| Row::Session {
                number,
                user: user.to_owned(),
                standing: standing.to_owned(),
            });
        let everyone = self.everyone.map(|(number, logged_out_ms)| Row::Everyone {
            number,
            logged_out_ms,
        });
        sessions.chain(everyone).collect()
    }

    /// The standing of a user after the newest change.
    pub(super) fn standing(&self, user: &str) -> Option<&str> {
        let (_, standing) = self.sessions.get(user)?;
        Some(standing)
    }

    /// When everyone was logged out, in Unix milliseconds; 0 for never.
    pub(super) fn everyone_ms(&self) -> u64 {
        self.everyone.map_or(0, |(_, at_ms)| at_ms)
    }

    /// The log-out of everyone: its number, and when it was, in Unix milliseconds.
    pub(in crate::engine::durable) fn everyone(&self) -> Option<(u64, u64)> {
        self.everyone
    }

    /// The changes of single users: number, user, standing.
    pub(in crate::engine::durable) fn sessions(&self) -> impl Iterator<Item = (u64, &str, &str)> {
        let sessions = self.sessions.iter();
        sessions.map(|(user, (number, standing))| (*number, user.as_str(), standing.as_str()))
    }
}
