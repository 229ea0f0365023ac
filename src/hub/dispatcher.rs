//! The state of dispatch, which is locked while somebody dispatches.

use std::sync::Arc;

use tokio::sync::mpsc;

use super::inbox::Command;
use super::log::Entry;

/// Commands for each shard that are not in its inbox yet.
pub(super) type Commands = [Vec<Command>];

/// Who holds it dispatches.
#[derive(Debug)]
pub(super) struct Dispatcher {
    /// Empty between two batches, for the next one.
    pub(super) commands: Box<Commands>,
    /// Where everything that is dispatched goes, too. Then only the dispatcher's task dispatches, because it can wait.
    pub(super) tap: Option<mpsc::Sender<Arc<Entry>>>,
    /// True once the task runs.
    pub(super) is_running: bool,
}

impl Dispatcher {
    /// A dispatcher for this number of shards.
    pub(super) fn new(shards: usize) -> Self {
        Self {
            commands: (0..shards).map(|_| Vec::new()).collect(),
            tap: None,
            is_running: false,
        }
    }
}
