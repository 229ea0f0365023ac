//! Builds a new database from what can be read of an old one, and puts it in the old one's place. This is
//! done after damage, and if an older version wrote the old one.
//!
//! The new database is complete and flushed before the old one is moved. If the moves are interrupted, the
//! next start completes them ([`finish`]).

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use rusqlite::Connection;

use super::error::StoreError;
use super::reader::Reader;
use super::row::{Row, insert, set_state};
use super::tables::{self, DATABASE, StoreState};

/// The new database, when it is complete and until then.
pub(super) const REBUILT: &str = "history.sqlite.rebuilt";
const UNFINISHED: &str = "history.sqlite.rebuilt.new";
/// The old database, if it was damaged. It replaces one that was kept before.
const DAMAGED: &str = "history.sqlite.damaged";
/// Number of sessions that are in memory at once.
const PIECE: i64 = 1_000;

/// Computes a user's standing after a log-out of everyone, from the user, the standing before, and the time
/// of the log-out in Unix milliseconds.
pub(in crate::engine::durable) type LoggedOut<'a> = &'a dyn Fn(&str, &str, u64) -> String;

/// Builds a new database beside the old one, from what `old` yields and from `changes`, which are newer.
/// `state` is the state before these. If a log-out of everyone is among them, `logged_out` is applied to
/// every session.
pub(in crate::engine::durable) fn rebuild(
    directory: &Path,
    old: Option<Reader<'_>>,
    changes: &[Row],
    state: StoreState,
    logged_out: LoggedOut<'_>,
) -> Result<(), StoreError> {
    let path = directory.join(UNFINISHED);
    remove(&path)?;
    OpenOptions::new()
        .create_new(true)
        .write(true)
        .mode(0o600)
        .open(&path)?;
    let filled = fill(&path, old, changes, state, logged_out);
    if filled.is_err() {
        // It may be what fills the disk.
        let _ = remove(&path);
    }
    filled?;
    File::open(&path)?.sync_all()?;
    fs::rename(path, directory.join(REBUILT))?;
    File::open(directory)?.sync_all()?;
    Ok(())
}

fn fill(
    path: &Path,
    old: Option<Reader<'_>>,
    changes: &[Row],
    state: StoreState,
    logged_out: LoggedOut<'_>,
) -> Result<(), StoreError> {
    let mut db = Connection::open(path)?;
    // Nothing reads it before it is flushed as a whole.
    db.pragma_update_and_check(None, "journal_mode", "OFF", |_| Ok(()))?;
    db.pragma_update(None, "synchronous", "OFF")?;
    tables::create(&db)?;
    let transaction = db.transaction()?;
    let mut last = 0;
    let mut state = state;
    let mut failed = None;
    let mut add = |row: &Row| match insert(&transaction, row, &mut last, &mut state) {
        Ok(()) => Ok(()),
        Err(error) => {
            let text = error.to_string();
            failed.get_or_insert(error);
            Err(text)
        }
    };
    let copied = old.map_or(Ok(()), |old| copy(old, &mut add));
    for row in changes {
        // A failure is handled below.
        let _ = add(row);
    }
    if let Some(error) = failed {
        return Err(error.into());
    }
    copied?;
    let everyone_ms = changes
        .iter()
        .filter_map(|row| match row {
            Row::Everyone { logged_out_ms, .. } => Some(*logged_out_ms),
            _ => None,
        })
        .max();
    let mut from = String::new();
    while let Some(everyone_ms) = everyone_ms {
        let piece = sessions_after(&transaction, &from)?;
        let Some((last_user, _)) = piece.last() else {
            break;
        };
        from.clone_from(last_user);
        for (user, before) in piece {
            let row = Row::Session {
                number: 0,
                standing: logged_out(&user, &before, everyone_ms),
                user,
            };
            insert(&transaction, &row, &mut last, &mut state)?;
        }
    }
    set_state(&transaction, state)?;
    transaction.commit()?;
    db.close().map_err(|(_, error)| error.into())
}

fn copy(
    old: Reader<'_>,
    add: &mut impl FnMut(&Row) -> Result<(), String>,
) -> Result<(), StoreError> {
    old.events(|id, entry| {
        add(&Row::Event {
            id,
            entry: entry.to_owned(),
        })
    })?;
    old.sessions(|user, standing| {
        add(&Row::Session {
            number: 0,
            user: user.to_owned(),
            standing: standing.to_owned(),
        })
    })?;
    old.sources(|seen_ms, source, id| {
        // The caller handles failures of `add`.
        let _ = add(&Row::Source {
            source: source.to_owned(),
            id,
            seen_ms,
        });
    });
    Ok(())
}

fn sessions_after(db: &Connection, user: &str) -> rusqlite::Result<Vec<(String, String)>> {
    let mut statement = db.prepare_cached(
        "SELECT user, standing FROM sessions WHERE user > ?1 ORDER BY user LIMIT ?2",
    )?;
    let rows = statement.query_map(rusqlite::params![user, PIECE], |row| {
        Ok((row.get(0)?, row.get(1)?))
    })?;
    rows.collect()
}

/// Puts a complete new database, if there is one, in the old one's place. The old one is kept aside if it
/// `is_damaged`. Neither may be open.
pub(in crate::engine::durable) fn finish(directory: &Path, is_damaged: bool) -> io::Result<()> {
    let (database, rebuilt) = (directory.join(DATABASE), directory.join(REBUILT));
    if !rebuilt.exists() {
        return Ok(());
    }
    let aside = |name: &str| -> PathBuf { directory.join(format!("{DAMAGED}{name}")) };
    for (name, beside) in [("", false), ("-wal", true), ("-shm", true)] {
        let old = directory.join(format!("{DATABASE}{name}"));
        match (is_damaged, beside) {
            (true, _) if name != "-shm" => match fs::rename(&old, aside(name)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            },
            _ => remove(&old)?,
        }
    }
    fs::rename(rebuilt, database)?;
    File::open(directory)?.sync_all()
}

fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}
