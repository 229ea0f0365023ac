//! The end of the log that is appended to. Nothing else appends.

use std::sync::Arc;
use std::time::Duration;

use crate::clock::Clock;
use crate::event::EventId;
use crate::hub::engine::EngineError;
use crate::hub::log::{Log, Record};

/// Longest wait for delivery to catch up before a publisher is told to come again.
pub(super) const ROOM_TIMEOUT: Duration = Duration::from_secs(2);

/// An engine's hold of the log.
#[derive(Clone)]
pub(super) struct Tail {
    log: Arc<Log>,
    clock: Clock,
}

impl Tail {
    pub(super) fn new(log: Arc<Log>, clock: Clock) -> Self {
        Self { log, clock }
    }

    /// Waits until the log takes more.
    ///
    /// # Errors
    /// [`EngineError::Behind`] where that takes too long.
    pub(super) async fn room(&self) -> Result<(), EngineError> {
        tokio::select! {
            biased;
            () = self.log.room() => Ok(()),
            () = self.clock.sleep(ROOM_TIMEOUT) => Err(EngineError::Behind),
        }
    }

    /// Appends an entry, whose id is above all before it, as accepted now.
    pub(super) fn append(&self, id: EventId, record: Record) {
        self.log.append(id, self.clock.now_ms(), record);
    }

    /// Puts back what an earlier process stored; see [`Log::restore`].
    pub(super) fn restore(&self, id: EventId, age: Duration, record: Record) {
        self.log.restore(id, age, self.clock.now_ms(), record);
    }

    /// Begins behind an id of an earlier process; see [`Log::begin_at`].
    pub(super) fn begin_at(&self, id: EventId) {
        self.log.begin_at(id);
    }

    /// Some of what was before `id`, the newest entry's, is lost; see [`Log::lose_before`].
    pub(super) fn lose_before(&self, id: EventId) {
        self.log.lose_before(id);
    }

    /// The log, to be read.
    pub(super) fn log(&self) -> &Log {
        &self.log
    }
}
