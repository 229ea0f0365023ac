//! Socket activation: listening sockets that a supervisor has bound (`sd_listen_fds(3)`).
//!
//! They outlive the process, so that clients that come during a restart wait instead of being
//! refused, and a privileged port needs no privilege here.

use std::io;
use std::os::fd::OwnedFd;

use thiserror::Error;

use crate::sys;

/// The name (`FileDescriptorName=`) of sockets for publishers and operators.
const ADMIN: &str = "admin";
/// The name of sockets for clients that come with TLS.
const TLS: &str = "tls";

/// Sockets to serve on in place of what the configuration names, where there are any.
#[derive(Debug, Default)]
pub struct Passed {
    /// In place of `listen`.
    pub public: Vec<OwnedFd>,
    /// In place of `tls.listen`.
    pub tls: Vec<OwnedFd>,
    /// In place of `admin_listen`.
    pub admin: Vec<OwnedFd>,
}

/// What was passed cannot be taken.
#[derive(Debug, Error)]
#[error("LISTEN_FDS: {0} (set by a supervisor; unset it to bind what the configuration names)")]
pub struct PassedError(io::Error);

impl Passed {
    /// What this process was started with. To be asked once, before the process opens anything.
    ///
    /// # Errors
    /// [`PassedError`].
    pub fn to_this_process() -> Result<Self, PassedError> {
        let mut passed = Self::default();
        for (fd, name) in sys::passed_descriptors().map_err(PassedError)? {
            let of_its_kind = match name.as_str() {
                ADMIN => &mut passed.admin,
                TLS => &mut passed.tls,
                _ => &mut passed.public,
            };
            of_its_kind.push(fd);
        }
        Ok(passed)
    }
}
