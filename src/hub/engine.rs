//! What a store of events and session changes has to do. Engines append to the log; everything else
//! reads it, so that an event takes one path whatever the engine.

use std::error::Error;
use std::future::Future;
use std::pin::Pin;

use serde::Serialize;
use thiserror::Error;

use crate::event::{Draft, EventId, SessionDraft};

/// What an engine's calls return.
pub(crate) type Answer<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;
/// An id that is in the log, or will be when it has been tailed.
pub(crate) type Accepted = Result<EventId, EngineError>;

/// Drafts that are published together: many to a commit, few enough that nobody waits behind them
/// for long.
pub(crate) const MAX_DRAFTS: usize = 256;

/// A store of events. An id that is returned stands for an event that was accepted and stored.
pub(crate) trait Engine: Send + Sync {
    /// Which one it is, for people.
    fn kind(&self) -> &'static str;

    /// Reads what is stored. Called once, when no descriptor that is opened from now on is copied
    /// into a shard's table, and before anything else is asked.
    fn open(&self) -> Answer<'_, Result<(), OpenError>>;

    /// Stores up to [`MAX_DRAFTS`] events in their order; one whose `source_id` was seen in the
    /// last ten minutes is not stored again and gets the first one's id. As many answers.
    fn publish(&self, drafts: Vec<Draft>) -> Answer<'_, Vec<Accepted>>;

    /// Stores a change of session, as of now, together with the event that tells the other devices.
    fn change_session(&self, change: SessionDraft, notice: Notice) -> Answer<'_, Accepted>;

    /// Whether events can be stored now.
    ///
    /// # Errors
    /// Why not.
    fn ready(&self) -> Result<(), EngineError>;

    /// Leaves everything that was accepted on the disk. Nothing is accepted afterwards.
    fn close(&self) -> Answer<'_, ()>;
}

/// Why what is stored cannot be read.
#[derive(Debug, Error)]
#[error(transparent)]
pub struct OpenError(Box<dyn Error + Send + Sync>);

impl OpenError {
    /// It says what is wrong where, and what to do.
    pub(crate) fn new(error: impl Error + Send + Sync + 'static) -> Self {
        Self(Box::new(error))
    }
}

/// The words of a `FORCE_LOGOUT` event.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Notice {
    /// For people.
    pub(crate) message: String,
    /// For programs.
    pub(crate) reason: String,
}

impl Notice {
    /// The event's data, its fields in the contract's order.
    pub(crate) fn force_logout(&self) -> String {
        #[derive(Serialize)]
        struct Message<'a> {
            r#type: &'static str,
            data: &'a Notice,
        }
        let message = Message {
            r#type: "FORCE_LOGOUT",
            data: self,
        };
        serde_json::to_string(&message).expect("two strings serialise")
    }
}

/// Why an event was not accepted. Nothing of it was stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub(crate) enum EngineError {
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
    /// What was stored could not be flushed.
    #[error("the history could not be flushed to the disk; it is being written again")]
    Unflushed,
    /// Another process reads the database and keeps its log from shrinking.
    #[error(
        "another process reads the history's database, whose log is at its limit; end that process"
    )]
    Overgrown,
    /// Somebody deleted or replaced files.
    #[error("files of history.path were deleted or replaced; put them back, or restart the server")]
    Gone,
}
