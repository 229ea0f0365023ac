//! The directory of `history.path`: the database, the session log, the mark, and a lock that keeps
//! a second server out.
//!
//! A session change is on its way to the session log first, then to the database, then the mark
//! tells of it. Where the database takes nothing, the session log alone is enough to accept a
//! change; the database gets it later.

use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use hashbrown::HashMap;

use super::mark::{MARK, Mark, MarkFile};
use super::recovery::{self, Assessment, Database, assess};
use super::session_log::{Change, SESSIONS, SessionLog, What};
use super::store::{
    self, DATABASE, Fault, LoggedOut, Reader, Retention, Row, Store, StoreError, StoreState,
    open_unwritable, rebuild,
};
use super::watch::Watch;
use crate::config::{Fsync, OnDamage};
use crate::event::EventId;

const LOCK: &str = "lock";
/// In the lock once there was a history: if its files are gone, they were deleted.
const USED: &[u8] = b"used\n";
/// What is written to see whether there is space: more than a commit of one event takes.
const PROBE_BYTES: usize = 64 * 1024;
const PROBE: &str = "probe";

/// How the directory is used.
#[derive(Clone, Copy, Debug)]
pub(super) struct Options {
    pub(super) fsync: Fsync,
    pub(super) on_damage: OnDamage,
}

/// The open files of one history directory.
#[derive(Debug)]
pub(super) struct Disk {
    directory: PathBuf,
    options: Options,
    /// Nothing where the database cannot be written.
    store: Option<Store>,
    log: Option<SessionLog>,
    mark_file: Option<MarkFile>,
    mark: Mark,
    /// Of the events that were there when it was opened.
    newest_stored: EventId,
    /// Of those, some are missing.
    are_events_missing: bool,
    /// Session changes that the database has not got, by user.
    pending: HashMap<String, (u64, String)>,
    /// When everyone was logged out, where the database does not know it; 0 for never.
    pending_everyone: (u64, u64),
    /// The session log has what was not flushed.
    is_log_dirty: bool,
    watch: Watch,
    /// Held as long as the directory is open.
    lock: File,
}

/// A directory in order.
struct Recovered {
    newest_stored: EventId,
    are_events_missing: bool,
    store: Store,
    log: SessionLog,
    mark_file: MarkFile,
    mark: Mark,
    /// When everyone was logged out, if that was now.
    everyone_ms: Option<u64>,
}

impl Disk {
    /// Opens the directory, makes what is missing of it, and puts in order what an earlier process
    /// left. On a full disk it is open all the same, to be read, and takes session changes as long
    /// as space was set aside for them ([`Disk::is_writable`]).
    pub(super) fn open(
        directory: &Path,
        options: Options,
        unix_ms: u64,
        logged_out: LoggedOut<'_>,
    ) -> Result<Self, StoreError> {
        let lock = lock(directory)?;
        let mut disk = Self {
            directory: directory.to_owned(),
            options,
            store: None,
            log: None,
            mark_file: None,
            mark: Mark::default(),
            newest_stored: EventId::default(),
            are_events_missing: false,
            pending: HashMap::new(),
            pending_everyone: (0, 0),
            is_log_dirty: false,
            watch: Watch::default(),
            lock,
        };
        match disk.reopen(unix_ms, logged_out) {
            Ok(_) => Ok(disk),
            Err(error) if error.fault() == Fault::Other && !has_space(directory) => {
                tracing::error!(%error, path = %directory.display(),
                    "history.path: the disk is full; streams are served, no event is accepted");
                disk.make_do(unix_ms)?;
                Ok(disk)
            }
            Err(error) => Err(error.at_start()),
        }
    }

    /// Tries again what a full disk prevented at the start. Returns when everyone was logged out, in
    /// Unix milliseconds, if that was now.
    pub(super) fn reopen(
        &mut self,
        unix_ms: u64,
        logged_out: LoggedOut<'_>,
    ) -> Result<Option<u64>, StoreError> {
        // Its changes are read from the file again.
        self.log = None;
        let recovered = recover(
            &self.directory,
            &self.lock,
            self.options,
            unix_ms,
            logged_out,
        );
        let recovered = match recovered {
            Ok(recovered) => recovered,
            Err(error) => {
                self.pick_up()?;
                return Err(error);
            }
        };
        let Recovered {
            newest_stored,
            are_events_missing,
            store,
            log,
            mark_file,
            mark,
            everyone_ms,
        } = recovered;
        self.mark = Mark {
            last_id: mark.last_id.max(self.mark.last_id),
            ..mark
        };
        self.newest_stored = newest_stored;
        self.are_events_missing = are_events_missing;
        (self.store, self.log, self.mark_file) = (Some(store), Some(log), Some(mark_file));
        self.pending.clear();
        self.pending_everyone = (0, 0);
        self.watch()?;
        Ok(everyone_ms)
    }

