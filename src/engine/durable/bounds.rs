//! How much of the disk the write-ahead log may take.

/// How large SQLite's write-ahead log may get while another process's open transaction keeps it from
/// being emptied.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bounds {
    /// Beyond it the log says so.
    pub(super) wal_warn_bytes: u64,
    /// Beyond it no event is accepted: what is left of the disk is for session changes.
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
