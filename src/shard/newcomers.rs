//! Streams that were admitted while their shard still had earlier entries to deliver.
//!
//! What is kept in the log is sent only if it came after the stream's position. A fleeting event is not in the log, so
//! one that was published before the stream was admitted has to be told apart here: its client may have received it
//! on its former connection, from a shard that was faster.

use std::collections::HashMap;

use crate::event::Position;

/// The positions at which such streams were admitted, by their keys.
#[derive(Debug, Default)]
pub(super) struct Newcomers {
    admitted: HashMap<u32, Position, ahash::RandomState>,
    newest: Position,
}

impl Newcomers {
    /// A stream was admitted when the log ended at this position.
    pub(super) fn add(&mut self, key: u32, position: Position) {
        self.admitted.insert(key, position);
        self.newest = self.newest.max(position);
    }

    /// The slot has another stream.
    pub(super) fn remove(&mut self, key: u32) {
        if !self.admitted.is_empty() {
            self.admitted.remove(&key);
        }
    }

    /// Returns true if the stream was admitted after this position, so that it must not get a fleeting event from there.
    pub(super) fn came_after(&self, key: u32, position: Position) -> bool {
        let admitted = self.admitted.get(&key);
        admitted.is_some_and(|admitted| *admitted >= position)
    }

    /// Forgets all once the shard has delivered everything up to this position.
    pub(super) fn settle(&mut self, delivered: Position) {
        if !self.admitted.is_empty() && self.newest <= delivered {
            // With its room, which a storm may have made large.
            self.admitted = HashMap::default();
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.admitted.is_empty()
    }
}
