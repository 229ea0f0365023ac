//! The database in the directory of `history.path`: SQLite in WAL mode (docs/decisions.md says why).
//!
//! A commit is one transaction: events, the publishers' own ids, sessions, and the rows that the
//! log no longer retains. Rows are numbered in the order of ids without holes, so that "all but
//! the newest n" is a range, and a hole is damage.
//!
//! | module | one purpose |
//! |---|---|
//! | [`tables`] | what the tables are, and a row's checksum |
//! | [`reader`] | reads rows that are whole |
//! | [`rebuild`] | makes a new database of what can be read of an old one |

mod reader;
mod rebuild;
mod tables;

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::{Connection, ErrorCode, OpenFlags, TransactionBehavior, params};

use crate::config::Fsync;
use crate::event::EventId;
pub(super) use reader::{Reader, Verified};
pub(super) use rebuild::{LoggedOut, finish, rebuild};
pub(super) use tables::{FORMAT, State};
use tables::{FORMAT_WITHOUT_CHECKSUMS, event_checksum, session_checksum, source_checksum};

pub(super) const DATABASE: &str = "history.sqlite";
/// Pages that SQLite keeps in memory, in KiB: what is written is read once, at the next start.
const CACHE_KIB: i64 = 1_024;
/// What the write-ahead log is cut back to after a burst.
const MAX_WAL_BYTES: i64 = 8 << 20;
/// Rows that may be there beyond what is retained, and commits between two looks at what need not
/// be kept: a `DELETE` for each commit costs more than they do.
const MAX_STALE_ROWS: i64 = 256;
const MAX_UNTIDY_COMMITS: u32 = 256;

/// How long a write waits for another process, which can only be somebody's tool: the lock keeps
/// servers out.
const BUSY_TIMEOUT: Duration = Duration::from_millis(250);

/// The open database.
#[derive(Debug)]
pub(super) struct Store {
    db: Connection,
    wal: PathBuf,
    format: i64,
    state: State,
    /// Number of the oldest row of `events`; one above [`Store::last`] where there is none.
    oldest: i64,
    last: i64,
    /// Commits since what need not be kept was dropped.
    untidy_commits: u32,
}

/// Something to store.
#[derive(Clone, Debug)]
pub(super) enum Row {
    Event {
        id: EventId,
        entry: String,
    },
    /// A publisher's own id and its event's.
    Source {
        source: String,
        id: EventId,
        seen_ms: u64,
    },
    /// A session change of this number.
    Session {
        number: u64,
        user: String,
        standing: String,
    },
    /// Nothing depends on this user's session changes any more.
    NoSession {
        user: String,
    },
    /// Everyone was logged out, which is a session change, too.
    Everyone {
        number: u64,
        logged_out_ms: u64,
    },
}

/// What need not be kept.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    /// Of the rows that are there, the newest so many are retained.
    pub(super) retained: usize,
    /// Publishers' own ids seen before this Unix millisecond are forgotten.
    pub(super) sources_from_ms: u64,
}

/// Why the directory cannot be used.
#[derive(Debug, thiserror::Error)]
pub(super) enum StoreError {
    #[error("is in use by another server; stop that one, or name another directory")]
    InUse,
    #[error("{0} (it has to be a directory that this user may write)")]
    Io(#[from] io::Error),
    #[error("{0}")]
    Database(#[from] rusqlite::Error),
    #[error(
        "{0} (if `{DATABASE}` is damaged, move it and `{DATABASE}-wal` away and leave the other files: events are lost then, and who was logged out stays so)"
    )]
    Refused(rusqlite::Error),
    #[error(
        "is on a file system that SQLite's write-ahead log does not work on (its mode stays {0}); name a directory on a local disk"
    )]
    NoWal(String),
    #[error("cannot be flushed: {0} pages of the log were left")]
    Unflushed(i64),
    #[error(
        "was written by another version (format {0}, not {FORMAT}); use that version, or move `{DATABASE}` and `{DATABASE}-wal` away and leave the other files: events are lost then, and who was logged out stays so"
    )]
    Format(i64),
    #[error("{table}: {what} cannot be read: {why}; move the directory away to start without it")]
    Unreadable {
        table: &'static str,
        what: String,
        why: String,
    },
}

/// Whose fault it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// What is in the file cannot be right.
    Damage,
    /// Another process holds a lock.
    Locked,
    Other,
}

impl StoreError {
    /// The same for who starts the server: with the way out.
    pub(super) fn at_start(self) -> Self {
        match self {
            Self::Database(error) if is_forbidden(&error) => Self::Io(io::Error::other(error)),
            Self::Database(error) => Self::Refused(error),
            other => other,
        }
    }

    pub(super) fn fault(&self) -> Fault {
        match self {
            Self::Database(rusqlite::Error::SqliteFailure(error, _)) => match error.code {
                ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked => Fault::Locked,
                ErrorCode::DatabaseCorrupt
                | ErrorCode::NotADatabase
                // "no such table": its schema is another.
                | ErrorCode::Unknown => Fault::Damage,
                _ => Fault::Other,
            },
            // A column of another type, or a schema that has other columns.
            Self::Database(_) => Fault::Damage,
            Self::Unflushed(_) => Fault::Locked,
            _ => Fault::Other,
        }
    }
}

