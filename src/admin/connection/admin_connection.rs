//! The state of one admin connection, shared by its requests and the table of open connections.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use tokio::sync::Notify;

/// The state of one admin connection.
#[derive(Debug)]
pub(crate) struct AdminConnection {
    peer: Option<SocketAddr>,
    aborted: Notify,
    closed: Notify,
    /// True while the server works on a request, false while it waits for the client.
    is_busy: AtomicBool,
    /// True while a part of the current request's body has not been read.
    has_unread: AtomicBool,
    /// False while a part of a response waits for the socket.
    is_flushed: AtomicBool,
    /// True once its response is a stream.
    is_streaming: AtomicBool,
    /// When bytes last moved, in the order of all connections' activity.
    last_active: AtomicU64,
    /// When bytes last moved, on the clock.
    last_active_ms: AtomicU64,
}

impl AdminConnection {
    pub(crate) fn new(peer: Option<SocketAddr>, last_active: u64, now_ms: u64) -> Self {
        Self {
            peer,
            aborted: Notify::new(),
            closed: Notify::new(),
            is_busy: AtomicBool::new(false),
            has_unread: AtomicBool::new(false),
            is_flushed: AtomicBool::new(true),
            is_streaming: AtomicBool::new(false),
            last_active: AtomicU64::new(last_active),
            last_active_ms: AtomicU64::new(now_ms),
        }
    }

    /// The client's address; `None` for a unix socket.
    pub(crate) fn peer(&self) -> Option<SocketAddr> {
        self.peer
    }

    /// Makes its task close the socket at once and drop unsent bytes.
    pub(crate) fn abort(&self) {
        self.aborted.notify_one();
    }

    /// Waits for [`Self::abort`].
    pub(crate) async fn wait_until_aborted(&self) {
        self.aborted.notified().await;
    }

    /// Records that its socket is closed.
    pub(crate) fn mark_closed(&self) {
        self.closed.notify_one();
    }

    /// Waits until its socket is closed.
    pub(crate) async fn wait_until_closed(&self) {
        self.closed.notified().await;
    }

    /// Records whether the server works on a request or waits for the client.
    pub(crate) fn set_busy(&self, is_busy: bool) {
        self.is_busy.store(is_busy, Ordering::Relaxed);
    }

    /// Records whether a part of the current request's body has not been read.
    pub(crate) fn set_unread(&self, has_unread: bool) {
        self.has_unread.store(has_unread, Ordering::Relaxed);
    }

    /// Records that the response is a stream from now on.
    pub(crate) fn set_streaming(&self) {
        self.is_streaming.store(true, Ordering::Relaxed);
    }

    pub(crate) fn is_streaming(&self) -> bool {
        self.is_streaming.load(Ordering::Relaxed)
    }

    pub(crate) fn has_unread(&self) -> bool {
        self.has_unread.load(Ordering::Relaxed)
    }

    /// Records whether everything that was written has reached the socket.
    pub(crate) fn set_flushed(&self, is_flushed: bool) {
        self.is_flushed.store(is_flushed, Ordering::Relaxed);
    }

    /// Returns true if no request is under way and the last response was sent.
    pub(crate) fn is_between_requests(&self) -> bool {
        !self.is_busy()
            && !self.has_unread()
            && !self.is_streaming()
            && self.is_flushed.load(Ordering::Relaxed)
    }

    /// Records that bytes were received or sent.
    pub(crate) fn record_activity(&self, order: u64, now_ms: u64) {
        self.last_active.store(order, Ordering::Relaxed);
        self.last_active_ms.store(now_ms, Ordering::Relaxed);
    }

    /// Records that the last response was sent. The connection is now the first to be closed at the limit.
    pub(crate) fn mark_done(&self) {
        self.set_busy(false);
        self.last_active.store(0, Ordering::Relaxed);
    }

    /// Returns true while the server works on a request.
    pub(crate) fn is_busy(&self) -> bool {
        self.is_busy.load(Ordering::Relaxed)
    }

    /// The order in which connections are closed at the limit: idle ones first, and among those the one
    /// that has been idle longest.
    pub(crate) fn rank(&self) -> (bool, u64) {
        (self.is_busy(), self.last_active.load(Ordering::Relaxed))
    }

    pub(crate) fn idle_ms(&self, now_ms: u64) -> u64 {
        now_ms.saturating_sub(self.last_active_ms.load(Ordering::Relaxed))
    }
}
