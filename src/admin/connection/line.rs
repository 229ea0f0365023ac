//! An admin connection, as its requests and the table of all see it.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use tokio::sync::Notify;

/// The state of one admin connection, shared between its requests and the table of all.
#[derive(Debug)]
pub(crate) struct Line {
    peer: Option<SocketAddr>,
    cut: Notify,
    gone: Notify,
    /// The server works on a request: nobody waits for this client.
    is_busy: AtomicBool,
    /// Something of the current request's body has not been read.
    has_unread: AtomicBool,
    /// Its answer is a stream.
    is_streaming: AtomicBool,
    /// Its place among all moments at which some connection moved.
    moved: AtomicU64,
    /// When that was.
    moved_ms: AtomicU64,
}

impl Line {
    pub(crate) fn new(peer: Option<SocketAddr>, moved: u64, now_ms: u64) -> Self {
        Self {
            peer,
            cut: Notify::new(),
            gone: Notify::new(),
            is_busy: AtomicBool::new(false),
            has_unread: AtomicBool::new(false),
            is_streaming: AtomicBool::new(false),
            moved: AtomicU64::new(moved),
            moved_ms: AtomicU64::new(now_ms),
        }
    }

    /// The other end; `None` for a unix socket.
    pub(crate) fn peer(&self) -> Option<SocketAddr> {
        self.peer
    }

    /// Has the connection closed with whatever still waits in it.
    pub(crate) fn cut(&self) {
        self.cut.notify_one();
    }

    /// Waits until somebody cuts it.
    pub(crate) async fn is_cut(&self) {
        self.cut.notified().await;
    }

    /// Its socket is closed.
    pub(crate) fn left(&self) {
        self.gone.notify_one();
    }

    /// Waits until its socket is closed.
    pub(crate) async fn is_gone(&self) {
        self.gone.notified().await;
    }

    /// Whether the server works on a request, or waits for the client.
    pub(crate) fn set_busy(&self, is_busy: bool) {
        self.is_busy.store(is_busy, Ordering::Relaxed);
    }

    /// Whether something of the current request's body has not been read.
    pub(crate) fn set_unread(&self, has_unread: bool) {
        self.has_unread.store(has_unread, Ordering::Relaxed);
    }

    /// The answer is a stream from now on.
    pub(crate) fn set_streaming(&self) {
        self.is_streaming.store(true, Ordering::Relaxed);
    }

    pub(crate) fn is_streaming(&self) -> bool {
        self.is_streaming.load(Ordering::Relaxed)
    }

    pub(crate) fn has_unread(&self) -> bool {
        self.has_unread.load(Ordering::Relaxed)
    }

    /// Bytes came or went, as the `moved`th of all.
    pub(crate) fn moved(&self, moved: u64, now_ms: u64) {
        self.moved.store(moved, Ordering::Relaxed);
        self.moved_ms.store(now_ms, Ordering::Relaxed);
    }

    /// It has had its last answer, and is the first that may be cut.
    pub(crate) fn is_done(&self) {
        self.set_busy(false);
        self.moved.store(0, Ordering::Relaxed);
    }

    /// Whether the server works on a request.
    pub(crate) fn is_busy(&self) -> bool {
        self.is_busy.load(Ordering::Relaxed)
    }

    /// Sorts by who is cut first: of those that wait for their client, the one that has not moved
    /// for longest.
    pub(crate) fn rank(&self) -> (bool, u64) {
        (self.is_busy(), self.moved.load(Ordering::Relaxed))
    }

    pub(crate) fn idle_ms(&self, now_ms: u64) -> u64 {
        now_ms.saturating_sub(self.moved_ms.load(Ordering::Relaxed))
    }
}
