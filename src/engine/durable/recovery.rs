//! Assesses what an earlier process left. The database, the session log and the mark each say how far the
//! history went, and none of them is trusted alone.
//!
//! A session change is written to the session log, then to the database if that takes it, and then its number
//! to the mark. So a change is missing if its number is not above the newest known one, and neither the log
//! nor the database has it. The newest number is known only if the mark or the session log is whole to its
//! end.

use std::path::Path;

use super::mark::FoundMark;
use super::session_log::{Change, ChangeKind, FoundLog};
use super::store::Verified;
use crate::config::OnDamage;
use crate::event::EventId;

/// The state of the database.
#[derive(Clone, Copy, Debug)]
pub(super) enum Database {
    /// There was none, or an empty one.
    New,
    /// An older version wrote it, which had neither mark nor session log.
    Old(Verified),
    /// This version wrote it.
    Read(Verified),
    /// It cannot be used.
    Unreadable,
}

/// Returns true if nothing was ever stored beside a database. An unused session log is left if a start is
/// interrupted before it has created or converted the database.
fn is_beginning(mark: &FoundMark, log: &FoundLog) -> bool {
    !mark.exists && (!log.exists || log.is_unused())
}

/// Classifies a database that was read. No process leaves a database of an older version beside files that
/// only this version writes, so such a database counts as unreadable.
pub(super) fn classify(
    read: Verified,
    is_current: bool,
    mark: &FoundMark,
    log: &FoundLog,
) -> Database {
    match (is_current, !is_beginning(mark, log)) {
        (false, true) => Database::Unreadable,
        (false, false) => Database::Old(read),
        (true, _) if read.is_empty() => Database::New,
        (true, _) => Database::Read(read),
    }
}

/// What may be missing from the history, and what it is safe to do about it.
#[allow(clippy::struct_excessive_bools)] // independent findings
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Assessment {
    /// The newest id that was given out, as far as is known.
    pub(super) last_id: EventId,
    /// Id of the newest event that is there.
    pub(super) newest_stored: EventId,
    /// Number of the newest session change, as far as is known.
    pub(super) changes: u64,
    /// Changes that the database does not have, in order.
    pub(super) replay: Vec<Change>,
    /// Number of events that were stored and are missing.
    pub(super) events_missing: u64,
    /// The id before the first missing event.
    pub(super) missing_after: EventId,
    /// Events are missing, even if they cannot be counted.
    pub(super) are_events_missing: bool,
    /// No session change is missing.
    pub(super) are_sessions_complete: bool,
    /// The database has to be rebuilt.
    pub(super) is_rebuilt: bool,
    /// Something is not as the earlier process left it.
    pub(super) is_damaged: bool,
}

/// Assesses what was found.
pub(super) fn assess(database: Database, mark: &FoundMark, log: FoundLog) -> Assessment {
    let is_first = matches!(database, Database::New | Database::Old(_))
        && is_beginning(mark, &log)
        && !mark.is_of_history;
    let read = match database {
        Database::New | Database::Unreadable => None,
        Database::Old(read) | Database::Read(read) => Some(read),
    };
    let events = read.map(|read| read.events).unwrap_or_default();
    let stored = read.map_or(0, |read| read.state.changes);
    let known = stored.max(mark.mark.changes).max(log.newest);
    let newest_ids = log.changes.iter().map(Change::id);
    let last_id = newest_ids
        .chain([events.last_id, mark.mark.last_id])
        .max()
        .unwrap_or_default();
    let mut replay: Vec<Change> = log.changes;
    replay.retain(|change| change.number > stored);
    replay.sort_by_key(|change| change.number);
    replay.dedup_by_key(|change| change.number);
    let are_all_there = replay.len() as u64 == known - stored;

    let rows_lost = mark
        .mark
        .rows
        .saturating_sub(u64::try_from(events.last).unwrap_or(0));
    let is_sound = match database {
        Database::New => true,
        Database::Unreadable => false,
        Database::Old(read) | Database::Read(read) => read.is_sound(),
    };
    let is_hurt = !is_sound || rows_lost > 0;
    let are_sessions_sound = match database {
        // Without a database no session in it can be altered. The numbers tell what is missing.
        Database::New | Database::Unreadable => true,
        Database::Old(read) | Database::Read(read) => read.are_sessions_sound,
    };
    let is_newest_known = log.is_clean || (mark.is_intact && !is_hurt);
    let are_sessions_complete =
        are_sessions_sound && are_all_there && (is_first || is_newest_known);
    Assessment {
        last_id,
        newest_stored: events.last_id,
        changes: known,
        replay,
        events_missing: events.missing + rows_lost,
        are_events_missing: events.missing + rows_lost > 0 || events.is_broken,
        missing_after: events.missing_after.unwrap_or(events.last_id),
        are_sessions_complete,
        is_rebuilt: !is_sound || !are_sessions_complete || matches!(database, Database::Old(_)),
        is_damaged: is_hurt
            || !are_sessions_complete
            || !(is_first || (mark.is_intact && log.is_clean)),
    }
}

impl Assessment {
    /// The change that logs everyone out, if session changes may be missing.
    pub(super) fn everyone_out(&self, on_damage: OnDamage, unix_ms: u64) -> Option<Change> {
        if self.are_sessions_complete || on_damage == OnDamage::Accept {
            return None;
        }
        // A missing change may be as new as the newest id, even if the clock is behind that now.
        let logged_out_ms = unix_ms.max(self.last_id.ms);
        let kind = ChangeKind::Everyone { logged_out_ms };
        Some(Change::new(self.changes + 1, self.last_id, kind))
    }

    /// Logs what is missing.
    pub(super) fn report(&self, directory: &Path, on_damage: OnDamage) {
        if !self.is_damaged {
            return;
        }
        let path = directory.display();
        tracing::warn!(
            %path,
            events_missing = self.events_missing,
            after = %self.missing_after,
            newest = %self.last_id,
            session_changes_restored = self.replay.len(),
            "history.path: what was stored is damaged or not all there"
        );
        if self.are_sessions_complete {
            return;
        }
        match on_damage {
            OnDamage::RejectSessions => tracing::warn!(
                %path,
                "history.path: session changes may be missing; everyone is logged out, and tokens issued before now are rejected (history.on_damage)"
            ),
            OnDamage::Accept => tracing::warn!(
                %path,
                "history.path: session changes may be missing; tokens that were revoked may be good again (history.on_damage = \"accept\")"
            ),
        }
    }
}

#[cfg(test)]
mod tests;
