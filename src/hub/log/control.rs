//! Requests to every node, in the order of the log.

use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, oneshot};

use crate::event::UserId;

/// A request that each node carries out when it comes to it in the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Control {
    /// End all connections of a user. The clients may come back.
    Disconnect {
        /// The user.
        user: UserId,
    },
}

impl Control {
    /// Bytes on the heap.
    pub(super) fn heap_bytes(&self) -> usize {
        match self {
            Self::Disconnect { user } => user.heap_bytes(),
        }
    }
}

/// A node's answer to a control entry: the number of connections it has ended.
#[derive(Debug)]
pub struct Receipt {
    reply: Mutex<Option<oneshot::Sender<u64>>>,
    /// A share of the control entries that may be under way, given back with the entry.
    _share: OwnedSemaphorePermit,
}

impl Receipt {
    /// Returns a receipt and the receiver of its answer.
    pub(crate) fn new(share: OwnedSemaphorePermit) -> (Self, oneshot::Receiver<u64>) {
        let (reply, ended) = oneshot::channel();
        let receipt = Self {
            reply: Mutex::new(Some(reply)),
            _share: share,
        };
        (receipt, ended)
    }

    /// Returns true if the answer is still waited for.
    pub(crate) fn is_wanted(&self) -> bool {
        let reply = self.reply.lock();
        reply.as_ref().is_some_and(|reply| !reply.is_closed())
    }

    /// Sends the answer, unless the receiver is gone.
    pub(crate) fn give(&self, ended: u64) {
        if let Some(reply) = self.reply.lock().take() {
            let _ = reply.send(ended);
        }
    }
}
