//! Bounds of the write-ahead log.

/// How large SQLite's write-ahead log may get while an open transaction of another process keeps it from
/// being emptied.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bounds {
    /// Beyond it, a warning is logged.
    pub(super) wal_warn_bytes: u64,
    /// Beyond it, no event is accepted: the rest of the disk is left for session changes.
    pub(super) wal_max_bytes: u64,
}

impl Default for Bounds {
    fn default() -> Self {
        Self {
            wal_warn_bytes: 64 << 20,
            wal_max_bytes: 1 << 30,
        }
    }
}
