//! The state of the history, which other threads read.

use std::sync::atomic::{AtomicU8, Ordering};

use crate::hub::engine::{EngineError, EngineHealth};

/// The state of the history. Its threads set it, and so does closing the engine.
#[derive(Debug, Default)]
pub(super) struct SharedState(AtomicU8);

/// All states, in the order of their numbers, each with the reason that publishers get.
const STATES: [(HistoryState, Option<EngineError>); 8] = [
    (HistoryState::NotOpen, Some(EngineError::NotOpen)),
    (HistoryState::Well, None),
    (HistoryState::Full, Some(EngineError::Full)),
    (HistoryState::Locked, Some(EngineError::Locked)),
    (HistoryState::Failing, Some(EngineError::NotStored)),
    (HistoryState::Unflushed, Some(EngineError::Unflushed)),
    (HistoryState::Overgrown, Some(EngineError::Overgrown)),
    (HistoryState::Gone, Some(EngineError::Gone)),
];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum HistoryState {
    NotOpen,
    Well,
    /// The last commit failed: no space.
    Full,
    /// The last commit failed: another process holds the lock.
    Locked,
    /// The last commit failed for another reason.
    Failing,
    /// A commit could not be flushed. A later flush that succeeds proves nothing: the kernel may have dropped
    /// the pages that the first one was to write.
    Unflushed,
    /// The write-ahead log has reached its limit.
    Overgrown,
    /// Files were deleted or replaced.
    Gone,
}

impl HistoryState {
    /// The reason that publishers get; `None` if all is well.
    pub(super) fn error(self) -> Option<EngineError> {
        let (_, error) = STATES.iter().find(|(state, _)| *state == self)?;
        *error
    }

    /// Returns true if the state ends as soon as a commit succeeds.
    pub(super) fn is_failing(self) -> bool {
        matches!(self, Self::Full | Self::Locked | Self::Failing)
    }
}

impl SharedState {
    pub(super) fn set(&self, state: HistoryState) {
        self.0.store(state as u8, Ordering::Relaxed);
    }

    pub(super) fn get(&self) -> HistoryState {
        let number = usize::from(self.0.load(Ordering::Relaxed));
        STATES
            .get(number)
            .map_or(HistoryState::NotOpen, |(state, _)| *state)
    }

    pub(super) fn health(&self) -> EngineHealth {
        self.get()
            .error()
            .map_or(EngineHealth::Well, EngineHealth::Failing)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_state_is_read_as_it_was_set() {
        let shared = SharedState::default();
        assert_eq!(shared.get(), HistoryState::NotOpen);
        for (state, error) in STATES {
            shared.set(state);
            let health = error.map_or(EngineHealth::Well, EngineHealth::Failing);
            assert_eq!((shared.get(), shared.health()), (state, health));
        }
    }
}
