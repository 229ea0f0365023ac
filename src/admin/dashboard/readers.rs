//! Who watches the live stream. A few readers, each with a short queue: whoever does not keep up is
//! cut off and holds up nobody.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use hyper::body::{Body, Bytes, Frame};
use parking_lot::{Mutex, MutexGuard};
use tokio::sync::mpsc;
use tokio::sync::mpsc::error::TrySendError;

use super::past::Past;
use crate::admin::connection::Line;
use crate::config::KeyHash;

/// Events that wait for one reader: the first three, or some seconds of them. Before they wait
/// here, they have filled the connection's buffer and the kernel's.
const QUEUE: usize = 8;

/// The open live streams of the dashboard.
#[derive(Debug, Default)]
pub(crate) struct Live(Mutex<State>);

#[derive(Debug, Default)]
pub(super) struct State {
    pub(super) past: Past,
    pub(super) readers: Vec<Reader>,
}

#[derive(Debug)]
pub(super) struct Reader {
    events: mpsc::Sender<Bytes>,
    /// Of the key that it was let in with.
    key_hash: KeyHash,
    /// As it last got them.
    refusals: Bytes,
    line: Arc<Line>,
}

/// What a reader's connection sends.
#[derive(Debug)]
pub(crate) struct Events(mpsc::Receiver<Bytes>);

impl Live {
    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock()
    }

    /// Ends all streams. The server has stopped, so that no other begins.
    pub(crate) fn finish(&self) {
        self.0.lock().readers.clear();
    }
}

impl Reader {
    /// A reader on this connection, who came with this key.
    pub(super) fn new(key: &str, line: &Arc<Line>) -> (Self, Events) {
        let (sender, receiver) = mpsc::channel(QUEUE);
        let reader = Self {
            events: sender,
            key_hash: KeyHash::of(key),
            refusals: Bytes::new(),
            line: Arc::clone(line),
        };
        (reader, Events(receiver))
    }

    pub(super) fn is_gone(&self) -> bool {
        self.events.is_closed()
    }

    pub(super) fn key_hash(&self) -> KeyHash {
        self.key_hash
    }

    /// Sends them if they are others than it got last; as [`Reader::send`].
    pub(super) fn tell_refusals(&mut self, refusals: &Bytes) -> bool {
        if self.refusals == refusals {
            return true;
        }
        self.refusals = refusals.clone();
        self.send(refusals)
    }

    /// False where it is gone, or has too much waiting: then its connection is cut.
    pub(super) fn send(&self, event: &Bytes) -> bool {
        match self.events.try_send(event.clone()) {
            Ok(()) => true,
            Err(TrySendError::Closed(_)) => false,
            Err(TrySendError::Full(_)) => {
                self.line.cut();
                false
            }
        }
    }
}

impl Body for Events {
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
