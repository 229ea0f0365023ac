//! Errors of the history's directory and its database.

use std::io;

use rusqlite::ErrorCode;

use super::tables::{DATABASE, FORMAT};

/// The reason why the directory cannot be used.
#[derive(Debug, thiserror::Error)]
pub(in crate::engine::durable) enum StoreError {
    #[error("is in use by another server; stop that one, or name another directory")]
    InUse,
    #[error("{0} (it has to be a directory that this user may write)")]
    Io(#[from] io::Error),
    #[error("{0}")]
    Database(#[from] rusqlite::Error),
    #[error(
        "{0} (if `{DATABASE}` is damaged, move it and `{DATABASE}-wal` away, and leave the other files: events are lost then, but users who were logged out stay logged out)"
    )]
    Refused(rusqlite::Error),
    #[error(
        "is on a file system that SQLite's write-ahead log does not work on (its mode stays {0}); name a directory on a local disk"
    )]
    NoWal(String),
    #[error("cannot be flushed: {0} pages of the log were left")]
    Unflushed(i64),
    #[error(
        "was written by another version (format {0}, not {FORMAT}); use that version, or move `{DATABASE}` and `{DATABASE}-wal` away, and leave the other files: events are lost then, but users who were logged out stay logged out"
    )]
    Format(i64),
    #[error("has not the end that the old process has handed over")]
    NotHandedOver,
    #[error("{table}: {what} cannot be read: {why}; move the directory away to start without it")]
    Unreadable {
        table: &'static str,
        what: String,
        why: String,
    },
}

/// The cause of an error, as far as the server reacts to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::engine::durable) enum Fault {
    /// The content of the file is wrong.
    Damage,
    /// Another process holds a lock.
    Locked,
    Other,
}

impl StoreError {
    /// The error as it is shown at a start, with a way out.
    pub(in crate::engine::durable) fn at_start(self) -> Self {
        match self {
            Self::Database(error) if is_forbidden(&error) => Self::Io(io::Error::other(error)),
            Self::Database(error) => Self::Refused(error),
            other => other,
        }
    }

    pub(in crate::engine::durable) fn fault(&self) -> Fault {
        match self {
            Self::Database(rusqlite::Error::SqliteFailure(error, _)) => match error.code {
                ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked => Fault::Locked,
                ErrorCode::DatabaseCorrupt
                | ErrorCode::NotADatabase
                // "no such table": its schema is another.
                | ErrorCode::Unknown => Fault::Damage,
                _ => Fault::Other,
            },
            // A column of another type, or a schema that has other columns.
            Self::Database(_) => Fault::Damage,
            Self::Unflushed(_) => Fault::Locked,
            _ => Fault::Other,
        }
    }
}

/// Returns true if the mode of a file or of the directory is the reason.
fn is_forbidden(error: &rusqlite::Error) -> bool {
    matches!(
        error.sqlite_error_code(),
        Some(ErrorCode::CannotOpen | ErrorCode::PermissionDenied | ErrorCode::ReadOnly)
    )
}
