//! The directory of `history.path`: an SQLite database in WAL mode (docs/decisions.md says why),
//! and a lock that keeps a second server out.
//!
//! A commit is one transaction: events, the publishers' own ids, sessions, and the rows that the
//! log no longer retains. Rows are numbered in the order of ids without holes, so that "all but
//! the newest n" is a range.

use std::fs::{DirBuilder, File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::{Connection, OptionalExtension, TransactionBehavior, params};

use crate::config::Fsync;
use crate::event::EventId;

const DATABASE: &str = "history.sqlite";
const LOCK: &str = "lock";
/// Of the tables below.
const FORMAT: i64 = 1;
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

const TABLES: &str = "
    CREATE TABLE IF NOT EXISTS events
        (n INTEGER PRIMARY KEY, ms INTEGER NOT NULL, seq INTEGER NOT NULL, entry TEXT NOT NULL);
    CREATE TABLE IF NOT EXISTS sources
        (seen_ms INTEGER NOT NULL, source TEXT NOT NULL, ms INTEGER NOT NULL, seq INTEGER NOT NULL,
         PRIMARY KEY (seen_ms, source)) WITHOUT ROWID;
    CREATE TABLE IF NOT EXISTS sessions
        (user TEXT PRIMARY KEY, standing TEXT NOT NULL) WITHOUT ROWID;
";

/// See the module's text.
#[derive(Debug)]
pub(super) struct Store {
    db: Connection,
    wal: PathBuf,
    /// Number of the oldest row of `events`; one above [`Store::last`] where there is none.
    oldest: i64,
    last: i64,
    /// Commits since what need not be kept was dropped.
    untidy_commits: u32,
    /// Held as long as the database is open.
    _lock: File,
}

/// Something to store.
#[derive(Debug)]
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
    Session {
        user: String,
        standing: String,
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
        "is on a file system that SQLite's write-ahead log does not work on (its mode stays {0}); name a directory on a local disk"
    )]
    NoWal(String),
    #[error("cannot be flushed: {0} pages of the log were left")]
    Unflushed(i64),
    #[error("was written by another version (format {0}, not {FORMAT}); use that version")]
    Format(i64),
    #[error("{table}: {what} cannot be read: {why}; move the directory away to start without it")]
    Unreadable {
        table: &'static str,
        what: String,
        why: String,
    },
}

impl Store {
    /// Opens the directory, and makes what is missing of it.
    pub(super) fn open(directory: &Path, fsync: Fsync) -> Result<Self, StoreError> {
        // Events are nobody else's business. A directory that is there keeps its mode.
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(directory)?;
        // SQLite lets several processes in; two servers would each believe in ids of their own.
        let lock = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .mode(0o600) // whoever can open it can hold it
            .open(directory.join(LOCK))?;
        lock.try_lock().map_err(|error| match error {
            TryLockError::WouldBlock => StoreError::InUse,
            TryLockError::Error(error) => error.into(),
        })?;
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
        let format: i64 = db.pragma_query_value(None, "user_version", |row| row.get(0))?;
        if format != 0 && format != FORMAT {
            return Err(StoreError::Format(format));
        }
        db.execute_batch(TABLES)?;
        db.pragma_update(None, "user_version", FORMAT)?;
        let (oldest, last) = db.query_row("SELECT min(n), max(n) FROM events", [], |row| {
            Ok((row.get::<_, Option<i64>>(0)?, row.get::<_, Option<i64>>(1)?))
        })?;
        let last = last.unwrap_or(0);
        Ok(Self {
            wal: directory.join(format!("{DATABASE}-wal")),
            oldest: oldest.unwrap_or(last + 1),
            last,
            untidy_commits: 0,
            db,
            _lock: lock,
        })
    }

    /// The file whose flush puts every commit before it on the disk.
    pub(super) fn wal(&self) -> io::Result<File> {
        // Closing another descriptor of the database's main file would drop SQLite's locks on it;
        // this one has none.
        File::open(&self.wal)
    }

