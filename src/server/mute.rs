//! What an upgrade has to do with the supervisor.

use std::os::unix::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::notification;

/// Keeps this process from notifying the supervisor of its phases, not even of those that are waiting. After an upgrade,
/// `STOPPING=1` from the old process would be about the whole service. The watchdog's messages pass: the new process sends
/// its own only once it serves.
#[derive(Clone, Debug, Default)]
pub(super) struct Mute {
    is_silent: Arc<AtomicBool>,
    /// The supervisor, if there is one.
    address: Option<SocketAddr>,
}

impl Mute {
    /// A process that speaks to the supervisor at this address.
    pub(super) fn at(address: SocketAddr) -> Self {
        Self {
            is_silent: Arc::default(),
            address: Some(address),
        }
    }

    /// Falls silent, or speaks again.
    pub(super) fn set(&self, is_silent: bool) {
        self.is_silent.store(is_silent, Ordering::Release);
    }

    /// Returns true while this process is silent.
    pub(super) fn is_set(&self) -> bool {
        self.is_silent.load(Ordering::Acquire)
    }

    /// This process is the main one of the service, whatever another has said. Call it before that one is ended.
    pub(super) fn stay_main(&self) {
        if let Some(address) = &self.address {
            notification::tell(address, &format!("MAINPID={}", std::process::id()));
        }
    }
}
