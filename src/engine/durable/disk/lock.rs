//! The lock file of a history directory: it keeps a second server out, and remembers that there was a history.

use std::fs::{DirBuilder, File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt};
use std::path::Path;
use std::time::Duration;

use crate::clock::{Clock, millis};
use crate::engine::durable::store::StoreError;

/// The lock's file.
pub(super) const LOCK: &str = "lock";
/// The file's content once there was a history. If the other files are missing then, they were deleted.
const USED: &[u8] = b"used\n";
/// Time between two attempts to take a lock that another process still has.
const RETRY: Duration = Duration::from_millis(5);

/// The lock on a history directory, held until it is dropped.
#[derive(Debug)]
pub(super) struct DirectoryLock(File);

impl DirectoryLock {
    /// Locks the directory. Creates it if it is missing. Waits for at most `patience` if another process has it.
    pub(super) fn take(directory: &Path, patience: Duration) -> Result<Self, StoreError> {
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
        // Real time, whatever clock the server runs on: the other process uses it, too.
        let clock = Clock::system();
        loop {
            match lock.try_lock() {
                Ok(()) => return Ok(Self(lock)),
                Err(TryLockError::WouldBlock) if clock.now_ms() < millis(patience) => {
                    std::thread::sleep(RETRY);
                }
                Err(TryLockError::WouldBlock) => return Err(StoreError::InUse),
                Err(TryLockError::Error(error)) => return Err(error.into()),
            }
        }
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

impl Drop for DirectoryLock {
    fn drop(&mut self) {
        // Closing the file is not enough: a program that another thread is just starting has a copy of the descriptor until
        // its `exec`, and the lock would stay with it. If it cannot be unlocked, closing releases it a moment later.
        let _ = self.0.unlock();
    }
}

#[cfg(test)]
mod tests {
    use std::process::Command;
    use std::sync::atomic::{AtomicBool, Ordering};

    use super::*;

    #[test]
    fn a_lock_that_was_dropped_is_free_even_while_other_threads_start_programs() {
        let directory = tempfile::tempdir().unwrap();
        let is_over = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while !is_over.load(Ordering::Relaxed) {
                    assert!(Command::new("true").status().unwrap().success());
                }
            });
            let taken = (0..20_000).map(|_| DirectoryLock::take(directory.path(), Duration::ZERO));
            let refused = taken.filter(Result::is_err).count();
            is_over.store(true, Ordering::Relaxed);
            assert_eq!(refused, 0);
        });
    }
}
