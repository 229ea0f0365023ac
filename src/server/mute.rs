//! Whether this process notifies the supervisor.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Keeps this process from notifying the supervisor, not even of what is waiting. After an upgrade, `STOPPING=1` from
/// the old process would be about the whole service.
#[derive(Clone, Debug, Default)]
pub(super) struct Mute(Arc<AtomicBool>);

impl Mute {
    /// Falls silent, or speaks again.
    pub(super) fn set(&self, is_silent: bool) {
        self.0.store(is_silent, Ordering::Release);
    }

    /// Returns true while this process is silent.
    pub(super) fn is_set(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }
}
