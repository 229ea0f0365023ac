//! Errors of engines.

use std::error::Error;

use thiserror::Error;

/// The stored data cannot be read.
#[derive(Debug, Error)]
#[error(transparent)]
pub struct OpenError(Box<dyn Error + Send + Sync>);

impl OpenError {
    /// Wraps an error whose text says what is wrong, where, and what to do.
    pub(crate) fn new(error: impl Error + Send + Sync + 'static) -> Self {
        Self(Box::new(error))
    }
}

/// The reason why a request to an engine failed. Except with [`Unknown`](EngineError::Unknown), nothing of the
/// request was done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub(crate) enum EngineError {
    /// It was not confirmed in time. It may have been done, or may still be.
    #[error(
        "not confirmed within 2 s; it may have been done, so send it again (an event with the same id is stored once)"
    )]
    Unknown,
    /// The store of all nodes cannot be reached.
    #[error(
        "the store of all nodes cannot be reached; send it again in a second (/readyz says why)"
    )]
    Away,
    /// The memory of Redis is used up.
    #[error("Redis is out of memory; raise its maxmemory, or lower engine.max_bytes")]
    StoreFull,
    /// The store refuses to write.
    #[error("the store of all nodes refused it; the server's log says why")]
    StoreRefused,
    /// Delivery is so far behind that accepting more would only grow memory.
    #[error("delivery is behind; publish again in a second")]
    Behind,
    /// The history is not open: it is being read, or the server goes down.
    #[error("the history is not open; publish again in a second")]
    NotOpen,
    /// The disk refused it.
    #[error("the history cannot be written; the server's log says why")]
    NotStored,
    /// The disk has no space.
    #[error("the disk of history.path is full; make room, which is noticed within a second")]
    Full,
    /// Another process writes to the database, or keeps others from it.
    #[error("another process holds the history's database locked; end that process")]
    Locked,
    /// The stored data could not be flushed.
    #[error("the history could not be flushed to the disk; it is being written again")]
    Unflushed,
    /// Another process reads the database and keeps its log from shrinking.
    #[error(
        "another process reads the history's database, whose log is at its limit; end that process"
    )]
    Overgrown,
    /// Files were deleted or replaced.
    #[error("files of history.path were deleted or replaced; put them back, or restart the server")]
    Gone,
}
