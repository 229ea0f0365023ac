//! Rows, and how they are written.

use rusqlite::{Connection, params};

use super::tables::{StoreState, event_checksum, session_checksum, source_checksum};
use crate::event::EventId;

/// A change of the tables.
#[derive(Clone, Debug)]
pub(in crate::engine::durable) enum Row {
    Event {
        id: EventId,
        entry: String,
    },
    /// A publisher's own id, and the id of its event.
    Source {
        source: String,
        id: EventId,
        seen_ms: u64,
    },
    /// A user's standing after the session change with this number.
    Session {
        number: u64,
        user: String,
        standing: String,
    },
    /// The user's row is removed: nothing depends on its session changes any more.
    NoSession {
        user: String,
    },
    /// A log-out of everyone, which is a session change, too.
    Everyone {
        number: u64,
        logged_out_ms: u64,
    },
}

pub(super) fn insert(
    db: &Connection,
    row: &Row,
    last: &mut i64,
    state: &mut StoreState,
) -> rusqlite::Result<()> {
    match row {
        Row::Event { id, entry } => {
            *last += 1;
            db.prepare_cached(
                "INSERT INTO events (n, ms, seq, entry, checksum) VALUES (?1, ?2, ?3, ?4, ?5)",
            )?
            .execute(params![
                *last,
                signed(id.ms),
                signed(id.seq),
                entry,
                event_checksum(*last, *id, entry)
            ])?;
        }
        Row::Source {
            source,
            id,
            seen_ms,
        } => {
            db.prepare_cached(
                "INSERT OR REPLACE INTO sources (seen_ms, source, ms, seq, checksum)
                 VALUES (?1, ?2, ?3, ?4, ?5)",
            )?
            .execute(params![
                signed(*seen_ms),
                source,
                signed(id.ms),
                signed(id.seq),
                source_checksum(*seen_ms, source, *id)
            ])?;
        }
        Row::Session {
            number,
            user,
            standing,
        } => {
            db.prepare_cached(
                "INSERT INTO sessions (user, standing, checksum) VALUES (?1, ?2, ?3)
                 ON CONFLICT (user) DO UPDATE
                 SET standing = excluded.standing, checksum = excluded.checksum",
            )?
            .execute(params![user, standing, session_checksum(user, standing)])?;
            state.changes = state.changes.max(*number);
        }
        Row::NoSession { user } => {
            db.prepare_cached("DELETE FROM sessions WHERE user = ?1")?
                .execute([user])?;
        }
        Row::Everyone {
            number,
            logged_out_ms,
        } => {
            state.changes = state.changes.max(*number);
            state.everyone_ms = state.everyone_ms.max(*logged_out_ms);
        }
    }
    Ok(())
}

pub(super) fn set_state(db: &Connection, state: StoreState) -> rusqlite::Result<()> {
    db.prepare_cached("UPDATE state SET changes = ?1, everyone_ms = ?2, checksum = ?3")?
        .execute([
            signed(state.changes),
            signed(state.everyone_ms),
            state.checksum(),
        ])?;
    Ok(())
}

/// SQLite's integers are signed. Milliseconds and sequence numbers fit into 63 bits for three hundred million
/// years.
pub(super) fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

pub(super) fn unsigned(number: i64) -> u64 {
    u64::try_from(number).unwrap_or(0)
}
