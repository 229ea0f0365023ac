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
/// Bytes of entries that may wait for the new process, however small the history is.
const LEAST_WAITING_BYTES: usize = 64 << 20;

/// The entries that the old process has dispatched and the new one does not have.
pub(super) struct Seam {
    tapped: mpsc::Receiver<Arc<Entry>>,
    /// Entries that have passed the tap.
    ahead: VecDeque<Arc<Entry>>,
    ahead_bytes: usize,
    most_bytes: usize,
    /// The newest entry that the new process has.
    pub(super) position: Position,
}

impl Seam {
    /// Everything after `position` passes through `tapped`. As many bytes may wait as a history of `history_bytes` has.
    pub(super) fn new(
        tapped: mpsc::Receiver<Arc<Entry>>,
        position: Position,
        history_bytes: usize,
    ) -> Self {
        Self {
            tapped,
            ahead: VecDeque::new(),
            ahead_bytes: 0,
            most_bytes: history_bytes.max(LEAST_WAITING_BYTES),
            position,
        }
    }

    /// Waits for something that may have to wait for the dispatcher. The dispatcher must not wait for this side then.
    ///
    /// # Errors
    /// [`HandoverError::TooSlow`] if too much waits for the new process meanwhile.
    pub(super) async fn while_waiting<T>(
        &mut self,
        what: impl Future<Output = T>,
    ) -> Result<T, HandoverError> {
        let mut what = pin!(what);
        loop {
            tokio::select! {
                biased;
                done = &mut what => return Ok(done),
                Some(entry) = self.tapped.recv() => self.push(entry),
            }
            if self.ahead_bytes > self.most_bytes {
                return Err(HandoverError::TooSlow(self.most_bytes));
            }
        }
    }

    fn push(&mut self, entry: Arc<Entry>) {
        self.ahead_bytes += entry.heap_bytes();
        self.ahead.push_back(entry);
    }

    /// The newest entry that has passed the tap and that the new process does not have; `None` if there is none.
    pub(super) fn newest(&mut self) -> Option<Position> {
        while let Ok(entry) = self.tapped.try_recv() {
            self.push(entry);
        }
        self.ahead.back().map(|entry| entry.position)
    }

    /// Takes up to [`CHUNK`] entries, none after `to`, which the dispatcher has passed. Waits for the first.
    ///
    /// # Errors
    /// If the dispatcher has ended.
    pub(super) async fn take(&mut self, to: Position) -> Result<Vec<Arc<Entry>>, HandoverError> {
        if self.ahead.is_empty() {
            let entry = self.tapped.recv().await;
            self.push(entry.ok_or(HandoverError::ShardsEnded)?);
        }
        self.newest();
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
        let taken_bytes: usize = taken.iter().map(|entry| entry.heap_bytes()).sum();
        self.ahead_bytes -= taken_bytes;
        // Nothing has a position between the last of them and `to` if there are no more.
        self.position = match taken.last() {
            Some(last) if ready > count => last.position,
            _ => to,
        };
        Ok(taken)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::event::EventId;
    use crate::hub::log::{Log, Record};

    /// A log, and a seam through which its entries pass.
    struct Scene {
        log: Log,
        tap: mpsc::Sender<Arc<Entry>>,
        seam: Seam,
        ms: u64,
    }

    impl Scene {
        fn new() -> Self {
            let (tap, tapped) = mpsc::channel(16);
            Self {
                log: Log::new(1 << 20, Duration::from_secs(60), EventId::origin(1)),
                tap,
                seam: Seam::new(tapped, Position(0), 0),
                ms: 1,
            }
        }

        async fn pass(&mut self, count: usize) {
            for _ in 0..count {
                self.ms += 1;
                let id = EventId::origin(self.ms);
                self.log.append(id, 0, Record::Mark).unwrap();
            }
            for entry in self.log.next_batch(count).await {
                self.log.mark_dispatched(&entry, 0);
                self.tap.try_send(entry).unwrap();
            }
        }
    }

    #[tokio::test]
    async fn what_has_passed_the_tap_can_be_forwarded_and_the_rest_follows() {
        let mut scene = Scene::new();
        assert_eq!(scene.seam.newest(), None);
        scene.pass(3).await;
        let newest = scene.seam.newest().unwrap();
        scene.pass(2).await;
        assert_eq!(scene.seam.take(newest).await.unwrap().len(), 3);
        assert_eq!(scene.seam.position, newest);
        let rest = scene.seam.newest().unwrap();
        assert_eq!(rest.0, newest.0 + 2);
        assert_eq!(scene.seam.take(rest).await.unwrap().len(), 2);
        assert_eq!(scene.seam.newest(), None);
    }
    #[tokio::test]
    async fn only_so_much_waits_for_a_process_that_does_not_keep_up() {
        let mut scene = Scene::new();
        scene.pass(2).await;
        let waiting = scene.seam.while_waiting(tokio::task::yield_now()).await;
        assert!(waiting.is_ok());
        let newest = scene.seam.newest().unwrap();
        scene.seam.most_bytes = scene.seam.ahead_bytes;
        scene.pass(1).await;
        let waiting = scene.seam.while_waiting(std::future::pending::<()>()).await;
        assert!(matches!(waiting, Err(HandoverError::TooSlow(_))));
        // What is forwarded makes room.
        scene.seam.take(newest).await.unwrap();
        scene.pass(1).await;
        let waiting = scene.seam.while_waiting(tokio::task::yield_now()).await;
        assert!(waiting.is_ok());
    }
}
