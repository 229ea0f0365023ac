//! Requests that wait for a store: a bound on their size, and their answers.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::tail::ROOM_TIMEOUT;
use crate::clock::Clock;
use crate::event::EventId;
use crate::hub::engine::EngineError;

/// Kibibytes of events that wait for a store or are being written. Each event counts as at least one, so
/// there are at most as many events as the log accepts at once.
pub(super) const MAX_WAITING_KIB: u32 = 16_384;

/// The requests that may wait.
#[derive(Debug)]
pub(super) struct Waiting {
    shares: Arc<Semaphore>,
}

impl Default for Waiting {
    fn default() -> Self {
        Self {
            shares: Arc::new(Semaphore::new(MAX_WAITING_KIB as usize)),
        }
    }
}

impl Waiting {
    /// Waits for a share of this size. A request without a share waits, as for room in the log.
    ///
    /// # Errors
    /// [`EngineError::Behind`] if that takes too long.
    pub(super) async fn share(
        &self,
        kib: u32,
        clock: &Clock,
    ) -> Result<OwnedSemaphorePermit, EngineError> {
        let share = Arc::clone(&self.shares).acquire_many_owned(kib.min(MAX_WAITING_KIB));
        tokio::select! {
            biased;
            share = share => share.map_err(|_| EngineError::NotOpen),
            () = clock.sleep(ROOM_TIMEOUT) => Err(EngineError::Behind),
        }
    }
}

/// The answers to `count` drafts that are stored together or not at all.
pub(super) fn one_each(
    stored: Result<Vec<EventId>, EngineError>,
    count: usize,
) -> Vec<Result<EventId, EngineError>> {
    match stored {
        Ok(ids) => ids.into_iter().map(Ok).collect(),
        Err(error) => vec![Err(error); count],
    }
}

/// The share of [`MAX_WAITING_KIB`] that an event takes.
pub(super) fn kib(data: &str) -> u32 {
    u32::try_from(data.len() / 1_024 + 1).unwrap_or(u32::MAX)
}
