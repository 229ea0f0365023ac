//! `[history]`: what the log retains, and where.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::checks::at_least;
use super::choice::choice;
use super::section::section;
use super::units::Size;

section! {
    /// `[history]`: what the log retains, and where.
    pub struct History {
        /// Largest size of the events kept for replay.
        pub max_bytes: usize as Size = 64 * 1024 * 1024, check at_least(1);
        /// Longest time that events are kept for replay.
        pub max_age: Duration = Duration::from_secs(10 * 60),
            check at_least(Duration::from_millis(1));
        /// A directory that keeps the history across restarts; "" = only in memory.
        pub path: Option<PathBuf> = None, check directory;
        /// Flush once per second; or "always": before each 202.
        pub fsync: Fsync = Fsync::Interval;
        /// If session changes may be missing, all sessions end; or "accept" (history.md).
        pub on_damage: OnDamage = OnDamage::RejectSessions;
    }
}

choice! {
    /// When the directory of `history.path` is flushed to the disk. In either case an accepted event
    /// survives the end of the process; the difference is a crash of the machine.
    pub enum Fsync {
        /// Once a second.
        Interval = "interval",
        /// Before an event is accepted.
        Always = "always",
    }
}

choice! {
    /// What happens to sessions if the history is found damaged at start, so that session changes may be
    /// missing.
    pub enum OnDamage {
        /// All sessions end, and everyone has to log in again.
        RejectSessions = "reject_sessions",
        /// Sessions continue, and revoked tokens may be accepted again.
        Accept = "accept",
    }
}

/// The server creates the directory when it starts; the parent directory must exist.
#[allow(clippy::ref_option)] // as all checks get their value
fn directory(path: &Option<PathBuf>) -> Result<(), String> {
    let Some(path) = path.as_deref().filter(|path| !path.is_dir()) else {
        return Ok(());
    };
    let rejected = |problem: String| Err(format!("`{}` {problem}", path.display()));
    if path.exists() {
        return rejected(
            "is not a directory (name a directory; it is created if missing)".to_owned(),
        );
    }
    let parent = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    if parent.is_dir() {
        return Ok(());
    }
    rejected(format!(
        "cannot be created: `{}` is not a directory (mkdir -p it)",
        parent.display()
    ))
}
