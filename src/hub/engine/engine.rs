//! A store of events and session changes.

use serde::Serialize;

use super::error::{EngineError, OpenError};
use super::promise::Answer;
use super::register::Register;
use crate::event::{Draft, EventId, SessionDraft};
use crate::hub::log::Control;

/// Highest number of drafts that are published together: many per commit, and few enough that other requests
/// do not wait long.
pub(crate) const MAX_DRAFTS: usize = 256;

/// A store of events. A returned id means that the event was accepted and stored.
pub(crate) trait Engine: Send + Sync {
    /// The engine's name, for people.
    fn kind(&self) -> &'static str;

    /// Reads what is stored. Called once and before all other methods, when descriptors that are opened are no
    /// longer copied into the shards' tables.
    fn open(&self) -> Answer<'_, Result<(), OpenError>>;

    /// Stores up to [`MAX_DRAFTS`] events in order, and returns one answer per draft. A draft whose `source_id`
    /// was seen in the last ten minutes is not stored again; its answer is the first one's id.
    fn publish(&self, drafts: Vec<Draft>) -> Answer<'_, Vec<Result<EventId, EngineError>>>;

    /// Stores a change of session, dated now, together with the event for the other devices.
    fn change_session(
        &self,
        change: SessionDraft,
        notice: Notice,
    ) -> Answer<'_, Result<EventId, EngineError>>;

    /// Passes a request through the log to every node, and returns the number of connections it has ended. The
    /// request is not stored, so a store that refuses events accepts it. It does not wait for room in the log,
    /// because operators end connections when a server is overloaded. It answers within seconds, even if the
    /// store is stuck.
    fn command(&self, control: Control) -> Answer<'_, Result<u64, EngineError>>;

    /// Returns whether events can be stored now.
    fn health(&self) -> EngineHealth;

    /// The time that session changes are dated with, in Unix milliseconds. All nodes share it.
    fn unix_ms(&self) -> u64;

    /// The state that all nodes share.
    fn register(&self) -> &dyn Register;

    /// Writes everything that was accepted to the disk. Afterwards nothing is accepted.
    fn close(&self) -> Answer<'_, ()>;
}

/// The health of an engine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum EngineHealth {
    /// It stores events.
    Well,
    /// It does not store events; publishers get this reason.
    Failing(EngineError),
}

impl EngineHealth {
    /// Returns true if events are stored.
    pub(crate) fn is_well(self) -> bool {
        self == Self::Well
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
    /// The data of the event, with the fields in the order of the contract.
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