impl Store {
    /// Opens the database, and makes it where it is missing. One that another version wrote is
    /// opened to be read and rebuilt ([`Store::is_current`]).
    pub(super) fn open(directory: &Path, fsync: Fsync) -> Result<Self, StoreError> {
        // Made here for its mode, which SQLite gives the files beside it, too: a directory that was
        // there before us may be open to others.
        OpenOptions::new()
            .create(true)
            .append(true)
            .mode(0o600)
            .open(directory.join(DATABASE))?;
        let db = Connection::open(directory.join(DATABASE))?;
        db.busy_timeout(BUSY_TIMEOUT)?;
        let mode: String =
            db.pragma_update_and_check(None, "journal_mode", "WAL", |row| row.get(0))?;
        if mode != "wal" {
            return Err(StoreError::NoWal(mode));
        }
        // In WAL mode NORMAL writes a commit to the file and leaves the flush to us, FULL flushes.
        let synchronous = match fsync {
            Fsync::Interval => "NORMAL",
            Fsync::Always => "FULL",
        };
        db.pragma_update(None, "synchronous", synchronous)?;
        db.pragma_update(None, "cache_size", -CACHE_KIB)?;
        db.pragma_update(None, "journal_size_limit", MAX_WAL_BYTES)?;
        db.pragma_update(None, "cell_size_check", true)?;
        let format = format(&db)?;
        if format == 0 {
            tables::create(&db)?;
        }
        let format = if format == 0 { FORMAT } else { format };
        let (oldest, last) = db.query_row("SELECT min(n), max(n) FROM events", [], |row| {
            Ok((row.get::<_, Option<i64>>(0)?, row.get::<_, Option<i64>>(1)?))
        })?;
        let last = last.unwrap_or(0);
        let mut store = Self {
            wal: directory.join(format!("{DATABASE}-wal")),
            format,
            state: State::default(),
            oldest: oldest.unwrap_or(last + 1),
            last,
            untidy_commits: 0,
            db,
        };
        store.state = store.reader().state().unwrap_or_default();
        Ok(store)
    }

    /// Whether its tables are this version's.
    pub(super) fn is_current(&self) -> bool {
        self.format == FORMAT
    }

    pub(super) fn reader(&self) -> Reader<'_> {
        Reader::new(&self.db, self.format)
    }

    pub(super) fn state(&self) -> State {
        self.state
    }

    /// Number of the newest row of `events`.
    pub(super) fn last(&self) -> u64 {
        unsigned(self.last)
    }

    /// The file whose flush puts every commit before it on the disk.
    pub(super) fn wal(&self) -> io::Result<File> {
        // Closing another descriptor of the database's main file would drop SQLite's locks on it;
        // this one has none.
        File::open(&self.wal)
    }

    /// Bytes of the write-ahead log.
    pub(super) fn wal_bytes(&self) -> u64 {
        self.wal.metadata().map_or(0, |wal| wal.len())
    }

    /// Looks at the sessions of up to `limit` users, in the order of their ids, of those after
    /// `user`; skips rows that are altered. Returns the user to go on after, nothing at the end.
    pub(super) fn sessions_after(
        &self,
        user: &str,
        limit: usize,
        mut each: impl FnMut(&str, &str),
    ) -> Result<Option<String>, StoreError> {
        let mut statement = self.db.prepare_cached(
            "SELECT user, standing, checksum FROM sessions WHERE user > ?1 ORDER BY user LIMIT ?2",
        )?;
        let mut rows = statement.query(params![user, i64::try_from(limit).unwrap_or(i64::MAX)])?;
        let mut looked_at = 0;
        let mut last = None;
        while let Some(row) = rows.next()? {
            looked_at += 1;
            let Ok(user) = row.get_ref(0)?.as_str() else {
                continue;
            };
            last = Some(user.to_owned());
            if let (Ok(standing), Ok(sum)) = (row.get_ref(1)?.as_str(), row.get::<_, i64>(2))
                && sum == session_checksum(user, standing)
            {
                each(user, standing);
            }
        }
        Ok(last.filter(|_| looked_at == limit))
    }

    /// One user's session.
    pub(super) fn session(&self, user: &str) -> Result<Option<String>, StoreError> {
        self.reader().session(user)
    }

    /// Stores all of these or nothing, and drops what need not be kept.
    pub(super) fn commit<'a>(
        &mut self,
        rows: impl IntoIterator<Item = &'a Row>,
        limits: Limits,
    ) -> Result<(), StoreError> {
        let (mut last, mut state) = (self.last, self.state);
        let first_kept = self.first_kept(limits.retained);
        let transaction = self
            .db
            .transaction_with_behavior(TransactionBehavior::Immediate)?;
        let mut is_empty = true;
        for row in rows {
            is_empty = false;
            insert(&transaction, row, &mut last, &mut state)?;
        }
        if state != self.state {
            set_state(&transaction, state)?;
        }
        let is_tidied = is_empty
            || first_kept - self.oldest >= MAX_STALE_ROWS
            || self.untidy_commits >= MAX_UNTIDY_COMMITS;
        if is_tidied {
            transaction
                .prepare_cached("DELETE FROM events WHERE n < ?1")?
                .execute([first_kept])?;
            transaction
                .prepare_cached("DELETE FROM sources WHERE seen_ms < ?1")?
                .execute([signed(limits.sources_from_ms)])?;
        }
        transaction.commit()?;
        (self.last, self.state) = (last, state);
        self.untidy_commits += 1;
        if is_tidied {
            (self.oldest, self.untidy_commits) = (first_kept, 0);
        }
        Ok(())
    }

    /// Whether rows may be there that need not be kept.
    pub(super) fn is_untidy(&self, limits: Limits) -> bool {
        self.untidy_commits > 0 || self.first_kept(limits.retained) > self.oldest
    }

    /// Writes something, to see whether that works again.
    pub(super) fn probe(&self) -> Result<(), StoreError> {
        Ok(self.db.pragma_update(None, "user_version", FORMAT)?)
    }

    /// Writes everything from the log into the database's own file, both flushed, and empties the
    /// log. A reader's open transaction is in the way; it is waited for only if `waits`.
    pub(super) fn checkpoint(&self, waits: bool) -> Result<(), StoreError> {
        if !waits {
            self.db.busy_timeout(Duration::ZERO)?;
        }
        let done = self
            .db
            .query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| {
                Ok((row.get(0)?, row.get::<_, i64>(1)? - row.get::<_, i64>(2)?))
            });
        self.db.busy_timeout(BUSY_TIMEOUT)?;
        match done? {
            (true, left) => Err(StoreError::Unflushed(left)),
            (false, _) => Ok(()),
        }
    }

    /// Moves everything into the database's own file.
    pub(super) fn close(self) -> Result<(), StoreError> {
        self.db.close().map_err(|(_, error)| error.into())
    }

    /// The row before what is retained stays, too: ids go on from it where nothing is retained, and
    /// clients that are there have missed nothing.
    fn first_kept(&self, retained: usize) -> i64 {
        let retained = i64::try_from(retained).unwrap_or(i64::MAX);
        self.last.saturating_sub(retained).max(self.oldest)
    }
}

