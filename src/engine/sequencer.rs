//! The sequencer of a single node. It gives out ids, recognises events that were published before, and dates
//! session changes. An engine whose store decides these does not use it.

use super::sources::{SOURCE_ID_MS, SourceKey, Sources};
use crate::clock::Clock;
use crate::event::{Draft, EventId, SessionChange, SessionDraft};

/// The order of one node's entries.
pub(super) struct Sequencer {
    clock: Clock,
    last_id: EventId,
    sources: Sources,
}

/// The id of a draft, and whether the draft is new.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sequenced {
    /// It was published before, under this id.
    Known(EventId),
    /// It is new, and this is its id.
    New(EventId),
}

impl Sequencer {
    /// A sequencer whose ids continue after `last_id`.
    pub(super) fn after(last_id: EventId, sources: Sources, clock: Clock) -> Self {
        Self {
            clock,
            last_id,
            sources,
        }
    }

    /// The newest id that was given out.
    pub(super) fn last_id(&self) -> EventId {
        self.last_id
    }

    /// Continues after `id`.
    pub(super) fn skip_to(&mut self, id: EventId) {
        self.last_id = id;
    }

    /// Continues after `id`, and after all ids of another process that followed on it and that nobody here knows.
    pub(super) fn skip_past(&mut self, id: EventId) {
        // If its clock was set back, its ids had the time of `id`.
        let latest_ms = id.ms.max(self.clock.unix_ms());
        self.last_id = id.next(latest_ms + 1);
    }

    /// The next id. Ids rise strictly, whatever the machine's clock does.
    pub(super) fn next_id(&mut self) -> EventId {
        self.last_id = self.last_id.next(self.clock.unix_ms());
        self.last_id
    }

    /// Gives an event its id, and remembers the publisher's own id.
    pub(super) fn event(&mut self, draft: &Draft) -> Sequenced {
        let now_ms = self.clock.now_ms();
        let Some(key) = SourceKey::of(draft) else {
            return Sequenced::New(self.next_id());
        };
        if let Some(id) = self.sources.find(key, now_ms) {
            return Sequenced::Known(id);
        }
        let id = self.next_id();
        self.sources.remember(key, id, now_ms + SOURCE_ID_MS);
        Sequenced::New(id)
    }

    /// Gives a session change its id and its time.
    pub(super) fn session(&mut self, draft: SessionDraft) -> (EventId, SessionChange) {
        let SessionDraft { user, keep } = draft;
        let change = SessionChange {
            user,
            keep,
            at_unix_ms: self.clock.unix_ms(),
        };
        (self.next_id(), change)
    }

    /// The publishers' ids that are remembered, the oldest first, each with its event and the time that is left.
    pub(super) fn remembered_sources(&self) -> Vec<(SourceKey, EventId, u64)> {
        self.sources.remembered(self.clock.now_ms()).collect()
    }

    /// The publisher's id of an event, if it had one and that is remembered.
    pub(super) fn source_of(&self, id: EventId) -> Option<SourceKey> {
        self.sources.key_of(id)
    }

    /// Remembers a publisher's id of another process, unless it is known here.
    pub(super) fn follow_source(&mut self, key: &str, id: EventId, left_ms: u64) {
        let now_ms = self.clock.now_ms();
        if let Some(key) = SourceKey::from_text(key)
            && self.sources.find(key, now_ms).is_none()
        {
            self.sources.remember(key, id, now_ms + left_ms);
        }
    }

    /// Forgets the newest publishers' ids, because their events were not stored.
    pub(super) fn undo(&mut self, sources: usize) {
        self.sources.undo(sources);
    }

    /// Age of the oldest publisher's id that is remembered, in milliseconds; 0 if there is none.
    pub(super) fn oldest_source_ms(&self) -> u64 {
        self.sources.oldest_ms(self.clock.now_ms())
    }
}
