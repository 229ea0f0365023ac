//! The open history directory: writes to its files in the right order, and reads them.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::lock::DirectoryLock;
use super::pending::Pending;
use super::space::has_space;
use crate::config::{Fsync, OnDamage};
use crate::engine::durable::mark::{Mark, MarkFile};
use crate::engine::durable::session_log::{Change, SessionLog};
use crate::engine::durable::store::{
    Fault, Reader, Retention, Row, Store, StoreError, open_unwritable,
};
use crate::engine::durable::watch::Watch;
use crate::event::EventId;
use crate::hub::engine::PortableHistory;

/// How the directory is used.
#[derive(Clone, Copy, Debug)]
pub(in crate::engine::durable) struct Options {
    pub(in crate::engine::durable) fsync: Fsync,
    pub(in crate::engine::durable) on_damage: OnDamage,
    /// Longest wait for a process that still has the directory.
    pub(in crate::engine::durable) lock_patience: Duration,
}

/// The open files of one history directory.
#[derive(Debug)]
pub(in crate::engine::durable) struct Disk {
    pub(super) directory: PathBuf,
    pub(super) options: Options,
    /// `None` if the database cannot be written.
    pub(super) store: Option<Store>,
    pub(super) log: Option<SessionLog>,
    pub(super) mark_file: Option<MarkFile>,
    pub(super) mark: Mark,
    /// Id of the newest event that was stored when the directory was opened.
    pub(super) newest_stored: EventId,
    /// Events that were stored were missing when the directory was opened.
    pub(super) are_events_missing: bool,
    pub(super) pending: Pending,
    /// The session log has lines that are not flushed.
    pub(super) is_log_dirty: bool,
    pub(super) watch: Watch,
    /// Held while the directory is open.
    pub(super) lock: DirectoryLock,
}

impl Disk {
    /// Returns true if the database can be written, as far as is known.
    pub(in crate::engine::durable) fn is_writable(&self) -> bool {
        self.store.is_some()
    }

    /// Lets `read` read the database, if there is one.
    pub(in crate::engine::durable) fn read<T>(
        &self,
        read: impl FnOnce(Reader<'_>) -> Result<T, StoreError>,
    ) -> Result<Option<T>, StoreError> {
        if let Some(store) = &self.store {
            return read(store.reader()).map(Some);
        }
        match open_unwritable(&self.directory) {
            Ok(Some((db, format))) => read(Reader::new(&db, format)).map(Some),
            Ok(None) => Ok(None),
            // Reported when it was assessed.
            Err(error) if error.fault() == Fault::Damage => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Id of the newest event that was stored when the directory was opened.
    pub(in crate::engine::durable) fn newest_stored(&self) -> EventId {
        self.newest_stored
    }

    /// Returns true if events that were stored were missing when the directory was opened.
    pub(in crate::engine::durable) fn are_events_missing(&self) -> bool {
        self.are_events_missing
    }

    /// The newest id that was given out.
    pub(in crate::engine::durable) fn last_id(&self) -> EventId {
        self.mark.last_id
    }

    /// Number of the newest session change.
    pub(in crate::engine::durable) fn changes(&self) -> u64 {
        self.mark.changes
    }

    /// How far the history goes.
    pub(in crate::engine::durable) fn end(&self) -> PortableHistory {
        PortableHistory {
            rows: self.mark.rows,
            changes: self.mark.changes,
        }
    }

    /// When everyone was logged out, in Unix milliseconds; 0 for never.
    pub(in crate::engine::durable) fn everyone_ms(&self) -> u64 {
        let stored = self.store.as_ref().map(Store::state).unwrap_or_default();
        stored.everyone_ms.max(self.pending.everyone_ms())
    }

    /// Session changes that the database does not have yet.
    pub(in crate::engine::durable) fn pending(&self) -> &Pending {
        &self.pending
    }

    /// Returns true if the database lacks something that was accepted.
    pub(in crate::engine::durable) fn has_pending(&self) -> bool {
        !self.pending.is_empty()
    }

    /// The stored standing of a user.
    ///
    /// # Errors
    /// If it cannot be read.
    pub(in crate::engine::durable) fn standing(
        &self,
        user: &str,
    ) -> Result<Option<String>, StoreError> {
        if let Some(standing) = self.pending.standing(user) {
            return Ok(Some(standing.to_owned()));
        }
        let store = self.store.as_ref();
        store
            .ok_or_else(|| io::Error::from(io::ErrorKind::StorageFull))?
            .session(user)
    }

    /// Appends session changes to the session log. From then on they can be accepted. Their numbers continue those
    /// of earlier changes without a hole.
    pub(in crate::engine::durable) fn log_changes(
        &mut self,
        changes: &[Change],
    ) -> Result<(), StoreError> {
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

    /// Stores all rows or none, together with the pending session changes. `last_id` is the newest id that was given
    /// out.
    pub(in crate::engine::durable) fn commit(
        &mut self,
        rows: &[Row],
        last_id: EventId,
        limits: Retention,
    ) -> Result<(), StoreError> {
        let Some(store) = &mut self.store else {
            return Err(io::Error::from(io::ErrorKind::StorageFull).into());
        };
        let pending = self.pending.rows();
        store.commit(pending.iter().chain(rows), limits)?;
        self.pending.clear();
        self.mark.rows = store.last();
        self.mark.changes = self.mark.changes.max(store.state().changes);
        self.write_mark(last_id);
        Ok(())
    }

    /// Keeps session changes that are in the session log and that the database refused, until it takes them.
    pub(in crate::engine::durable) fn keep(&mut self, changes: &[Change], last_id: EventId) {
        for change in changes {
            self.pending.add(change);
            self.mark.changes = self.mark.changes.max(change.number);
        }
        self.write_mark(last_id);
    }

    /// Empties the session log if it is long and the database's own file has all of its changes. Otherwise flushes
    /// it if necessary.
    pub(in crate::engine::durable) fn tidy_log(&mut self) -> Result<(), StoreError> {
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

    /// The database, if it can be written.
    pub(in crate::engine::durable) fn store(&self) -> Option<&Store> {
        self.store.as_ref()
    }

    /// A file that was deleted or replaced.
    pub(in crate::engine::durable) fn missing(&self) -> Option<&Path> {
        self.watch.missing()
    }

    /// Returns true if the disk accepts a little more.
    pub(in crate::engine::durable) fn has_space(&self) -> bool {
        has_space(&self.directory)
    }

    /// Returns true if the mark cannot be written, so that a loss of what is stored now could go unnoticed. The next
    /// commit tries again.
    pub(in crate::engine::durable) fn is_mark_failing(&self) -> bool {
        self.mark_file.as_ref().is_some_and(MarkFile::is_failing)
    }

    /// Makes writes of the mark fail as on a broken disk.
    #[cfg(test)]
    pub(in crate::engine::durable) fn break_mark(&mut self, is_broken: bool) {
        let mark = self.mark_file.as_mut();
        mark.unwrap().break_disk(is_broken);
    }

    /// Moves everything into the database's own file.
    pub(in crate::engine::durable) fn close(mut self) -> Result<(), StoreError> {
        if self.is_log_dirty
            && let Some(log) = &mut self.log
        {
            log.flush()?;
        }
        self.store.map_or(Ok(()), Store::close)
    }

    /// Writes the mark, with `last_id` if that is newer.
    fn write_mark(&mut self, last_id: EventId) {
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
}
