//! The reasons why an upgrade does not happen. The old process goes on.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use thiserror::Error;

use crate::hub::engine::NotContinued;
use crate::server::control::UpgradeError;

/// An upgrade has not happened.
#[derive(Debug, Error)]
#[allow(missing_docs)] // each message says it
pub(in crate::server) enum HandoverError {
    #[error(
        "the engine `{0}` cannot be handed over; restart the server instead (its clients reconnect and miss nothing)"
    )]
    Engine(&'static str),
    #[error(
        "no event can be stored now ({0}); upgrade when that is over, or restart the server instead"
    )]
    NotWell(String),
    #[error(
        "history.path: this process keeps its events {ours} and the old one {theirs}; restart the server to change that"
    )]
    History { ours: String, theirs: String },
    #[error(
        "engine: this process uses {ours} and the old one {theirs}; restart the server to change that"
    )]
    SharedLog { ours: String, theirs: String },
    #[error("{program}: {source}", program = program.display())]
    Start { program: PathBuf, source: io::Error },
    #[error(
        "this server is process 1 of its container, which would end with it; replace the container instead (on SIGTERM, \
         the server drains)"
    )]
    FirstOfContainer,
    #[error("the new process declined: {0}")]
    Declined(String),
    #[error("the new process ended too early; its log says why")]
    Ended,
    #[error("the new process did not answer within upgrade_timeout")]
    Late,
    #[error("the new process did not answer within {} s while clients waited", .0.as_secs())]
    Hangs(Duration),
    #[error("the store did not close within {} s", .0.as_secs())]
    StoreHangs(Duration),
    #[error("this process has no keys yet, and the old one has: {0}")]
    NoKeys(String),
    #[error("the new process is too slow: more than {} MiB of events waited for it", .0 >> 20)]
    TooSlow(usize),
    #[error("max_connections ({most}) is below the {connections} streams of the old process")]
    TooMany { connections: u64, most: usize },
    #[error("the other process speaks format {theirs} of the hand-over and this one {ours}")]
    Format { ours: u32, theirs: u32 },
    #[error("the other process sent something unexpected")]
    Unexpected,
    #[error(transparent)]
    NotContinued(#[from] NotContinued),
    #[error("the server is shutting down")]
    Stopping,
    #[error("the shards have ended")]
    ShardsEnded,
    #[error("streams could not be moved; the server's log says why")]
    Streams,
    #[error("the connection to the other process: {0}")]
    Io(#[from] io::Error),
}

impl From<HandoverError> for UpgradeError {
    fn from(error: HandoverError) -> Self {
        let text = error.to_string();
        match error {
            HandoverError::Engine(_)
            | HandoverError::NotWell(_)
            | HandoverError::History { .. }
            | HandoverError::SharedLog { .. }
            | HandoverError::Start { .. }
            | HandoverError::FirstOfContainer
            | HandoverError::Declined(_)
            | HandoverError::Format { .. } => Self::Declined(text),
            _ => Self::Failed(text),
        }
    }
}
