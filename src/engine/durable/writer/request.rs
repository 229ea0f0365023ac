//! Requests to the writer's thread, and how they are answered.

use std::sync::mpsc::Receiver;

use tokio::sync::{OwnedSemaphorePermit, oneshot};
use tracing::Span;

use crate::event::{Draft, EventId, SessionDraft};
use crate::hub::engine::{EngineError, PortableHistory};
use crate::hub::log::{Control, Receipt};

/// Work for the writer.
#[derive(Debug)]
pub(in crate::engine::durable) enum Work {
    /// Stores something, appends it to the log, and answers.
    Store(Request),
    /// Appends a control entry, which is not stored.
    Append(Control, Receipt),
    /// Closes the directory, and leaves it to another process. Work that comes later waits.
    Stop(Stop),
}

/// A request to leave the directory to another process.
#[derive(Debug)]
pub(in crate::engine::durable) struct Stop {
    /// Gets the answer when the directory is closed and unlocked.
    pub(in crate::engine::durable) reply: oneshot::Sender<Stopped>,
    /// Gets a message if the directory is to be opened again.
    pub(in crate::engine::durable) resumed: Receiver<()>,
}

/// How far the history went.
#[derive(Clone, Copy, Debug)]
pub(in crate::engine::durable) struct Stopped {
    /// The newest id that was given out.
    pub(in crate::engine::durable) newest: EventId,
    pub(in crate::engine::durable) history: PortableHistory,
}

/// Something to store, and the caller that waits for it.
#[derive(Debug)]
pub(in crate::engine::durable) enum Request {
    Publish {
        drafts: Vec<Draft>,
        reply: oneshot::Sender<Result<Vec<EventId>, EngineError>>,
        /// The request's share of the memory for waiting events. It is given back when the events are in the log.
        share: OwnedSemaphorePermit,
        /// The caller's span.
        span: Span,
    },
    ChangeSession {
        change: SessionDraft,
        /// The data of the `FORCE_LOGOUT` event.
        data: String,
        reply: oneshot::Sender<Result<EventId, EngineError>>,
        share: OwnedSemaphorePermit,
        span: Span,
    },
}

impl Request {
    /// Answers with the ids of the request's events. A caller that has left needs no answer.
    pub(super) fn accept(self, ids: Vec<EventId>) {
        match self {
            Self::Publish { reply, share, .. } => {
                drop(share);
                let _ = reply.send(Ok(ids));
            }
            Self::ChangeSession { reply, share, .. } => {
                drop(share);
                let _ = reply.send(ids.first().copied().ok_or(EngineError::NotStored));
            }
        }
    }

    /// Answers with an error.
    pub(super) fn refuse(self, error: EngineError) {
        match self {
            Self::Publish { reply, .. } => {
                let _ = reply.send(Err(error));
            }
            Self::ChangeSession { reply, .. } => {
                let _ = reply.send(Err(error));
            }
        }
    }

    /// The caller's span.
    pub(super) fn span(&self) -> &Span {
        match self {
            Self::Publish { span, .. } | Self::ChangeSession { span, .. } => span,
        }
    }

    /// Returns true if the caller has left.
    pub(super) fn is_closed(&self) -> bool {
        match self {
            Self::Publish { reply, .. } => reply.is_closed(),
            Self::ChangeSession { reply, .. } => reply.is_closed(),
        }
    }

    /// Returns true if the request publishes events.
    pub(super) fn is_publish(&self) -> bool {
        matches!(self, Self::Publish { .. })
    }
}