    /// Goes on with the files as an attempt left them that failed. It may have used a number: a
    /// change of the same one would be taken for stored.
    fn pick_up(&mut self) -> Result<(), StoreError> {
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

    /// Goes on with what can be read where nothing can be written.
    fn make_do(&mut self, unix_ms: u64) -> Result<(), StoreError> {
        // Neither needs space if it is there.
        let mark = MarkFile::open(&self.directory).ok();
        let (log, found) = SessionLog::open(&self.directory)?;
        let mut found_mark = mark.as_ref().map(|(_, found)| *found).unwrap_or_default();
        found_mark.is_of_history = self.lock.metadata()?.len() > 0;
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
        assessment.tell(&self.directory, self.options.on_damage);
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
        for change in assessment.replay.into_iter().chain(everyone.clone()) {
            self.pend(&change);
        }
        if let Some(change) = everyone {
            self.mark.changes = change.number;
            // In memory it holds all the same.
            let _ = self.log_changes(&[change]);
        }
        Ok(())
    }

    /// Whether the database can be written, as far as is known.
    pub(super) fn is_writable(&self) -> bool {
        self.store.is_some()
    }

    /// Lets `read` read the database, if there is one.
    pub(super) fn read<T>(
        &self,
        read: impl FnOnce(Reader<'_>) -> Result<T, StoreError>,
    ) -> Result<Option<T>, StoreError> {
        if let Some(store) = &self.store {
            return read(store.reader()).map(Some);
        }
        match open_unwritable(&self.directory) {
            Ok(Some((db, format))) => read(Reader::new(&db, format)).map(Some),
            Ok(None) => Ok(None),
            // Told of when it was judged.
            Err(error) if error.fault() == Fault::Damage => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Id of the newest event that was stored when it was opened.
    pub(super) fn newest_stored(&self) -> EventId {
        self.newest_stored
    }

    /// Whether events that were stored were missing when it was opened.
    pub(super) fn are_events_missing(&self) -> bool {
        self.are_events_missing
    }

    /// The newest id that was given out.
    pub(super) fn last_id(&self) -> EventId {
        self.mark.last_id
    }

    /// Number of the newest session change.
    pub(super) fn changes(&self) -> u64 {
        self.mark.changes
    }

    /// When everyone was logged out, in Unix milliseconds; 0 for never.
    pub(super) fn everyone_ms(&self) -> u64 {
        let stored = self.store.as_ref().map(Store::state).unwrap_or_default();
        stored.everyone_ms.max(self.pending_everyone.1)
    }

    /// The log-out of everyone that the database has not got: its number, and when it was.
    pub(super) fn pending_everyone(&self) -> Option<(u64, u64)> {
        Some(self.pending_everyone).filter(|(number, _)| *number > 0)
    }

    /// Session changes that the database has not got: number, user, standing.
    pub(super) fn pending(&self) -> impl Iterator<Item = (u64, &str, &str)> {
        let pending = self.pending.iter();
        pending.map(|(user, (number, standing))| (*number, user.as_str(), standing.as_str()))
    }

    /// Whether the database has not got everything that was accepted.
    pub(super) fn has_pending(&self) -> bool {
        !self.pending.is_empty() || self.pending_everyone().is_some()
    }

    /// What is stored of a user's sessions. An error where that cannot be read.
    pub(super) fn standing(&self, user: &str) -> Result<Option<String>, StoreError> {
        if let Some((_, standing)) = self.pending.get(user) {
            return Ok(Some(standing.clone()));
        }
        let store = self.store.as_ref();
        store
            .ok_or_else(|| io::Error::from(io::ErrorKind::StorageFull))?
            .session(user)
    }

    /// Puts session changes into the session log: from now on they can be accepted. They follow the
    /// newest one without a hole.
    pub(super) fn log_changes(&mut self, changes: &[Change]) -> Result<(), StoreError> {
        let Some(log) = &mut self.log else {
            return Err(io::Error::from(io::ErrorKind::StorageFull).into());
        };
        log.append(changes)?;
        match self.options.fsync {
            Fsync::Always => log.flush()?,
            Fsync::Interval => self.is_log_dirty = true,
        }
        Ok(())
    }

    /// Stores all of these or nothing, together with the session changes that wait for it. The
    /// newest id that was given out is `last_id`.
    pub(super) fn commit(
        &mut self,
        rows: &[Row],
        last_id: EventId,
        limits: Retention,
    ) -> Result<(), StoreError> {
        let everyone = self
            .pending_everyone()
            .map(|(number, logged_out_ms)| Row::Everyone {
                number,
                logged_out_ms,
            });
        let Some(store) = &mut self.store else {
            return Err(io::Error::from(io::ErrorKind::StorageFull).into());
        };
        let pending: Vec<Row> = self
            .pending
            .iter()
            .map(|(user, (number, standing))| Row::Session {
                number: *number,
                user: user.clone(),
                standing: standing.clone(),
            })
            .chain(everyone)
            .collect();
        store.commit(pending.iter().chain(rows), limits)?;
        self.pending.clear();
        self.pending_everyone = (0, 0);
        self.mark.rows = store.last();
        self.mark.changes = self.mark.changes.max(store.state().changes);
        self.note(last_id);
        Ok(())
    }

    /// Goes on with session changes that are in the session log and that the database did not take.
    pub(super) fn keep(&mut self, changes: &[Change], last_id: EventId) {
        for change in changes {
            self.pend(change);
            self.mark.changes = self.mark.changes.max(change.number);
        }
        self.note(last_id);
    }

    /// Makes the session log short where that is due, and flushes it where it is dirty. What it
    /// holds is in the database's own file by then, or it stays as it is.
    pub(super) fn tidy_log(&mut self) -> Result<(), StoreError> {
        let (Some(store), Some(log)) = (&self.store, &mut self.log) else {
            return Ok(());
        };
        let is_due = log.is_long() && self.pending.is_empty();
        if is_due && store.checkpoint(false).is_ok() {
            log.reset(store.state().changes)?;
            self.is_log_dirty = false;
            return self.watch();
        }
        if self.is_log_dirty {
            self.is_log_dirty = false;
            log.flush()?;
        }
        Ok(())
    }

    pub(super) fn store(&self) -> Option<&Store> {
        self.store.as_ref()
    }

    /// A file that was deleted or replaced.
    pub(super) fn missing(&self) -> Option<&Path> {
        self.watch.missing()
    }

    /// Whether the disk takes a little more.
    pub(super) fn has_space(&self) -> bool {
        has_space(&self.directory)
    }

    /// Whether the mark cannot be written: a loss of what is stored now could go unnoticed. The next
    /// commit tries again.
    pub(super) fn is_mark_failing(&self) -> bool {
        self.mark_file.as_ref().is_some_and(MarkFile::is_failing)
    }

    /// Makes writes of the mark fail as on a broken disk.
    #[cfg(test)]
    pub(super) fn break_mark(&mut self, is_broken: bool) {
        let mark = self.mark_file.as_mut();
        mark.unwrap().break_disk(is_broken);
    }

    /// Moves everything into the database's own file.
    pub(super) fn close(mut self) -> Result<(), StoreError> {
        if self.is_log_dirty
            && let Some(log) = &mut self.log
        {
            log.flush()?;
        }
        self.store.map_or(Ok(()), Store::close)
    }

    fn pend(&mut self, change: &Change) {
        match &change.what {
            What::Session { user, standing } => {
                let newest = (change.number, standing.clone());
                self.pending.insert(user.clone(), newest);
            }
            What::Everyone { logged_out_ms } => {
                let at_ms = self.pending_everyone.1.max(*logged_out_ms);
                self.pending_everyone = (change.number, at_ms);
            }
        }
    }

    fn note(&mut self, last_id: EventId) {
        self.mark.last_id = self.mark.last_id.max(last_id);
        let Some(file) = &mut self.mark_file else {
            return;
        };
        let was_failing = file.is_failing();
        if let Err(error) = file.write(self.mark)
            && !was_failing
        {
            tracing::error!(%error,
                "history.path: the mark cannot be written; no event is accepted until that works again");
        }
    }

    fn watch(&mut self) -> Result<(), StoreError> {
        let [wal, shm] = ["wal", "shm"].map(|name| format!("{DATABASE}-{name}"));
        let names = [LOCK, DATABASE, &wal, &shm, SESSIONS, MARK];
        self.watch = Watch::new(names.map(|name| self.directory.join(name)))?;
        Ok(())
    }
}

/// Makes the directory, and keeps other servers out of it.
fn lock(directory: &Path) -> Result<File, StoreError> {
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
    Ok(lock)
}

/// Puts in order what an earlier process left.
fn recover(
    directory: &Path,
    lock: &File,
    options: Options,
    unix_ms: u64,
    logged_out: LoggedOut<'_>,
) -> Result<Recovered, StoreError> {
    // One that was interrupted.
    store::finish(directory, true)?;
    let (mut mark_file, mut mark) = MarkFile::open(directory)?;
    mark.is_of_history = lock.metadata()?.len() > 0;
    let (log, found) = SessionLog::open(directory)?;
    let has_witness = mark.exists || found.exists;
    let store = match Store::open(directory, options.fsync) {
        Ok(store) => Some(store),
        // Without a witness it might be anybody's file.
        Err(error) if error.fault() == Fault::Damage && has_witness => {
            tracing::warn!(%error, "history.path: the database cannot be read; making a new one");
            None
        }
        Err(error) => return Err(error),
    };
    let database = store.as_ref().map_or(Database::Unreadable, |store| {
        recovery::classify(store.reader().verify(), store.is_current(), &mark, &found)
    });
    let (has_records, newest_in_log) = (!found.changes.is_empty(), found.newest);
    let is_old = matches!(database, Database::Old(_));
    let assessment = assess(database, &mark, found);
    assessment.tell(directory, options.on_damage);
    let everyone = assessment.everyone_out(options.on_damage, unix_ms);
    let rows: Vec<Row> = assessment.replay.iter().chain(&everyone).map(row).collect();
    let log = match log {
        // Before the database is this version's: interrupted behind that, the next start would find
        // it without a witness, as if session changes were missing.
        None if is_old => Some(SessionLog::create(directory, 0)?),
        log => log,
    };
    let store = if assessment.is_rebuilt {
        let reader = store.as_ref().map(Store::reader);
        let old = store.as_ref().map(Store::state).unwrap_or_default();
        let before = StoreState {
            // What was stored before changes were numbered counts as one: none of it is anywhere
            // else.
            changes: assessment.changes.max(1),
            ..old
        };
        rebuild(directory, reader, &rows, before, logged_out)?;
        drop(store);
        store::finish(directory, assessment.is_damaged)?;
        Store::open(directory, options.fsync)?
    } else {
        let mut store = store.ok_or_else(|| io::Error::other("no database"))?;
        let everything = Retention {
            retained: usize::MAX,
            sources_from_ms: 0,
        };
        if !rows.is_empty() {
            store.commit(&rows, everything)?;
        }
        store
    };
    let changes = store.state().changes;
    // One that was made anew is on the disk.
    let is_flushed = store.checkpoint(false).is_ok() || assessment.is_rebuilt;
    let is_log_stale = has_records || assessment.is_damaged || newest_in_log != changes;
    let log = match log {
        Some(mut log) => {
            if is_flushed && is_log_stale {
                log.reset(changes)?;
            }
            log
        }
        None => SessionLog::create(directory, changes)?,
    };
    let mark = Mark {
        rows: store.last(),
        last_id: assessment.last_id,
        changes,
    };
    mark_file.rewrite(mark)?;
    lock.write_all_at(USED, 0)?;
    // A full disk is reported now and not with the first event.
    store.probe()?;
    Ok(Recovered {
        newest_stored: assessment.newest_stored,
        are_events_missing: assessment.are_events_missing,
        store,
        log,
        mark_file,
        mark,
        everyone_ms: everyone.map(|change| match change.what {
            What::Everyone { logged_out_ms } => logged_out_ms,
            What::Session { .. } => 0,
        }),
    })
}

fn row(change: &Change) -> Row {
    let number = change.number;
    match change.what.clone() {
        What::Session { user, standing } => Row::Session {
            number,
            user,
            standing,
        },
        What::Everyone { logged_out_ms } => Row::Everyone {
            number,
            logged_out_ms,
        },
    }
}

/// Whether the disk takes a little more: what SQLite says to a full one is not always that.
fn has_space(directory: &Path) -> bool {
    let path = directory.join(PROBE);
    let written = fs::write(&path, vec![0; PROBE_BYTES]);
    // Where it is left, the next one replaces it.
    let _ = fs::remove_file(&path);
    !written.is_err_and(|error| {
        matches!(
            error.kind(),
            io::ErrorKind::StorageFull
                | io::ErrorKind::QuotaExceeded
                | io::ErrorKind::FileTooLarge
                | io::ErrorKind::ReadOnlyFilesystem
        )
    })
}

impl Assessment {
    /// The change that logs everyone out, where session changes may be missing.
    fn everyone_out(&self, on_damage: OnDamage, unix_ms: u64) -> Option<Change> {
        if self.are_sessions_complete || on_damage == OnDamage::Accept {
            return None;
        }
        // What is missing may be as new as the newest id, whatever the clock says now.
        let logged_out_ms = unix_ms.max(self.last_id.ms);
        let what = What::Everyone { logged_out_ms };
        Some(Change::new(self.changes + 1, self.last_id, what))
    }

    /// Says in the log what is missing.
    fn tell(&self, directory: &Path, on_damage: OnDamage) {
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
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn a_directory_is_one_servers() {
        let directory = tempfile::tempdir().unwrap();
        let options = Options {
            fsync: Fsync::Interval,
            on_damage: OnDamage::RejectSessions,
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
