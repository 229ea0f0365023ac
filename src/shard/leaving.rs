//! What a shard knows of connections that are to leave for another process.

use std::mem;
use std::rc::Rc;

use tokio::sync::Notify;

use crate::hub::ConnectionId;
use crate::shard::returned::Returned;

/// Connections that are to leave.
#[derive(Debug, Default)]
pub(super) struct LeavingConnections {
    /// Where the ids of this shard had come to when its streams were last ordered to leave.
    late_from: Option<u32>,
    /// Connections between two requests.
    without_stream: Vec<Returned>,
    added: Rc<Notify>,
}

impl LeavingConnections {
    /// Streams may leave from now on. The next one gets the id of this generation.
    pub(super) fn begin(&mut self, next_generation: u32) {
        self.late_from = Some(next_generation);
    }

    /// Returns true if the stream began after that.
    pub(super) fn is_late(&self, connection: ConnectionId) -> bool {
        // Generations wrap around.
        self.late_from
            .is_some_and(|from| connection.generation().wrapping_sub(from) < u32::MAX / 2)
    }

    /// Returns true if there are connections between two requests.
    pub(super) fn has_any_without_stream(&self) -> bool {
        !self.without_stream.is_empty()
    }

    /// Adds a connection between two requests.
    pub(super) fn add(&mut self, connection: Returned) {
        self.without_stream.push(connection);
        self.added.notify_one();
    }

    /// Takes at most so many connections between two requests.
    pub(super) fn take(&mut self, most: usize) -> Vec<Returned> {
        let rest = self.without_stream.len().saturating_sub(most);
        let taken = self.without_stream.split_off(rest);
        if rest > 0 {
            self.added.notify_one();
        } else {
            // Nothing more will come after the last.
            mem::take(&mut self.without_stream);
        }
        taken
    }

    /// Notified when a connection was added.
    pub(super) fn added(&self) -> Rc<Notify> {
        Rc::clone(&self.added)
    }
}
