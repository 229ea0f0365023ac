//! `GET /v1/stats/live`: the numbers as they change, for dashboards.
//!
//! A few readers, each with a short queue. Whoever does not keep up is cut off and holds up nobody:
//! each second's events are made once, and put where there is room.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use http_body_util::Either;
use hyper::body::{Body, Bytes, Frame};
use hyper::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderName, HeaderValue};
use hyper::{HeaderMap, Response};
use parking_lot::Mutex;
use serde_json::Value;
use tokio::sync::mpsc;
use tokio::sync::mpsc::error::TrySendError;

use super::answer::{Answer, Problem};
use super::past::Past;
use super::routes::presented_key;
use super::{Admin, Line, recent_refusals, stats};
use crate::config::KeyHash;
use crate::wire::{self, Signal, Wire};

/// Streams at once: some dashboards, and most of the admin connections left for publishers.
const MAX_STREAMS: usize = 16;
/// Events that wait for one reader: the first three, or some seconds of them. Before they wait
/// here, they have filled the connection's buffer ([`super::BUFFER_BYTES`]) and the kernel's.
const QUEUE: usize = 8;

/// As on the public streams, no proxy is to compress or hold back; and none is to store what needs
/// a key.
const LIVE_CACHE_CONTROL: &str = "no-cache, no-store, no-transform";

/// The open live streams of the dashboard.
#[derive(Debug, Default)]
pub(super) struct Live(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    past: Past,
    readers: Vec<Reader>,
}

#[derive(Debug)]
struct Reader {
    events: mpsc::Sender<Bytes>,
    /// Of the key that it was let in with.
    key_hash: KeyHash,
    /// As it last got them.
    refusals: Bytes,
    line: Arc<Line>,
}

/// What a reader's connection sends.
#[derive(Debug)]
pub(super) struct Events(mpsc::Receiver<Bytes>);

impl Live {
    /// Once a second: the events of this second, to whoever may still have them.
    pub(super) fn tick(&self, admin: &Admin) {
        let mut state = self.0.lock();
        let point = state.past.tick(admin);
        let point = point.map(|point| event("point", &point.json()));
        state.readers.retain(|reader| reader.may_stay(admin));
        if state.readers.is_empty() {
            return;
        }
        let stats = event("stats", &stats::now(admin));
        let refusals = event("refusals", &recent_refusals::now(admin));
        state.readers.retain_mut(|reader| {
            reader.send(&stats)
                && point.as_ref().is_none_or(|point| reader.send(point))
                && reader.tell_refusals(&refusals)
        });
    }

    /// Ends all streams. The server has stopped, so that no other begins.
    pub(super) fn finish(&self) {
        self.0.lock().readers.clear();
    }
}

/// `GET /v1/stats/live`
pub(super) fn answer(
    admin: &Admin,
    headers: &HeaderMap,
    line: &Arc<Line>,
) -> Result<Answer, Problem> {
    let key = presented_key(headers).ok_or_else(Problem::unauthorized)?;
    let (sender, receiver) = mpsc::channel(QUEUE);
    let mut reader = Reader {
        events: sender,
        key_hash: KeyHash::of(&key),
        refusals: Bytes::new(),
        line: Arc::clone(line),
    };
    let stats = event("stats", &stats::now(admin));
    let mut state = admin.live.0.lock();
    state.readers.retain(|reader| !reader.events.is_closed());
    if admin.shutdown.is_stopped() {
        return Err(Problem::unavailable("the server has ended"));
    }
    if state.readers.len() >= MAX_STREAMS {
        return Err(Problem::unavailable(format!(
            "{MAX_STREAMS} dashboards are open; close one"
        )));
    }
    reader.send(&event("history", &state.past.json()));
    reader.tell_refusals(&event("refusals", &recent_refusals::now(admin)));
    reader.send(&stats);
    state.readers.push(reader);
    drop(state);
    line.set_streaming();
    let mut answer = Response::new(Either::Right(Events(receiver)));
    let headers = answer.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static(LIVE_CACHE_CONTROL));
    // For an nginx in front of the admin side.
    headers.insert(
        HeaderName::from_static("x-accel-buffering"),
        HeaderValue::from_static("no"),
    );
    Ok(answer)
}

impl Reader {
    /// Whether it is still there, with a key that still is one.
    fn may_stay(&self, admin: &Admin) -> bool {
        !self.events.is_closed() && admin.keys.load().has(self.key_hash)
    }

    /// Sends them if they are others than it got last; as [`Reader::send`].
    fn tell_refusals(&mut self, refusals: &Bytes) -> bool {
        if self.refusals == refusals {
            return true;
        }
        self.refusals = refusals.clone();
        self.send(refusals)
    }

    /// False where it is gone, or has too much waiting: then its connection is cut.
    fn send(&self, event: &Bytes) -> bool {
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

fn event(name: &str, data: &Value) -> Bytes {
    let mut bytes = Vec::new();
    let event = Signal::Event(wire::Event {
        id: None,
        name,
        data: &data.to_string(),
    });
    Wire::SseRaw.encode(&event, &mut bytes);
    bytes.into()
}
