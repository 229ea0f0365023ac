//! An engine that another process of the server continues, and what that process gets.

use std::path::Path;
use std::sync::Weak;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::local_node::LocalNode;
use super::promise::Answer;

use crate::auth::failures::PortableFailure;
use crate::auth::ticket::PortableTicket;
use crate::event::EventId;
use crate::hub::log::{DispatchedLog, Entry};

/// An engine that another process of the server can continue, or that continues one.
pub(crate) trait Continued: Send + Sync {
    /// The directory of its history, which both processes must have in common; `None` if its log is in memory only.
    fn history(&self) -> Option<&Path> {
        None
    }

    /// The log that several nodes share, and this node's name there, for people. Both processes must have it in common;
    /// `None` if there is only this node.
    fn shared_log(&self) -> Option<&str> {
        None
    }

    /// Called at the start of a process that continues another, instead of [`Engine::open`](super::Engine::open): what
    /// is stored still belongs to the other process.
    fn expect_predecessor(&self, node: Weak<dyn LocalNode>) {
        let _ = node;
    }

    /// The publishers' ids that are remembered, the oldest first, of events up to an id: those of later events come with
    /// their entries. None if they are in the store.
    fn sources(&self, up_to: EventId) -> Vec<PortableSource> {
        let _ = up_to;
        Vec::new()
    }

    /// Remembers publishers' ids of the other process.
    ///
    /// # Errors
    /// [`NotContinued`]
    fn follow_sources(&self, sources: &[PortableSource]) -> Result<(), NotContinued> {
        let _ = sources;
        Ok(())
    }

    /// Describes an entry.
    fn describe(&self, entry: &Entry) -> PortableEntry;

    /// Describes the beginning of a log.
    fn describe_log(&self, log: &DispatchedLog) -> PortableLog;

    /// Describes an entry that is still retained for so many milliseconds.
    fn describe_retained(&self, entry: &Entry, left_ms: u64) -> PortableEntry;

    /// Accepts nothing more until [`Continued::resume`], leaves its store to the other process, and returns what it
    /// knows besides the log. Everything that was accepted is in the log then. If the future is dropped, the engine stops
    /// all the same.
    ///
    /// # Errors
    /// [`NotContinued`] if its store is not open.
    fn stop(&self) -> Answer<'_, Result<EngineState, NotContinued>>;

    /// Accepts again, if it has stopped: the other process has ended. What that one may have stored is appended.
    fn resume(&self);

    /// Refuses what has waited since [`Continued::stop`]: the other process accepts now.
    fn leave(&self) {}

    /// Begins the log as the other process has described it, with what is retained, the oldest first. Called before
    /// anything is appended.
    ///
    /// # Errors
    /// [`NotContinued`]
    fn begin(
        &self,
        log: &PortableLog,
        retained: &mut dyn Iterator<Item = PortableEntry>,
    ) -> Result<(), NotContinued>;

    /// Appends an entry of the other process.
    ///
    /// # Errors
    /// [`NotContinued`]
    fn follow(&self, entry: &PortableEntry) -> Result<(), NotContinued>;

    /// Continues without the other process, which has ended before [`Continued::take_over`]. What it had confirmed and
    /// not forwarded is read from its store. Without one, such events may be lost unless this process is in step, and
    /// clients that come back with an earlier id get a gap.
    ///
    /// # Errors
    /// [`NotContinued`] if the store cannot be used.
    fn go_on_alone(&self, is_in_step: bool) -> Answer<'_, Result<(), NotContinued>>;

    /// Continues with what the other process knew, and takes its store over.
    ///
    /// # Errors
    /// [`NotContinued`]
    fn take_over(&self, state: EngineState) -> Answer<'_, Result<(), NotContinued>>;
}

/// An entry of the log.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct PortableEntry {
    pub(crate) id: String,
    /// How long ago it was accepted, or, of a retained entry, the part of its retention that is over.
    pub(crate) age_ms: u64,
    /// The stored form.
    pub(crate) record: String,
    /// The digest of its publisher's id and the target, if that is not in a store.
    #[serde(default)]
    pub(crate) source: Option<String>,
}

/// The beginning of a log that continues in another process. The entries follow.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct PortableLog {
    /// The id right before what is retained.
    pub(crate) floor: String,
    /// Unknown entries before this id were lost.
    pub(crate) lost_before: String,
    /// The newest entry, retained or not.
    pub(crate) position: u64,
    pub(crate) newest: String,
    /// When everyone was logged out, in Unix milliseconds; 0 for never.
    #[serde(default)]
    pub(crate) everyone_ms: u64,
    /// The log that several nodes share; `None` if there is only this node.
    #[serde(default)]
    pub(crate) shared: Option<PortableShared>,
}

/// What a node knows of the log that several nodes share.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct PortableShared {
    /// Names the log.
    pub(crate) epoch: String,
    /// Names the store's process.
    pub(crate) run: String,
    /// The names under which this node counts the places of users.
    pub(crate) places: Vec<String>,
}

/// What an engine knows besides the log.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct EngineState {
    /// The newest id that was given out.
    pub(crate) newest: String,
    pub(crate) tickets: Vec<PortableTicket>,
    pub(crate) failures: Vec<PortableFailure>,
    /// Where the history ends; `None` if the log is in memory only.
    #[serde(default)]
    pub(crate) history: Option<PortableHistory>,
    /// The log that several nodes share; `None` if there is only this node.
    #[serde(default)]
    pub(crate) shared: Option<PortableShared>,
}

/// The end of a history as the process before has left it in its directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct PortableHistory {
    /// Number of the newest stored event.
    pub(crate) rows: u64,
    /// Number of the newest session change.
    pub(crate) changes: u64,
}

/// A publisher's id.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct PortableSource {
    /// A digest of the id and the target.
    pub(crate) key: String,
    /// The id of its event.
    pub(crate) id: String,
    /// The time until it is forgotten.
    pub(crate) left_ms: u64,
}

/// The description of the other process cannot be used.
#[derive(Debug, Error)]
#[error("the other process's log cannot be continued: {0}")]
pub(crate) struct NotContinued(pub(crate) String);