    /// Every entry, the oldest first.
    pub(super) fn entries(
        &self,
        mut each: impl FnMut(EventId, &str) -> Result<(), String>,
    ) -> Result<(), StoreError> {
        let mut statement = self
            .db
            .prepare("SELECT ms, seq, entry FROM events ORDER BY n")?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            let id = id_at(row, 0)?;
            let entry = row.get_ref(2)?;
            let read = match entry.as_str() {
                Ok(entry) => each(id, entry),
                Err(error) => Err(error.to_string()),
            };
            read.map_err(|why| StoreError::Unreadable {
                table: "events",
                what: id.to_string(),
                why,
            })?;
        }
        Ok(())
    }

    /// Every publisher's own id, the oldest first: when it was seen, what it is, and its event's.
    pub(super) fn sources(
        &self,
        mut each: impl FnMut(u64, &str, EventId),
    ) -> Result<(), StoreError> {
        let mut statement = self
            .db
            .prepare("SELECT seen_ms, source, ms, seq FROM sources ORDER BY seen_ms")?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            let source: String = row.get(1)?;
            each(unsigned(row.get(0)?), &source, id_at(row, 2)?);
        }
        Ok(())
    }

    /// Every user's session.
    pub(super) fn sessions(
        &self,
        mut each: impl FnMut(&str, &str) -> Result<(), String>,
    ) -> Result<(), StoreError> {
        let mut statement = self.db.prepare("SELECT user, standing FROM sessions")?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            let (user, standing): (String, String) = (row.get(0)?, row.get(1)?);
            each(&user, &standing).map_err(|why| StoreError::Unreadable {
                table: "sessions",
                what: user,
                why,
            })?;
        }
        Ok(())
    }

    /// One user's session.
    pub(super) fn session(&self, user: &str) -> Result<Option<String>, StoreError> {
        let mut statement = self
            .db
            .prepare_cached("SELECT standing FROM sessions WHERE user = ?1")?;
        Ok(statement.query_row([user], |row| row.get(0)).optional()?)
    }

    /// Stores all of these or nothing, and drops what need not be kept.
    pub(super) fn commit(&mut self, rows: &[Row], limits: Limits) -> Result<(), StoreError> {
        let mut last = self.last;
        let first_kept = self.first_kept(limits.retained);
        let transaction = self
            .db
            .transaction_with_behavior(TransactionBehavior::Immediate)?;
        for row in rows {
            match row {
                Row::Event { id, entry } => {
                    last += 1;
                    transaction
                        .prepare_cached(
                            "INSERT INTO events (n, ms, seq, entry) VALUES (?1, ?2, ?3, ?4)",
                        )?
                        .execute(params![last, signed(id.ms), signed(id.seq), entry])?;
                }
                Row::Source {
                    source,
                    id,
                    seen_ms,
                } => {
                    transaction
                        .prepare_cached(
                            "INSERT OR REPLACE INTO sources (seen_ms, source, ms, seq)
                             VALUES (?1, ?2, ?3, ?4)",
                        )?
                        .execute(params![
                            signed(*seen_ms),
                            source,
                            signed(id.ms),
                            signed(id.seq)
                        ])?;
                }
                Row::Session { user, standing } => {
                    transaction
                        .prepare_cached(
                            "INSERT INTO sessions (user, standing) VALUES (?1, ?2)
                             ON CONFLICT (user) DO UPDATE SET standing = excluded.standing",
                        )?
                        .execute([user, standing])?;
                }
            }
        }
        let is_tidied = rows.is_empty()
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
        self.last = last;
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

    /// Writes everything from the log into the database's own file, both flushed.
    pub(super) fn checkpoint(&self) -> Result<(), StoreError> {
        let (is_busy, left): (bool, i64) =
            self.db
                .query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| {
                    Ok((row.get(0)?, row.get::<_, i64>(1)? - row.get::<_, i64>(2)?))
                })?;
        if is_busy {
            return Err(StoreError::Unflushed(left));
        }
        Ok(())
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

fn id_at(row: &rusqlite::Row<'_>, column: usize) -> rusqlite::Result<EventId> {
    Ok(EventId {
        ms: unsigned(row.get(column)?),
        seq: unsigned(row.get(column + 1)?),
    })
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
mod tests;
