//! The place of an entry in the store.

use crate::event::EventId;

/// The place of an entry: the leader that stored it, and its number there. Places order the entries.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct StorePlace {
    /// The leader's term.
    pub(super) term: u64,
    /// The entry's number. Numbers rise, with gaps.
    pub(super) sequence: u64,
}

impl From<StorePlace> for EventId {
    fn from(place: StorePlace) -> Self {
        Self {
            ms: place.term,
            seq: place.sequence,
        }
    }
}

impl From<EventId> for StorePlace {
    fn from(id: EventId) -> Self {
        Self {
            term: id.ms,
            sequence: id.seq,
        }
    }
}
