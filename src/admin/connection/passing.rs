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
pub(crate) struct Passing(watch::Sender<Option<mpsc::UnboundedSender<PassedConnection>>>);

impl Default for Passing {
    fn default() -> Self {
        Self(watch::Sender::new(None))
    }
}

impl Passing {
    /// Begins to pass connections on.
    pub(crate) fn begin(&self) -> mpsc::UnboundedReceiver<PassedConnection> {
        let (to, passed) = mpsc::unbounded_channel();
        self.0.send_replace(Some(to));
        passed
    }

    /// Keeps connections again.
    pub(crate) fn end(&self) {
        self.0.send_replace(None);
    }

    /// Waits until connections are passed on, and returns where to.
    pub(super) async fn begun(&self) -> mpsc::UnboundedSender<PassedConnection> {
        let mut state = self.0.subscribe();
        if let Ok(begun) = state.wait_for(Option::is_some).await
            && let Some(to) = &*begun
        {
            return to.clone();
        }
        std::future::pending().await
    }

    /// Waits until connections are kept.
    pub(super) async fn ended(&self) {
        // An error means that the server no longer exists.
        let _ = self.0.subscribe().wait_for(Option::is_none).await;
    }
}
