//! How many questions of nodes are under way, and who answers those of others.

use std::sync::{Arc, OnceLock, Weak};

use tokio::sync::{OwnedSemaphorePermit, Semaphore, SemaphorePermit};

use crate::hub::engine::LocalNode;

/// Most questions of this node that are under way, so that operators' tools cannot push each other's out.
const MAX_ASKED: usize = 32;
/// Most questions that this node answers at once. Others find it silent.
const MAX_ANSWERED: usize = 64;

/// The questions that are under way, and who answers those of other nodes.
pub(super) struct Asking {
    node: OnceLock<Weak<dyn LocalNode>>,
    asked: Semaphore,
    answered: Arc<Semaphore>,
}

impl Default for Asking {
    fn default() -> Self {
        Self {
            node: OnceLock::new(),
            asked: Semaphore::new(MAX_ASKED),
            answered: Arc::new(Semaphore::new(MAX_ANSWERED)),
        }
    }
}

impl Asking {
    /// Answers questions of other nodes from now on.
    pub(super) fn begin(&self, node: Weak<dyn LocalNode>) {
        // It is opened once.
        let _ = self.node.set(node);
    }

    /// This node. `None` before the engine is open, and when the node is gone.
    pub(super) fn node(&self) -> Option<Arc<dyn LocalNode>> {
        self.node.get().and_then(Weak::upgrade)
    }

    /// Waits until this node may ask one more question, until the share is dropped.
    pub(super) async fn share(&self) -> SemaphorePermit<'_> {
        let share = self.asked.acquire().await;
        share.expect("the semaphore is never closed")
    }

    /// The node that answers, and its share of the answers, which is dropped with the answer. `None` if too many are
    /// being answered, or the node is gone.
    pub(super) fn answerer(&self) -> Option<(Arc<dyn LocalNode>, OwnedSemaphorePermit)> {
        let node = self.node()?;
        let share = Arc::clone(&self.answered).try_acquire_owned().ok()?;
        Some((node, share))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hub::Hub;

    #[test]
    fn a_node_that_is_gone_answers_nothing() {
        let asking = Asking::default();
        assert!(asking.answerer().is_none());
        asking.begin(Weak::<Hub>::new());
        assert!(asking.answerer().is_none());
        assert_eq!(asking.answered.available_permits(), MAX_ANSWERED);
    }
}
