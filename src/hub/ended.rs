//! How many connections the latest session changes have ended on this node.

use std::collections::VecDeque;

use parking_lot::Mutex;

use crate::event::EventId;

/// Changes that are remembered: those of the second or two within which somebody asks for the number.
const MAX_CHANGES: usize = 4_096;

/// The latest session changes, and how many connections each has ended.
#[derive(Debug, Default)]
pub(super) struct EndedByChanges(Mutex<VecDeque<(EventId, usize)>>);

impl EndedByChanges {
    /// Notes a change that has been applied.
    pub(super) fn note(&self, change: EventId, connections: usize) {
        let mut changes = self.0.lock();
        if changes.len() >= MAX_CHANGES {
            changes.pop_front();
        }
        changes.push_back((change, connections));
    }

    /// The number of connections that a change has ended. `None` if it is not among the latest.
    pub(super) fn by(&self, change: EventId) -> Option<usize> {
        let changes = self.0.lock();
        let mut latest = changes.iter().rev();
        latest
            .find(|(id, _)| *id == change)
            .map(|(_, ended)| *ended)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(ms: u64) -> EventId {
        EventId { ms, seq: 0 }
    }

    #[test]
    fn the_latest_changes_are_known_and_older_ones_are_forgotten() {
        let ended = EndedByChanges::default();
        for (ms, connections) in (0..=MAX_CHANGES as u64).zip((0..7).cycle()) {
            ended.note(id(ms), connections);
        }
        assert_eq!(ended.by(id(0)), None);
        assert_eq!(ended.by(id(1)), Some(1));
        assert_eq!(ended.by(id(MAX_CHANGES as u64)), Some(MAX_CHANGES % 7));
        assert_eq!(ended.0.lock().len(), MAX_CHANGES);
    }
}
