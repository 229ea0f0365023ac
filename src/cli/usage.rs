//! The error of a command that was used wrongly.

use thiserror::Error;

/// The command line, or what it reads, is at fault.
#[derive(Debug, Error)]
#[error("{0}")]
pub(super) struct Usage(pub(super) String);
