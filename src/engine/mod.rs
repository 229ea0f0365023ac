//! Where events come from and are kept. Engines append to the [`Log`](crate::log::Log);
//! everything else reads it, so that an event takes one path whatever the engine.

mod memory;

use std::future::Future;
use std::pin::Pin;

use serde::Serialize;
use thiserror::Error;

use crate::event::{Draft, EventId, SessionChange};

pub use memory::MemoryEngine;

/// What an engine's calls return: an id that is in the log, or will be when it has been tailed.
pub type Appending<'a> = Pin<Box<dyn Future<Output = Result<EventId, EngineError>> + Send + 'a>>;

/// A store of events. An id that is returned stands for an event that was accepted and stored.
pub trait Engine: Send + Sync {
    /// Stores an event; a draft whose `source_id` was seen in the last ten minutes is not stored
    /// again and gets the first one's id.
    fn publish(&self, draft: Draft) -> Appending<'_>;

    /// Stores a change of session together with the event that tells the other devices.
    fn change_session(&self, change: SessionChange, notice: Notice) -> Appending<'_>;

    /// Whether events can be stored now.
    ///
    /// # Errors
    /// Why not.
    fn ready(&self) -> Result<(), EngineError>;
}

/// The words of a `FORCE_LOGOUT` event.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Notice {
    /// For people.
    pub message: String,
    /// For programs.
    pub reason: String,
}

impl Notice {
    /// The event's data, its fields in the contract's order.
    fn force_logout(&self) -> String {
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
pub enum EngineError {
    /// Delivery is so far behind that accepting more would only grow memory.
    #[error("delivery is behind; publish again in a second")]
    Behind,
}
