//! One request to append entries, on its way to the writer.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use tokio::sync::{OwnedSemaphorePermit, oneshot};

use crate::engine::sources::SourceKey;
use crate::event::EventId;
use crate::hub::engine::EngineError;

/// An entry to be appended.
#[derive(Debug)]
pub(super) struct NewEntry {
    /// The key of the publisher's own id.
    pub(super) source: Option<SourceKey>,
    /// The entry as it is stored.
    pub(super) json: String,
}

/// A request to append entries, in order.
#[derive(Debug)]
pub(super) struct AppendRequest {
    pub(super) entries: Vec<NewEntry>,
    pub(super) reply: oneshot::Sender<Result<Vec<EventId>, EngineError>>,
    pub(super) fate: Fate,
    /// Its share of what may wait.
    pub(super) _share: OwnedSemaphorePermit,
}

/// Whether a request may have reached the store. Shared by the writer and the caller.
#[derive(Clone, Debug, Default)]
pub(super) struct Fate(Arc<AtomicU8>);

const WAITING: u8 = 0;
const SENT: u8 = 1;
const GIVEN_UP: u8 = 2;

impl Fate {
    /// The writer is about to send the request. Returns false if the caller has given up.
    pub(super) fn send(&self) -> bool {
        self.leave_waiting(SENT)
    }

    /// The caller gives up. Returns false if the request may have reached the store.
    pub(super) fn give_up(&self) -> bool {
        self.leave_waiting(GIVEN_UP)
    }

    fn leave_waiting(&self, to: u8) -> bool {
        self.0
            .compare_exchange(WAITING, to, Ordering::AcqRel, Ordering::Acquire)
            .is_ok()
    }
}

impl AppendRequest {
    /// Bytes of its entries.
    pub(super) fn bytes(&self) -> usize {
        self.entries.iter().map(|entry| entry.json.len()).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_either_sent_or_given_up() {
        let fate = Fate::default();
        assert!(fate.clone().send());
        assert!(!fate.give_up());
        let fate = Fate::default();
        assert!(fate.clone().give_up());
        assert!(!fate.send());
    }
}
