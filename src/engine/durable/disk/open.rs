//! Opens a history directory. On a full disk it can be read at least, and takes session changes while reserved space
//! is left.

use std::path::Path;

use super::disk::{Disk, Options};
use super::lock::{DirectoryLock, LOCK};
use super::pending::Pending;
use super::repair::{Before, Repaired, repair};
use super::space::has_space;
use crate::engine::durable::mark::{MARK, Mark, MarkFile};
use crate::engine::durable::recovery::{self, Database, assess};
use crate::engine::durable::session_log::{Change, SESSIONS, SessionLog};
use crate::engine::durable::store::{
    self, DATABASE, Fault, LoggedOut, Reader, StoreError, open_unwritable,
};
use crate::engine::durable::watch::Watch;
use crate::event::EventId;

/// A directory that another process of the server had.
#[derive(Debug)]
pub(in crate::engine::durable) struct Taken {
    pub(in crate::engine::durable) disk: Disk,
    /// When everyone was logged out, in Unix milliseconds, if something was missing and this did that.
    pub(in crate::engine::durable) everyone_ms: Option<u64>,
    /// Session changes that the database did not have.
    pub(in crate::engine::durable) replayed: Vec<Change>,
}

impl Disk {
    /// Opens the directory, creates what is missing, and repairs what an earlier process left. On a full disk it is
    /// opened all the same ([`Disk::is_writable`]).
    pub(in crate::engine::durable) fn open(
        directory: &Path,
        options: Options,
        unix_ms: u64,
        logged_out: LoggedOut<'_>,
    ) -> Result<Self, StoreError> {
        let taken = Self::take(directory, options, unix_ms, logged_out, Before::Unknown);
        Ok(taken?.disk)
    }

    /// Opens a directory that another process of the server has just left, or was killed over. That process has verified
    /// what was there before, so only the end is verified.
    pub(in crate::engine::durable) fn take_over(
        directory: &Path,
        options: Options,
        unix_ms: u64,
        logged_out: LoggedOut<'_>,
    ) -> Result<Taken, StoreError> {
        Self::take(directory, options, unix_ms, logged_out, Before::Server)
    }

    fn take(
        directory: &Path,
        options: Options,
        unix_ms: u64,
        logged_out: LoggedOut<'_>,
        before: Before,
    ) -> Result<Taken, StoreError> {
        let lock = DirectoryLock::take(directory, options.lock_patience)?;
        let mut disk = Self {
            directory: directory.to_owned(),
            options,
            store: None,
            log: None,
            mark_file: None,
            mark: Mark::default(),
            newest_stored: EventId::default(),
            are_events_missing: false,
            pending: Pending::default(),
            is_log_dirty: false,
            watch: Watch::default(),
            lock,
        };
        match disk.open_files(unix_ms, logged_out, before) {
            Ok((everyone_ms, replayed)) => Ok(Taken {
                disk,
                everyone_ms,
                replayed,
            }),
            Err(error) if error.fault() == Fault::Other && !has_space(directory) => {
                tracing::error!(%error, path = %directory.display(),
                    "history.path: the disk is full; streams are served, no event is accepted");
                disk.open_unwritable(unix_ms)?;
                Ok(Taken {
                    disk,
                    everyone_ms: None,
                    replayed: Vec::new(),
                })
            }
            Err(error) => Err(error.at_start()),
        }
    }

    /// Tries again what a full disk prevented at the start. Returns when everyone was logged out, in Unix
    /// milliseconds, if this attempt did that.
    pub(in crate::engine::durable) fn reopen(
        &mut self,
        unix_ms: u64,
        logged_out: LoggedOut<'_>,
    ) -> Result<Option<u64>, StoreError> {
        let opened = self.open_files(unix_ms, logged_out, Before::Unknown);
        opened.map(|(everyone_ms, _)| everyone_ms)
    }

