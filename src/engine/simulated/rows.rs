//! The standings of users in the store. A row changes only if it is still the one that was read.

use std::collections::HashMap;

use super::place::StorePlace;
use crate::hub::directory::Standing;

/// A user's standing.
#[derive(Clone, Debug)]
pub(super) struct SimulatedRow {
    /// The place of the last change's entry.
    pub(super) place: StorePlace,
    /// Who made the change, and their number for it.
    pub(super) tag: String,
    pub(super) standing: Standing,
}

/// All rows, and what they were.
#[derive(Debug, Default)]
pub(super) struct Rows {
    rows: HashMap<String, SimulatedRow>,
    /// What each change replaced, with the newest sequence at that time.
    undo: Vec<(u64, String, Option<SimulatedRow>)>,
}

impl Rows {
    pub(super) fn get(&self, user: &str) -> Option<SimulatedRow> {
        self.rows.get(user).cloned()
    }

    pub(super) fn all(&self) -> Vec<(String, SimulatedRow)> {
        let all = self.rows.iter();
        all.map(|(user, row)| (user.clone(), row.clone())).collect()
    }

    /// Returns true if the user's row is still the one with this tag.
    pub(super) fn is(&self, user: &str, tag: Option<&str>) -> bool {
        self.rows.get(user).map(|row| &*row.tag) == tag
    }

    /// Stores a row. `sequence` is the newest one in the log.
    pub(super) fn put(&mut self, user: &str, row: SimulatedRow, sequence: u64) {
        let before = self.rows.insert(user.to_owned(), row);
        self.undo.push((sequence, user.to_owned(), before));
    }

    /// Stores what a node remembers, unless the row is as new.
    pub(super) fn adopt(&mut self, user: &str, row: SimulatedRow, sequence: u64) {
        let theirs = self.rows.get(user);
        if theirs.is_none_or(|theirs| time(&theirs.standing) < time(&row.standing)) {
            self.put(user, row, sequence);
        }
    }

    /// Forgets all that was stored after `sequence`.
    #[cfg(test)]
    pub(super) fn roll_back(&mut self, sequence: u64) {
        while let Some((_, user, before)) = self.undo.pop_if(|(at, ..)| *at > sequence) {
            match before {
                Some(before) => self.rows.insert(user, before),
                None => self.rows.remove(&user),
            };
        }
    }
}

/// The time of the last change.
fn time(standing: &Standing) -> u64 {
    field(standing, "changed_at_ms").max(logged_out_ms(standing))
}

/// The time of the last log-out.
pub(super) fn logged_out_ms(standing: &Standing) -> u64 {
    field(standing, "logged_out_at_ms")
}

fn field(standing: &Standing, name: &str) -> u64 {
    let row = serde_json::to_value(standing).unwrap_or_default();
    row[name].as_u64().unwrap_or_default()
}
