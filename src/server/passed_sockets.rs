//! Socket activation: listening sockets that a supervisor has bound (`sd_listen_fds(3)`).
//!
//! They outlive the process, so clients that connect during a restart wait instead of being refused. The
//! process needs no privileges for a privileged port.

use std::io;
use std::os::fd::OwnedFd;

use thiserror::Error;

use crate::sys;

/// The `FileDescriptorName=` of sockets for publishers and operators.
const ADMIN: &str = "admin";
/// The `FileDescriptorName=` of sockets for clients with TLS.
const TLS: &str = "tls";

/// Sockets that replace the configured listeners, if any were passed.
#[derive(Debug, Default)]
pub struct PassedSockets {
    /// They replace `listen`.
    pub public: Vec<OwnedFd>,
    /// They replace `tls.listen`.
    pub tls: Vec<OwnedFd>,
    /// They replace `admin_listen`.
    pub admin: Vec<OwnedFd>,
}

/// The passed sockets cannot be used.
#[derive(Debug, Error)]
#[error("LISTEN_FDS: {0} (set by a supervisor; unset it to bind the configured addresses)")]
pub struct PassedError(io::Error);

impl PassedSockets {
    /// The sockets that were passed to this process. Call this once, before the process opens any file.
    ///
    /// # Errors
    /// [`PassedError`].
    pub fn to_this_process() -> Result<Self, PassedError> {
        let mut passed = Self::default();
        for (fd, name) in sys::passed_descriptors().map_err(PassedError)? {
            let sockets = match name.as_str() {
                ADMIN => &mut passed.admin,
                TLS => &mut passed.tls,
                _ => &mut passed.public,
            };
            sockets.push(fd);
        }
        Ok(passed)
    }
}
