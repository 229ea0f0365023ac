//! A store of events and session changes.

use serde::Serialize;

use super::error::{EngineError, OpenError};
use super::promise::Answer;
use super::register::Register;
use crate::event::{Draft, EventId, SessionDraft};
use crate::hub::log::Control;

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
    fn publish(&self, drafts: Vec<Draft>) -> Answer<'_, Vec<Result<EventId, EngineError>>>;

    /// Stores a change of session, as of now, together with the event that tells the other devices.
    fn change_session(
        &self,
        change: SessionDraft,
        notice: Notice,
    ) -> Answer<'_, Result<EventId, EngineError>>;

    /// Passes a request through the log to every node, and returns how many connections it has
    /// ended. Nothing is stored, so a store that refuses events does not refuse this, and it does not
    /// wait for room in the log: operators end connections when a server is overloaded. It answers
    /// within seconds, whatever the store does.
    fn command(&self, control: Control) -> Answer<'_, Result<u64, EngineError>>;

    /// Whether events can be stored now.
    fn health(&self) -> EngineHealth;

    /// The time by which session changes are dated, in Unix milliseconds: the same on all nodes.
    fn unix_ms(&self) -> u64;

    /// What must be one for all nodes.
    fn register(&self) -> &dyn Register;

    /// Leaves everything that was accepted on the disk. Nothing is accepted afterwards.
    fn close(&self) -> Answer<'_, ()>;
}

/// Whether an engine stores events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum EngineHealth {
    /// It does.
    Well,
    /// It does not; publishers get this reason.
    Failing(EngineError),
}

impl EngineHealth {
    /// Whether events are stored.
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