/// Opens the database to be read where nothing can be written: SQLite then keeps in memory what it
/// otherwise writes to a file of its own. `None` where there is no database.
pub(super) fn open_unwritable(directory: &Path) -> Result<Option<(Connection, i64)>, StoreError> {
    open_file_unwritable(&directory.join(DATABASE))
}

fn open_file_unwritable(path: &Path) -> Result<Option<(Connection, i64)>, StoreError> {
    if path.metadata().map_or(0, |file| file.len()) == 0 {
        return Ok(None);
    }
    // Read-only, it could not be locked.
    let db = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
    db.pragma_update(None, "locking_mode", "EXCLUSIVE")?;
    db.pragma_update(None, "cell_size_check", true)?;
    let format = format(&db)?;
    Ok((format > 0).then_some((db, format)))
}

/// Number of the newest session change in the database, or in one that is about to take its place;
/// 0 where that cannot be read.
pub(super) fn changes(directory: &Path) -> u64 {
    let changes = |name: &str| {
        let (db, format) = open_file_unwritable(&directory.join(name)).ok()??;
        Some(Reader::new(&db, format).state()?.changes)
    };
    let both = [DATABASE, rebuild::REBUILT].map(|name| changes(name).unwrap_or(0));
    both.into_iter().max().unwrap_or(0)
}

/// Whether a file's or the directory's mode is the reason.
fn is_forbidden(error: &rusqlite::Error) -> bool {
    matches!(
        error.sqlite_error_code(),
        Some(ErrorCode::CannotOpen | ErrorCode::PermissionDenied | ErrorCode::ReadOnly)
    )
}

fn format(db: &Connection) -> Result<i64, StoreError> {
    let format: i64 = db.pragma_query_value(None, "user_version", |row| row.get(0))?;
    match format {
        0 | FORMAT_WITHOUT_CHECKSUMS | FORMAT => Ok(format),
        other => Err(StoreError::Format(other)),
    }
}

fn insert(db: &Connection, row: &Row, last: &mut i64, state: &mut State) -> rusqlite::Result<()> {
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

fn set_state(db: &Connection, state: State) -> rusqlite::Result<()> {
    db.prepare_cached("UPDATE state SET changes = ?1, everyone_ms = ?2, checksum = ?3")?
        .execute([
            signed(state.changes),
            signed(state.everyone_ms),
            state.checksum(),
        ])?;
    Ok(())
}

/// SQLite's integers have a sign. Milliseconds and ranks need 63 bits in three hundred million
/// years.
fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

fn unsigned(number: i64) -> u64 {
    u64::try_from(number).unwrap_or(0)
}

#[cfg(test)]
pub(super) use tests::FIRST_VERSION;

#[cfg(test)]
mod tests;
