//! The figures of one node of several.

use serde::Serialize;

use super::Plateaus;

/// The figures of one node of several. The figures of the run are those of all nodes together.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct OfNode {
    /// Its address for clients.
    pub(crate) address: String,
    /// Streams open during the measurement.
    pub(crate) connected: u64,
    /// Connections that never became a stream, including the warm-up.
    pub(crate) failed: u64,
    /// Streams that ended before the load closed them.
    pub(crate) lost: u64,
    #[serde(skip_serializing_if = "Option::is_none", flatten)]
    pub(crate) delivery: Option<OnNode>,
    /// PSS slope of its process, in bytes per connection.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) user_bytes_per_connection: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) pss_mib: Option<Plateaus>,
    /// CPU time of its process during the measurement.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) server_cpu_s: Option<f64>,
}

/// What the clients received on a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct OnNode {
    /// Distinct (event, client) pairs.
    pub(crate) received: u64,
    /// `replay_gap` events: the node did not have what a returning client had missed.
    pub(crate) replay_gaps: u64,
}

impl OfNode {
    /// Adds another round. Counts and times are summed; of the connections the fewer stay.
    pub(super) fn merge(&mut self, round: &Self) {
        self.connected = self.connected.min(round.connected);
        self.server_cpu_s = self
            .server_cpu_s
            .zip(round.server_cpu_s)
            .map(|(one, other)| one + other);
    }

    /// Adds the failures and deliveries of another round.
    pub(super) fn add_counts(&mut self, round: &Self) {
        self.failed += round.failed;
        self.lost += round.lost;
        if let Some((mine, theirs)) = self.delivery.as_mut().zip(round.delivery) {
            mine.received += theirs.received;
            mine.replay_gaps += theirs.replay_gaps;
        }
    }
}
