//! Admin connections that another process of the server continues.
//!
//! A connection is passed on between two requests. Until then, this process answers. Meanwhile no connection is
//! accepted; new ones wait in the listener's queue.

use std::os::fd::OwnedFd;

use bytes::Bytes;
use tokio::sync::{mpsc, watch};

/// A connection between two requests.
#[derive(Debug)]
pub(crate) struct PassedConnection {
    pub(crate) socket: OwnedFd,
    /// The beginning of the next request.
    pub(crate) received: Bytes,
}

/// Where connections are passed on to, if they are.
#[derive(Debug)]
pub(crate) struct Passing(watch::Sender<Passage>);

/// What happens to connections between two requests.
#[derive(Debug)]
enum Passage {
    Kept,
    To(mpsc::UnboundedSender<PassedConnection>),
    /// The other process serves. Those that were too late are closed.
    Over,
}

impl Default for Passing {
    fn default() -> Self {
        Self(watch::Sender::new(Passage::Kept))
    }
}

impl Passing {
    /// Begins to pass connections on. What comes after the receiver is dropped waits for the end.
    pub(crate) fn begin(&self) -> mpsc::UnboundedReceiver<PassedConnection> {
        let (to, passed) = mpsc::unbounded_channel();
        self.0.send_replace(Passage::To(to));
        passed
    }

    /// Keeps connections again.
    pub(crate) fn end(&self) {
        self.0.send_replace(Passage::Kept);
    }

    /// No connection is kept or passed on from now on.
    pub(crate) fn complete(&self) {
        self.0.send_replace(Passage::Over);
    }

    /// Waits until connections are passed on, and returns where to. `None` if that is over.
    pub(super) async fn begun(&self) -> Option<mpsc::UnboundedSender<PassedConnection>> {
        let mut state = self.0.subscribe();
        let begun = state.wait_for(|now| !matches!(now, Passage::Kept)).await;
        // An error means that the server no longer exists.
        match &*begun.ok()? {
            Passage::To(to) => Some(to.clone()),
            Passage::Kept | Passage::Over => None,
        }
    }

    /// Waits until connections are kept.
    pub(super) async fn ended(&self) {
        // An error means that the server no longer exists.
        let kept = |now: &Passage| matches!(now, Passage::Kept);
        let _ = self.0.subscribe().wait_for(kept).await;
    }

    /// Waits until connections are no longer passed on. Returns true if they are kept.
    pub(super) async fn is_kept(&self) -> bool {
        let mut state = self.0.subscribe();
        let decided = state.wait_for(|now| !matches!(now, Passage::To(_))).await;
        decided.is_ok_and(|now| matches!(*now, Passage::Kept))
    }
}
