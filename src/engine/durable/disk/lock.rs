//! The lock file of a history directory: it keeps a second server out, and remembers that there was a history.

use std::fs::{DirBuilder, File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt};
use std::path::Path;

use crate::engine::durable::store::StoreError;

/// The lock's file.
pub(super) const LOCK: &str = "lock";
/// The file's content once there was a history. If the other files are missing then, they were deleted.
const USED: &[u8] = b"used\n";

/// The lock on a history directory, held until it is dropped.
#[derive(Debug)]
pub(super) struct DirectoryLock(File);

impl DirectoryLock {
    /// Locks the directory. Creates it if it is missing.
    pub(super) fn take(directory: &Path) -> Result<Self, StoreError> {
        // Nobody else may read the events. A directory that exists keeps its mode.
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(directory)?;
        // SQLite would let several processes in, and each server would give out ids of its own.
        let lock = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .mode(0o600) // who can open the file can lock it
            .open(directory.join(LOCK))?;
        lock.try_lock().map_err(|error| match error {
            TryLockError::WouldBlock => StoreError::InUse,
            TryLockError::Error(error) => error.into(),
        })?;
        Ok(Self(lock))
    }

    /// Returns true if there was a history in this directory.
    pub(super) fn has_history(&self) -> io::Result<bool> {
        Ok(self.0.metadata()?.len() > 0)
    }

    /// Remembers that there is a history.
    pub(super) fn note_history(&self) -> io::Result<()> {
        self.0.write_all_at(USED, 0)
    }
}
