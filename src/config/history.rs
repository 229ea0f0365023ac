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
        /// What a client that comes back may have missed.
        pub max_bytes: usize as Size = 64 * 1024 * 1024, check at_least(1);
        /// How old that may be.
        pub max_age: Duration = Duration::from_secs(10 * 60),
            check at_least(Duration::from_millis(1));
        /// A directory that holds it across restarts; "" = memory alone.
        pub path: Option<PathBuf> = None, check directory;
        /// Flush once per second; or "always": a 202 means on the disk.
        pub fsync: Fsync = Fsync::Interval;
        /// What happens to sessions if session changes may be missing; or "accept" (history.md).
        pub on_damage: OnDamage = OnDamage::RejectSessions;
    }
}

choice! {
    /// When the directory of `history.path` is flushed to the disk. In either case an event that was
    /// accepted outlives the process; the difference is a crash of the machine.
    pub enum Fsync {
        /// Once a second.
        Interval = "interval",
        /// Before an event is accepted.
        Always = "always",
    }
}

choice! {
    /// What happens to sessions at a start that finds the history damaged, so that session changes
    /// may be missing.
    pub enum OnDamage {
        /// All of them end: whoever logged in before has to do so again.
        RejectSessions = "reject_sessions",
        /// They go on, and tokens that were revoked may be good again.
        Accept = "accept",
    }
}

/// The directory is made when the server starts; its parent has to be there.
#[allow(clippy::ref_option)] // as all checks get their value
fn directory(path: &Option<PathBuf>) -> Result<(), String> {
    let Some(path) = path.as_deref().filter(|path| !path.is_dir()) else {
        return Ok(());
    };
    let rejected = |problem: String| Err(format!("`{}` {problem}", path.display()));
    if path.exists() {
        return rejected("is no directory (name one, it is made where it is missing)".to_owned());
    }
    let parent = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    if parent.is_dir() {
        return Ok(());
    }
    rejected(format!(
        "cannot be made: `{}` is no directory (mkdir -p it)",
        parent.display()
    ))
}
