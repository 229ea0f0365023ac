//! The subscribers of the live statistics. Each has a short queue; one that does not keep up is
//! disconnected, so it never delays the others.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use hyper::body::{Body, Bytes, Frame};
use parking_lot::{Mutex, MutexGuard};
use tokio::sync::mpsc;
use tokio::sync::mpsc::error::TrySendError;

use super::time_series::TimeSeries;
use crate::admin::connection::AdminConnection;
use crate::config::KeyHash;

/// Events that wait for one subscriber: the first three, or a few seconds' worth. They wait here only
/// when the connection's buffer and the kernel's are full.
const QUEUE: usize = 8;

/// The open streams of live statistics, and what a new one starts with.
#[derive(Debug, Default)]
pub(crate) struct LiveStats(Mutex<LiveState>);

#[derive(Debug, Default)]
pub(super) struct LiveState {
    pub(super) recent: TimeSeries,
    pub(super) subscribers: Vec<Subscriber>,
}

#[derive(Debug)]
pub(super) struct Subscriber {
    events: mpsc::Sender<Bytes>,
    /// Hash of the API key that it presented.
    key_hash: KeyHash,
    /// The refusals that were last sent to it.
    refusals: Bytes,
    connection: Arc<AdminConnection>,
}

/// The response body of one subscriber.
#[derive(Debug)]
pub(crate) struct EventStream(mpsc::Receiver<Bytes>);

impl LiveStats {
    pub(super) fn lock(&self) -> MutexGuard<'_, LiveState> {
        self.0.lock()
    }

    /// Ends all streams. Call this after the server has stopped, when no new stream can start.
    pub(crate) fn finish(&self) {
        self.0.lock().subscribers.clear();
    }
}

impl Subscriber {
    /// A subscriber on this connection, with the key that it presented.
    pub(super) fn new(key: &str, connection: &Arc<AdminConnection>) -> (Self, EventStream) {
        let (sender, receiver) = mpsc::channel(QUEUE);
        let subscriber = Self {
            events: sender,
            key_hash: KeyHash::of(key),
            refusals: Bytes::new(),
            connection: Arc::clone(connection),
        };
        (subscriber, EventStream(receiver))
    }

    pub(super) fn is_gone(&self) -> bool {
        self.events.is_closed()
    }

    pub(super) fn key_hash(&self) -> KeyHash {
        self.key_hash
    }

    /// Sends the refusals if they have changed since the last time. Returns the same as [`Self::send`].
    pub(super) fn send_refusals(&mut self, refusals: &Bytes) -> bool {
        if self.refusals == refusals {
            return true;
        }
        self.refusals = refusals.clone();
        self.send(refusals)
    }

    /// Queues an event. Returns false if the subscriber has left, or if its queue is full; in that case,
    /// its connection is aborted.
    pub(super) fn send(&self, event: &Bytes) -> bool {
        match self.events.try_send(event.clone()) {
            Ok(()) => true,
            Err(TrySendError::Closed(_)) => false,
            Err(TrySendError::Full(_)) => {
                self.connection.abort();
                false
            }
        }
    }
}

impl Body for EventStream {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        self.0
            .poll_recv(cx)
            .map(|event| event.map(|event| Ok(Frame::data(event))))
    }
}
