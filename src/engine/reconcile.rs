//! Bringing a node's log in line with the log of a store that several nodes share. The engine compares both; what
//! follows from the difference is the same for every store.

use std::collections::HashMap;
use std::sync::Arc;

use super::tail::Tail;
use crate::event::{EventId, SessionChange};
use crate::hub::log::{Entry, Record};

/// Users whose standing was loaded after some of the changes that are still to be read, with the id of the last
/// change that it includes. Those changes must not be applied again.
#[derive(Debug, Default)]
pub(super) struct Included(HashMap<String, EventId>);

impl Included {
    pub(super) fn new(changes: HashMap<String, EventId>) -> Self {
        Self(changes)
    }

    /// The record to append for an entry: a change that is included already is only a position.
    pub(super) fn record(&mut self, record: Record, id: EventId) -> Record {
        if let Record::Session { change, .. } = &record
            && let Some(included) = self.0.get(change.user.as_str())
        {
            if *included >= id {
                return Record::Mark;
            }
            self.0.remove(change.user.as_str());
        }
        record
    }
}

/// Drops this node's log, and begins right before `first`: the store's log has nothing in common with it. All of that
/// is new to the streams, and reaches them. But if it is not above what they have, they end first. Their clients come
/// back, and are told of a gap unless the store's log has what they had last. Returns what was dropped.
pub(super) async fn forget(tail: &Tail, first: EventId) -> Vec<Arc<Entry>> {
    let is_above = first > tail.log().newest_id();
    let lost = tail.truncate_after(EventId::default());
    if is_above {
        tail.begin_before(first);
    } else {
        tail.restart_before(first).await;
    }
    lost
}

/// A session change whose entry the store has lost.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct LostChange {
    pub(super) change: SessionChange,
    /// The event for the user's other devices.
    pub(super) data: Box<str>,
}

/// The session changes among entries that the store lost, oldest first. They are written back, because a revoked token
/// must stay revoked.
pub(super) fn lost_changes(lost: &[Arc<Entry>]) -> Vec<LostChange> {
    lost.iter()
        .filter_map(|entry| match &entry.record {
            Record::Session { change, data } => Some(LostChange {
                change: change.clone(),
                data: data.clone(),
            }),
            _ => None,
        })
        .collect()
}

/// The record of an entry that was stored before this node attached, and is not delivered now; `None` if it is not
/// kept.
pub(super) fn kept(record: Record) -> Option<Record> {
    match record {
        Record::Event { is_kept: false, .. } => None,
        record => Some(record),
    }
}

/// Finds the newest entry that is retained here and is in the store's log, too, by asking the store about a few.
#[derive(Debug)]
pub(super) struct CommonSearch {
    ids: Vec<EventId>,
    low: usize,
    high: usize,
    common: Option<EventId>,
}

impl CommonSearch {
    /// Begins with the ids of the retained entries. `first` is the store's first entry.
    pub(super) fn new(ids: Vec<EventId>, first: Option<EventId>) -> Self {
        // Everything up to the newest common entry is common, unless the store has trimmed it. What it has trimmed
        // is not common, but comes first.
        let low = first.map_or(0, |first| ids.partition_point(|id| *id < first));
        Self {
            low,
            high: ids.len(),
            ids,
            common: None,
        }
    }

    /// The next id to ask about; `None` when the search is over.
    pub(super) fn question(&self) -> Option<EventId> {
        let middle = usize::midpoint(self.low, self.high);
        (self.low < self.high).then(|| self.ids[middle])
    }

    /// Notes whether the store has the entry of [`CommonSearch::question`].
    pub(super) fn answer(&mut self, is_there: bool) {
        let middle = usize::midpoint(self.low, self.high);
        if is_there {
            self.common = self.ids.get(middle).copied();
            self.low = middle + 1;
        } else {
            self.high = middle;
        }
    }

    /// The newest common entry, if there is one.
    pub(super) fn common(&self) -> Option<EventId> {
        self.common
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn id(seq: u64) -> EventId {
        EventId { ms: 1, seq }
    }

    proptest! {
        #[test]
        fn the_newest_common_entry_is_found(
            here in 0..40_u64,
            trimmed in 0..50_u64,
            common in 0..50_u64,
        ) {
            // The store has lost the entries from `common` on, and those before `trimmed`.
            let ids: Vec<EventId> = (0..here).map(id).collect();
            let has = |id: EventId| (trimmed..common).contains(&id.seq);
            let first = (trimmed < common).then(|| id(trimmed));
            let mut search = CommonSearch::new(ids.clone(), first);
            let mut questions = 0;
            while let Some(id) = search.question() {
                search.answer(has(id));
                questions += 1;
            }
            prop_assert_eq!(search.common(), ids.into_iter().rfind(|id| has(*id)));
            prop_assert!(questions <= 7);
        }
    }
}
