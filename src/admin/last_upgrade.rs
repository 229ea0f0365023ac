//! How this process took over from another.

use serde_json::{Value, json};

use super::timestamp;

/// The upgrade in which this process took over from another. Each process is started by at most one.
#[derive(Clone, Debug)]
pub(crate) struct LastUpgrade {
    /// When this process began to accept, in Unix milliseconds.
    pub(crate) at_unix_ms: u64,
    /// The version of the other process.
    pub(crate) from_version: String,
    /// The version of this process.
    pub(crate) to_version: String,
    /// Streams that moved.
    pub(crate) connections: u64,
    /// Streams that ended during the hand-over.
    pub(crate) lost: u64,
    /// Time from the request until the other process let this one accept.
    pub(crate) took_ms: u64,
    /// Longest time for which one stream was served by neither process.
    pub(crate) longest_pause_ms: u64,
}

impl LastUpgrade {
    /// As `/v1/stats` shows it.
    pub(super) fn to_json(&self) -> Value {
        json!({
            "at": timestamp::of_millis(self.at_unix_ms),
            "from_version": self.from_version,
            "to_version": self.to_version,
            "connections": self.connections,
            "lost": self.lost,
            "took_ms": self.took_ms,
            "longest_pause_ms": self.longest_pause_ms,
        })
    }
}