    /// Opens the files. Returns when everyone was logged out, if this did that, and the session changes that the database
    /// did not have.
    fn open_files(
        &mut self,
        unix_ms: u64,
        logged_out: LoggedOut<'_>,
        before: Before,
    ) -> Result<(Option<u64>, Vec<Change>), StoreError> {
        // Its changes are read from the file again.
        self.log = None;
        let repaired = repair(
            &self.directory,
            &self.lock,
            self.options,
            unix_ms,
            logged_out,
            before,
        );
        let repaired = match repaired {
            Ok(repaired) => repaired,
            Err(error) => {
                self.resume()?;
                return Err(error);
            }
        };
        let Repaired {
            newest_stored,
            are_events_missing,
            store,
            log,
            mark_file,
            mark,
            everyone_ms,
            replayed,
        } = repaired;
        self.mark = Mark {
            last_id: mark.last_id.max(self.mark.last_id),
            ..mark
        };
        self.newest_stored = newest_stored;
        self.are_events_missing = are_events_missing;
        (self.store, self.log, self.mark_file) = (Some(store), Some(log), Some(mark_file));
        self.pending.clear();
        self.watch()?;
        Ok((everyone_ms, replayed))
    }

    /// Continues with the files as a failed attempt left them. The attempt may have used a number: another change of
    /// the same number would be taken for one that is stored.
    fn resume(&mut self) -> Result<(), StoreError> {
        let (log, found) = SessionLog::open(&self.directory)?;
        let stored = store::changes(&self.directory);
        self.mark.changes = self.mark.changes.max(found.newest).max(stored);
        if let Ok((file, found)) = MarkFile::open(&self.directory) {
            self.mark_file = Some(file);
            self.mark.changes = self.mark.changes.max(found.mark.changes);
        }
        self.log = log;
        Ok(())
    }

    /// Opens what can be read on a disk that cannot be written.
    fn open_unwritable(&mut self, unix_ms: u64) -> Result<(), StoreError> {
        // If these files exist, they can be opened without space.
        let mark = MarkFile::open(&self.directory).ok();
        let (log, found) = SessionLog::open(&self.directory)?;
        let mut found_mark = mark.as_ref().map(|(_, found)| *found).unwrap_or_default();
        found_mark.is_of_history = self.lock.has_history()?;
        let has_witness = found_mark.exists || found.exists;
        let database = match open_unwritable(&self.directory) {
            Ok(None) => Database::New,
            Ok(Some((db, format))) => {
                let verified = Reader::new(&db, format).verify();
                recovery::classify(verified, format == store::FORMAT, &found_mark, &found)
            }
            Err(error) if error.fault() == Fault::Damage && has_witness => Database::Unreadable,
            Err(error) => return Err(error),
        };
        let assessment = assess(database, &found_mark, found);
        assessment.report(&self.directory, self.options.on_damage);
        self.mark = Mark {
            rows: found_mark.mark.rows,
            last_id: assessment.last_id,
            changes: assessment.changes,
        };
        self.newest_stored = assessment.newest_stored;
        self.are_events_missing = assessment.are_events_missing;
        self.mark_file = mark.map(|(file, _)| file);
        self.log = log;
        let everyone = assessment.everyone_out(self.options.on_damage, unix_ms);
        for change in assessment.replay.iter().chain(&everyone) {
            self.pending.add(change);
        }
        if let Some(change) = everyone {
            self.mark.changes = change.number;
            // If the log cannot be written either, the log-out still applies, from memory.
            let _ = self.log_changes(&[change]);
        }
        Ok(())
    }

    /// Watches the files that are open now.
    pub(super) fn watch(&mut self) -> Result<(), StoreError> {
        let [wal, shm] = ["wal", "shm"].map(|name| format!("{DATABASE}-{name}"));
        let names = [LOCK, DATABASE, &wal, &shm, SESSIONS, MARK];
        self.watch = Watch::new(names.map(|name| self.directory.join(name)))?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Fsync, OnDamage};
    use std::fs;
    use std::os::unix::fs::PermissionsExt;
    use std::time::Duration;

    #[test]
    fn a_directory_belongs_to_one_server() {
        let directory = tempfile::tempdir().unwrap();
        let options = Options {
            fsync: Fsync::Interval,
            on_damage: OnDamage::RejectSessions,
            lock_patience: Duration::ZERO,
        };
        let path = directory.path().join("history");
        let open = || Disk::open(&path, options, 0, &|_, before, _| before.to_owned());
        let disk = open().unwrap();
        for file in fs::read_dir(&path).unwrap() {
            let file = file.unwrap();
            let mode = file.metadata().unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o600, "{:?}", file.file_name());
        }
        let mode = fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o700, "others may read it");
        assert!(matches!(open(), Err(StoreError::InUse)));
        disk.close().unwrap();
        assert!(open().is_ok());
    }
}
