//! The publishers' own ids of the last ten minutes, so that a retry publishes nothing.

use std::collections::VecDeque;

use compact_str::CompactString;
use hashbrown::HashMap;

use crate::event::EventId;

/// How long a publisher's own id is remembered (API.md, `POST /v1/events`).
pub(super) const SOURCE_ID_MS: u64 = 10 * 60 * 1_000;
/// Most ids remembered, about 32 MiB of short ones; beyond it the oldest are forgotten early.
pub(super) const MAX_SOURCE_IDS: usize = 262_144;

/// See the module's text.
#[derive(Debug, Default)]
pub(super) struct Sources {
    ids: HashMap<CompactString, EventId, ahash::RandomState>,
    /// The oldest first, each with when it is forgotten.
    by_age: VecDeque<(u64, CompactString)>,
}

impl Sources {
    /// The id of the event that was published under this one, where that is remembered.
    pub(super) fn find(&mut self, source_id: &str, now_ms: u64) -> Option<EventId> {
        self.forget(now_ms);
        self.ids.get(source_id).copied()
    }

    /// Remembers an id that [`Sources::find`] did not find.
    pub(super) fn remember(&mut self, source_id: CompactString, id: EventId, expires_ms: u64) {
        self.ids.insert(source_id.clone(), id);
        self.by_age.push_back((expires_ms, source_id));
    }

    /// Forgets the newest ones: what they stood for was not stored.
    pub(super) fn undo(&mut self, count: usize) {
        for _ in 0..count {
            if let Some((_, source_id)) = self.by_age.pop_back() {
                self.ids.remove(&source_id);
            }
        }
    }

    /// How long ago the oldest one that is remembered was seen; 0 where there is none.
    pub(super) fn oldest_ms(&self, now_ms: u64) -> u64 {
        self.by_age.front().map_or(0, |(expires_ms, _)| {
            (now_ms + SOURCE_ID_MS).saturating_sub(*expires_ms)
        })
    }

    fn forget(&mut self, now_ms: u64) {
        while let Some((expires_ms, _)) = self.by_age.front() {
            if now_ms <= *expires_ms && self.by_age.len() < MAX_SOURCE_IDS {
                break;
            }
            if let Some((_, source_id)) = self.by_age.pop_front() {
                self.ids.remove(&source_id);
            }
        }
    }
}
