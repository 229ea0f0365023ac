//! A connection on its way from hyper to a shard.

use std::os::fd::OwnedFd;

use super::returned::Origin;
use crate::tls::Secrets;

/// A connection that has left hyper, and rustls.
#[derive(Debug)]
pub struct Detached {
    pub(crate) fd: OwnedFd,
    /// Where it is encrypted.
    pub(crate) secrets: Option<Secrets>,
    /// What came before its first request.
    pub(super) origin: Origin,
    /// Bytes after its request were discarded. The next bytes may be the rest of another request, so the
    /// connection cannot be used for HTTP again.
    pub(super) lost_input: bool,
}

impl Detached {
    /// A connection that nothing is under way in.
    pub(crate) fn new(fd: OwnedFd, secrets: Option<Secrets>, lost_input: bool) -> Self {
        Self {
            fd,
            secrets,
            origin: Origin::default(),
            lost_input,
        }
    }

    /// The same, with what came before its first request. Some bytes may have been read and thrown
    /// away since.
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
