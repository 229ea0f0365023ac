//! Finds out whether the disk is full.

use std::fs;
use std::io;
use std::path::Path;

/// The file that is written to find out.
const PROBE: &str = "probe";
/// Its size: more than a commit of one event needs.
const PROBE_BYTES: usize = 64 * 1024;

/// Returns true if the disk accepts a little more. SQLite's error codes do not always tell that a disk is full.
pub(super) fn has_space(directory: &Path) -> bool {
    let path = directory.join(PROBE);
    let written = fs::write(&path, vec![0; PROBE_BYTES]);
    // A file that cannot be removed is overwritten by the next probe.
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
