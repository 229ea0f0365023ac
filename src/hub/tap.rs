//! What the dispatcher does for a process that continues this one: cuts and holds between two batches, and the tap.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use parking_lot::Mutex;
use tokio::sync::{Notify, mpsc, oneshot, watch};

use super::directory::Standing;
use super::log::{DispatchedLog, Entry};
use crate::event::Position;

/// Most entries that wait in the tap. The dispatcher waits beyond that, and publishers behind it.
pub(super) const MAX_TAPPED: usize = 4_096;

/// Everything up to one position of the log.
#[derive(Debug)]
pub(crate) struct Cut {
    pub(crate) log: DispatchedLog,
    /// The users with a known session change.
    pub(crate) standings: Vec<(String, Standing)>,
    /// Everything after the cut.
    pub(crate) tapped: mpsc::Receiver<Arc<Entry>>,
}

/// Where entries pass on their way to another process.
#[derive(Debug, Default)]
pub(super) struct Tap {
    pub(super) requests: Mutex<Vec<DispatcherRequest>>,
    pub(super) requested: Notify,
    /// The number of holds so far.
    pub(super) holds: AtomicU64,
    /// How far the other process has come, once streams move to it.
    pub(super) forwarded: watch::Sender<Option<Position>>,
}

/// What the dispatcher does between two batches.
#[derive(Debug)]
pub(super) enum DispatcherRequest {
    Cut(oneshot::Sender<Cut>),
    Hold(oneshot::Sender<Hold>),
}

/// Shards that are about to be held.
#[derive(Debug)]
pub(super) struct Hold {
    pub(super) position: Position,
    pub(super) held: Vec<oneshot::Receiver<()>>,
}

impl Tap {
    pub(super) fn ask(&self, request: DispatcherRequest) {
        self.requests.lock().push(request);
        self.requested.notify_one();
    }

    /// Waits until somebody asks for a cut or a hold. For the dispatcher.
    pub(super) async fn requested(&self) {
        self.requested.notified().await;
    }
}
