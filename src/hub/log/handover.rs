//! What another process of the server needs to continue the log.
//!
//! Positions are the same there, because clients that move are described by them. Ranks are not: the other process
//! gives its own to the entries that it gets.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::entry::Entry;
use super::log::Log;
use super::replay::Replay;
use crate::event::{EventId, Position};

/// The part of the log that was dispatched.
#[derive(Debug)]
pub(crate) struct DispatchedLog {
    /// The retained entries, the oldest first, and for how long each is still retained, in milliseconds.
    pub(crate) entries: Vec<(Arc<Entry>, u64)>,
    /// The id right before what is retained.
    pub(crate) floor: EventId,
    /// Unknown entries before this id were lost.
    pub(crate) lost_before: EventId,
    /// The newest entry, retained or not.
    pub(crate) newest: (Position, EventId),
}

/// How far a client is that is catching up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Replayed {
    /// It has everything that is kept up to this id.
    UpTo(EventId),
    /// It has entries that were appended later than the position that was asked for.
    Ahead,
    /// The next entry for it is gone.
    Lost,
}

impl Log {
    /// The part of the log that was dispatched. Only the dispatcher calls this, so that nothing is dispatched
    /// meanwhile.
    pub(crate) fn dispatched_part(&self, now_ms: u64) -> DispatchedLog {
        let state = self.state.lock();
        let position = self.dispatched_position();
        let entries = state.ring.iter();
        let entries = entries.take_while(|(entry, _)| entry.position <= position);
        DispatchedLog {
            entries: entries
                .map(|(entry, expires_ms)| (Arc::clone(entry), expires_ms.saturating_sub(now_ms)))
                .collect(),
            floor: state.evicted.floor(),
            lost_before: state.lost_before,
            newest: (position, state.dispatched_id),
        }
    }

    /// Continues a log of another process after its newest entry. Called when its retained entries are restored, and
    /// before anything is appended.
    pub(crate) fn continue_after(&self, newest: (Position, EventId)) {
        let mut state = self.state.lock();
        let (position, id) = newest;
        debug_assert!(state.last_id <= id);
        state.continue_after(id);
        self.head.store(position.0, Ordering::Release);
        self.dispatched.store(position.0, Ordering::Release);
    }

    /// Waits until everything that was appended before the call is dispatched.
    pub(crate) async fn all_dispatched(&self) {
        let head = self.head();
        self.progress_until(|| (self.dispatched_position() >= head).then_some(()))
            .await;
    }

    /// How far a client is that is catching up, as a process can understand it that has this log up to `position`.
    pub(crate) fn replayed_up_to(&self, replay: &Replay, position: Position) -> Replayed {
        let state = self.state.lock();
        let Some(taken) = replay.taken(&state.ring) else {
            return Replayed::Lost;
        };
        match state.ring.get(taken) {
            Some(entry) if entry.position > position => Replayed::Ahead,
            Some(entry) => Replayed::UpTo(entry.id),
            None => Replayed::UpTo(state.evicted.floor()),
        }
    }

    /// The id up to which a client has everything that is kept, if it was served up to a position.
    pub(crate) fn kept_up_to(&self, position: Position) -> EventId {
        let state = self.state.lock();
        state
            .ring
            .last_up_to(position)
            .map_or_else(|| state.evicted.floor(), |entry| entry.id)
    }

    /// The time for which an entry is retained, in milliseconds.
    pub(crate) fn max_age_ms(&self) -> u64 {
        self.max_age_ms
    }
}
