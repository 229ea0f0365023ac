//! The database's tables, and the checksum of each kind of row.

use rusqlite::Connection;

use crate::engine::durable::checksum::checksum;
use crate::event::EventId;

/// The database's file.
pub(in crate::engine::durable) const DATABASE: &str = "history.sqlite";

/// The format of the tables below.
pub(in crate::engine::durable) const FORMAT: i64 = 2;
/// The format without checksums.
pub(super) const FORMAT_WITHOUT_CHECKSUMS: i64 = 1;

/// `state.sessions` is the XOR of all checksums in `sessions`. It reveals that a row is missing or outdated.
/// SQLite has no operator for it, so the triggers use `|`, `&` and `-`.
const TABLES: &str = "
    CREATE TABLE IF NOT EXISTS events
        (n INTEGER PRIMARY KEY, ms INTEGER NOT NULL, seq INTEGER NOT NULL, entry TEXT NOT NULL,
         checksum INTEGER NOT NULL);
    CREATE TABLE IF NOT EXISTS sources
        (seen_ms INTEGER NOT NULL, source TEXT NOT NULL, ms INTEGER NOT NULL, seq INTEGER NOT NULL,
         checksum INTEGER NOT NULL, PRIMARY KEY (seen_ms, source)) WITHOUT ROWID;
    CREATE TABLE IF NOT EXISTS sessions
        (user TEXT PRIMARY KEY, standing TEXT NOT NULL, checksum INTEGER NOT NULL) WITHOUT ROWID;
    CREATE TABLE IF NOT EXISTS state
        (one INTEGER PRIMARY KEY CHECK (one = 1), changes INTEGER NOT NULL,
         everyone_ms INTEGER NOT NULL, checksum INTEGER NOT NULL, sessions INTEGER NOT NULL);
    CREATE TRIGGER IF NOT EXISTS session_new AFTER INSERT ON sessions BEGIN
        UPDATE state SET sessions = (sessions | new.checksum) - (sessions & new.checksum);
    END;
    CREATE TRIGGER IF NOT EXISTS session_gone AFTER DELETE ON sessions BEGIN
        UPDATE state SET sessions = (sessions | old.checksum) - (sessions & old.checksum);
    END;
    CREATE TRIGGER IF NOT EXISTS session_changed AFTER UPDATE ON sessions BEGIN
        UPDATE state SET sessions = (sessions | old.checksum) - (sessions & old.checksum);
        UPDATE state SET sessions = (sessions | new.checksum) - (sessions & new.checksum);
    END;
";

/// The row of `state`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::engine::durable) struct StoreState {
    /// Number of the newest session change in `sessions`.
    pub(in crate::engine::durable) changes: u64,
    /// When everyone was logged out, in Unix milliseconds; 0 for never.
    pub(in crate::engine::durable) everyone_ms: u64,
}

impl StoreState {
    pub(super) fn checksum(self) -> i64 {
        number(checksum(
            "state",
            &[&self.changes.to_le_bytes(), &self.everyone_ms.to_le_bytes()],
        ))
    }
}

/// Creates the tables that are missing.
pub(super) fn create(db: &Connection) -> rusqlite::Result<()> {
    let empty = StoreState::default();
    db.execute_batch(&format!(
        "BEGIN IMMEDIATE; {TABLES}
         INSERT OR IGNORE INTO state (one, changes, everyone_ms, checksum, sessions)
             VALUES (1, 0, 0, {}, 0);
         PRAGMA user_version = {FORMAT};
         COMMIT;",
        empty.checksum()
    ))
}

pub(super) fn event_checksum(n: i64, id: EventId, entry: &str) -> i64 {
    number(checksum(
        "event",
        &[
            &n.to_le_bytes(),
            &id.ms.to_le_bytes(),
            &id.seq.to_le_bytes(),
            entry.as_bytes(),
        ],
    ))
}

pub(super) fn source_checksum(seen_ms: u64, source: &str, id: EventId) -> i64 {
    number(checksum(
        "source",
        &[
            &seen_ms.to_le_bytes(),
            source.as_bytes(),
            &id.ms.to_le_bytes(),
            &id.seq.to_le_bytes(),
        ],
    ))
}

pub(super) fn session_checksum(user: &str, standing: &str) -> i64 {
    number(checksum("session", &[user.as_bytes(), standing.as_bytes()]))
}

/// SQLite's integers are signed. Only the bits of a checksum matter.
fn number(checksum: u64) -> i64 {
    checksum.cast_signed()
}
