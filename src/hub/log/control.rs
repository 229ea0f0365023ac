//! What every node is asked, in the order of the log.

use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, oneshot};

use crate::event::UserId;

/// What every node is asked to do when it comes to it in the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Control {
    /// End all connections of a user, who may come back.
    Disconnect {
        /// Whose.
        user: UserId,
    },
}

impl Control {
    /// Bytes that it owns beside its own.
    pub(super) fn heap_bytes(&self) -> usize {
        match self {
            Self::Disconnect { user } => user.heap_bytes(),
        }
    }
}

/// A node's answer to a control entry: how many connections it has ended.
#[derive(Debug)]
pub struct Receipt {
    reply: Mutex<Option<oneshot::Sender<u64>>>,
    /// A share of what may be on its way, given back with the entry.
    _share: OwnedSemaphorePermit,
}

impl Receipt {
    /// One that the receiver waits for.
    pub(crate) fn new(share: OwnedSemaphorePermit) -> (Self, oneshot::Receiver<u64>) {
        let (reply, ended) = oneshot::channel();
        let receipt = Self {
            reply: Mutex::new(Some(reply)),
            _share: share,
        };
        (receipt, ended)
    }

    /// Whether somebody still waits for it.
    pub(crate) fn is_wanted(&self) -> bool {
        let reply = self.reply.lock();
        reply.as_ref().is_some_and(|reply| !reply.is_closed())
    }

    /// Answers. Whoever left needs no answer.
    pub(crate) fn give(&self, ended: u64) {
        if let Some(reply) = self.reply.lock().take() {
            let _ = reply.send(ended);
        }
    }
}
