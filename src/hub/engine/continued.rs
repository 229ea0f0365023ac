//! An engine that another process of the server continues, and what that process gets.

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::auth::failures::PortableFailure;
use crate::auth::ticket::PortableTicket;
use crate::hub::log::{DispatchedLog, Entry};

/// An engine that another process of the server can continue, or that continues one.
pub(crate) trait Continued: Send + Sync {
    /// Describes an entry.
    fn describe(&self, entry: &Entry) -> PortableEntry;

    /// Describes a log: its beginning, and what is retained.
    fn describe_log(&self, log: &DispatchedLog) -> (PortableLog, Vec<PortableEntry>);

    /// Accepts nothing more until [`Continued::resume`], and returns what it knows besides the log.
    fn stop(&self) -> EngineState;

    /// Accepts again.
    fn resume(&self);

    /// Begins the log as the other process has described it. Called before anything is appended.
    ///
    /// # Errors
    /// [`NotContinued`]
    fn begin(&self, log: &PortableLog, retained: &[PortableEntry]) -> Result<(), NotContinued>;

    /// Appends an entry of the other process.
    ///
    /// # Errors
    /// [`NotContinued`]
    fn follow(&self, entry: &PortableEntry) -> Result<(), NotContinued>;

    /// Continues without the other process, which has ended too early. Unless this one is in step, events that the
    /// other had confirmed may be lost, and clients that come back with an earlier id get a gap.
    fn go_on_alone(&self, is_in_step: bool);

    /// Continues with what the other process knew.
    ///
    /// # Errors
    /// [`NotContinued`]
    fn take_over(&self, state: EngineState) -> Result<(), NotContinued>;
}

/// An entry of the log.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct PortableEntry {
    pub(crate) id: String,
    /// How long ago it was accepted, or, of a retained entry, the part of its retention that is over.
    pub(crate) age_ms: u64,
    /// The stored form.
    pub(crate) record: String,
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
}

/// What a single node's engine knows besides the log.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct EngineState {
    /// The newest id that was given out.
    pub(crate) newest: String,
    /// The publishers' ids of the last ten minutes, the oldest first.
    pub(crate) sources: Vec<PortableSource>,
    pub(crate) tickets: Vec<PortableTicket>,
    pub(crate) failures: Vec<PortableFailure>,
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
