//! An admin connection, as its requests see it.

use std::net::SocketAddr;

use tokio::sync::Notify;

/// See the module's text.
#[derive(Debug)]
pub(super) struct Line {
    peer: Option<SocketAddr>,
    cut: Notify,
}

impl Line {
    pub(super) fn new(peer: Option<SocketAddr>) -> Self {
        Self {
            peer,
            cut: Notify::new(),
        }
    }

    /// The other end; `None` for a unix socket.
    pub(super) fn peer(&self) -> Option<SocketAddr> {
        self.peer
    }

    /// Has the connection closed with whatever still waits in it.
    pub(super) fn cut(&self) {
        self.cut.notify_one();
    }

    /// Waits until somebody cuts it.
    pub(super) async fn is_cut(&self) {
        self.cut.notified().await;
    }
}
