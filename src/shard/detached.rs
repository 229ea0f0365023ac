//! A connection on its way from hyper to a shard.

use std::os::fd::OwnedFd;

use super::returned::Origin;
use crate::tls::Secrets;

/// A connection that was taken out of hyper.
#[derive(Debug)]
pub struct Detached {
    pub(crate) fd: OwnedFd,
    /// The TLS secrets, if the connection is encrypted.
    pub(crate) secrets: Option<Secrets>,
    /// What preceded its first request.
    pub(super) origin: Origin,
    /// Input after its request was discarded. The next bytes may be the rest of another request, so the
    /// connection cannot be used for HTTP again.
    pub(super) lost_input: bool,
}

impl Detached {
    /// Creates one from a socket with no output pending.
    pub(crate) fn new(fd: OwnedFd, secrets: Option<Secrets>, lost_input: bool) -> Self {
        Self {
            fd,
            secrets,
            origin: Origin::default(),
            lost_input,
        }
    }

    /// Returns true if input after its request was discarded.
    pub(crate) fn has_lost_input(&self) -> bool {
        self.lost_input
    }

    /// Adds what preceded its first request. `lost_input` is true if input has been discarded since.
    #[must_use]
    pub(crate) fn of(mut self, origin: Origin, lost_input: bool) -> Self {
        self.origin = origin;
        self.lost_input |= lost_input;
        self
    }
}

impl From<OwnedFd> for Detached {
    /// A connection without TLS.
    fn from(fd: OwnedFd) -> Self {
        Self::new(fd, None, false)
    }
}
