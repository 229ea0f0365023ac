//! The error for wrong usage of a command.

use thiserror::Error;

/// An error in the command line, or in a file or variable that it reads.
#[derive(Debug, Error)]
#[error("{0}")]
pub(super) struct UsageError(pub(super) String);
