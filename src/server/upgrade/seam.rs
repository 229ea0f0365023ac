//! Where the new process's log ends, and what it does not have yet.

use std::collections::VecDeque;
use std::pin::pin;
use std::sync::Arc;

use tokio::sync::mpsc;

use super::error::HandoverError;
use crate::event::Position;
use crate::hub::log::Entry;

/// Most entries, or standings, of one message.
pub(super) const CHUNK: usize = 1_024;
/// Bytes of entries at which a message takes no more.
pub(super) const CHUNK_BYTES: usize = 4 << 20;

/// The entries that the old process has dispatched and the new one does not have.
pub(super) struct Seam {
    tapped: mpsc::Receiver<Arc<Entry>>,
    /// Entries that have passed the tap.
    ahead: VecDeque<Arc<Entry>>,
    /// The newest entry that the new process has.
    pub(super) position: Position,
}

impl Seam {
    /// Everything after `position` passes through `tapped`.
    pub(super) fn new(tapped: mpsc::Receiver<Arc<Entry>>, position: Position) -> Self {
        Self {
            tapped,
            ahead: VecDeque::new(),
            position,
        }
    }

    /// Waits for something that may have to wait for the dispatcher. The dispatcher must not wait for this side then.
    pub(super) async fn while_waiting<T>(&mut self, what: impl Future<Output = T>) -> T {
        let mut what = pin!(what);
        loop {
            tokio::select! {
                biased;
                done = &mut what => return done,
                Some(entry) = self.tapped.recv() => self.ahead.push_back(entry),
            }
        }
    }

    /// Takes up to [`CHUNK`] entries, none after `to`, which the dispatcher has passed. Waits for the first.
    ///
    /// # Errors
    /// If the dispatcher has ended.
    pub(super) async fn take(&mut self, to: Position) -> Result<Vec<Arc<Entry>>, HandoverError> {
        if self.ahead.is_empty() {
            let entry = self.tapped.recv().await;
            self.ahead
                .push_back(entry.ok_or(HandoverError::ShardsEnded)?);
        }
        while let Ok(entry) = self.tapped.try_recv() {
            self.ahead.push_back(entry);
        }
        let ready = self.ahead.partition_point(|entry| entry.position <= to);
        let mut bytes = 0;
        let fitting = self
            .ahead
            .iter()
            .take(ready.min(CHUNK))
            .take_while(|entry| {
                let fits = bytes < CHUNK_BYTES;
                bytes += entry.heap_bytes();
                fits
            });
        let count = fitting.count();
        let taken: Vec<_> = self.ahead.drain(..count).collect();
        // Nothing has a position between the last of them and `to` if there are no more.
        self.position = match taken.last() {
            Some(last) if ready > count => last.position,
            _ => to,
        };
        Ok(taken)
    }
}
