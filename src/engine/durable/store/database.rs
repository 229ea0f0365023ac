//! The open database.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::{Connection, OpenFlags, TransactionBehavior, params};

use super::error::StoreError;
use super::reader::Reader;
use super::rebuild::REBUILT;
use super::row::{Row, insert, set_state, signed, unsigned};
use super::tables::{
    self, DATABASE, FORMAT, FORMAT_WITHOUT_CHECKSUMS, StoreState, session_checksum,
};
use crate::config::Fsync;

/// SQLite's cache of pages, in KiB. It is small, because what is written is read only once, at the next
/// start.
const CACHE_KIB: i64 = 1_024;
/// Size that the write-ahead log is cut back to after a burst.
const MAX_WAL_BYTES: i64 = 8 << 20;
/// Most rows beyond what is retained: a `DELETE` per commit costs more than they do.
const MAX_STALE_ROWS: i64 = 256;
/// Most commits before the next removal of what need not be kept.
const MAX_UNTIDY_COMMITS: u32 = 256;

/// How long a write waits for another process. That can only be an operator's tool, because the lock keeps
/// other servers out.
const BUSY_TIMEOUT: Duration = Duration::from_millis(250);

/// The open database.
#[derive(Debug)]
pub(in crate::engine::durable) struct Store {
    db: Connection,
    wal: PathBuf,
    format: i64,
    state: StoreState,
    /// Number of the oldest row of `events`; one above [`Store::last`] if there is none.
    oldest: i64,
    last: i64,
    /// Commits since the last removal of what need not be kept.
    untidy_commits: u32,
}

/// What has to be kept.
#[derive(Clone, Copy, Debug)]
pub(in crate::engine::durable) struct Retention {
    /// So many of the newest rows of `events` are retained.
    pub(in crate::engine::durable) retained: usize,
    /// Publishers' own ids seen before this Unix millisecond are forgotten.
    pub(in crate::engine::durable) sources_from_ms: u64,
}

impl Store {
    /// Opens the database, or creates it. One of an older version is opened, too, to be read and rebuilt
    /// ([`Store::is_current`]).
    pub(in crate::engine::durable) fn open(
        directory: &Path,
        fsync: Fsync,
    ) -> Result<Self, StoreError> {
        // Created here to set its mode, which SQLite gives to the files beside it, too. A directory that
        // existed before may be open to others.
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
        // In WAL mode, NORMAL writes a commit to the file and leaves the flush to us; FULL flushes.
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
            state: StoreState::default(),
            oldest: oldest.unwrap_or(last + 1),
            last,
            untidy_commits: 0,
            db,
        };
        store.state = store.reader().state().unwrap_or_default();
        Ok(store)
    }

    /// Returns true if its tables are this version's.
    pub(in crate::engine::durable) fn is_current(&self) -> bool {
        self.format == FORMAT
    }

    pub(in crate::engine::durable) fn reader(&self) -> Reader<'_> {
        Reader::new(&self.db, self.format)
    }

    pub(in crate::engine::durable) fn state(&self) -> StoreState {
        self.state
    }

    /// Number of the newest row of `events`.
    pub(in crate::engine::durable) fn last(&self) -> u64 {
        unsigned(self.last)
    }

    /// The write-ahead log's file. Flushing it puts all earlier commits on the disk.
    pub(in crate::engine::durable) fn wal(&self) -> io::Result<File> {
        // SQLite has no locks on this file. To close another descriptor of the database's main file would
        // drop its locks on that.
        File::open(&self.wal)
    }

    /// Size of the write-ahead log, in bytes.
    pub(in crate::engine::durable) fn wal_bytes(&self) -> u64 {
        self.wal.metadata().map_or(0, |wal| wal.len())
    }

    /// Passes the sessions of up to `limit` users after `user` to `each`, by user, and skips rows that are
    /// altered. Returns the user to continue after; `None` at the end.
    pub(in crate::engine::durable) fn sessions_after(
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
    pub(in crate::engine::durable) fn session(
        &self,
        user: &str,
    ) -> Result<Option<String>, StoreError> {
        self.reader().session(user)
    }

    /// Stores all rows or none. Removes what need not be kept if that is due, or if there are no rows.
    pub(in crate::engine::durable) fn commit<'a>(
        &mut self,
        rows: impl IntoIterator<Item = &'a Row>,
        limits: Retention,
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

    /// Returns true if there may be rows that need not be kept.
    pub(in crate::engine::durable) fn is_untidy(&self, limits: Retention) -> bool {
        self.untidy_commits > 0 || self.first_kept(limits.retained) > self.oldest
    }

    /// Writes something, to find out whether writing works again.
    pub(in crate::engine::durable) fn probe(&self) -> Result<(), StoreError> {
        Ok(self.db.pragma_update(None, "user_version", FORMAT)?)
    }

    /// Moves everything from the write-ahead log into the database's own file, flushes both, and empties the
    /// log. An open transaction of a reader prevents that; it is waited for only if `waits`.
    pub(in crate::engine::durable) fn checkpoint(&self, waits: bool) -> Result<(), StoreError> {
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
    pub(in crate::engine::durable) fn close(self) -> Result<(), StoreError> {
        self.db.close().map_err(|(_, error)| error.into())
    }

    /// The row before those that are retained is kept, too. Ids continue after it if nothing is retained, and
    /// clients at that id have missed nothing.
    fn first_kept(&self, retained: usize) -> i64 {
        let retained = i64::try_from(retained).unwrap_or(i64::MAX);
        self.last.saturating_sub(retained).max(self.oldest)
    }
}

/// Opens the database for reading on a disk that cannot be written. SQLite then keeps in memory what it
/// otherwise writes to a file of its own. `None` if there is no database.
pub(in crate::engine::durable) fn open_unwritable(
    directory: &Path,
) -> Result<Option<(Connection, i64)>, StoreError> {
    open_file_unwritable(&directory.join(DATABASE))
}

fn open_file_unwritable(path: &Path) -> Result<Option<(Connection, i64)>, StoreError> {
    if path.metadata().map_or(0, |file| file.len()) == 0 {
        return Ok(None);
    }
    // A read-only connection could not lock it.
    let db = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
    db.pragma_update(None, "locking_mode", "EXCLUSIVE")?;
    db.pragma_update(None, "cell_size_check", true)?;
    let format = format(&db)?;
    Ok((format > 0).then_some((db, format)))
}

/// Number of the newest session change in the database, or in one that is about to take its place; 0 if that
/// cannot be read.
pub(in crate::engine::durable) fn changes(directory: &Path) -> u64 {
    let changes = |name: &str| {
        let (db, format) = open_file_unwritable(&directory.join(name)).ok()??;
        Some(Reader::new(&db, format).state()?.changes)
    };
    let both = [DATABASE, REBUILT].map(|name| changes(name).unwrap_or(0));
    both.into_iter().max().unwrap_or(0)
}

fn format(db: &Connection) -> Result<i64, StoreError> {
    let format: i64 = db.pragma_query_value(None, "user_version", |row| row.get(0))?;
    match format {
        0 | FORMAT_WITHOUT_CHECKSUMS | FORMAT => Ok(format),
        other => Err(StoreError::Format(other)),
    }
}

#[cfg(test)]
pub(in crate::engine::durable) use tests::FIRST_VERSION;

#[cfg(test)]
mod tests;
