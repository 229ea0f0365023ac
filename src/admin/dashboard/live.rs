//! `GET /v1/stats/live`: the numbers as they change, for dashboards. Each second's events are made
//! once, and sent to whoever has room for them.

use std::sync::Arc;

use http_body_util::Either;
use hyper::body::Bytes;
use hyper::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderName, HeaderValue};
use hyper::{HeaderMap, Response};
use serde_json::Value;

use super::readers::Reader;
use super::{recent_refusals, stats};
use crate::admin::access::presented_key;
use crate::admin::api::answer::{Answer, Problem};
use crate::admin::connection::Line;
use crate::admin::service::Admin;
use crate::wire::{self, Signal, Wire};

/// Streams at once: some dashboards, and most of the admin connections left for publishers.
const MAX_STREAMS: usize = 16;

/// As on the public streams, no proxy is to compress or hold back; and none is to store what needs
/// a key.
const LIVE_CACHE_CONTROL: &str = "no-cache, no-store, no-transform";

impl Admin {
    /// Samples the counters that `/v1/stats` makes rates of, and tells the dashboards; called once
    /// a second.
    pub(crate) fn tick(&self) {
        self.rates
            .sample(self.hub.clock.now_ms(), &self.hub.metrics);
        let mut state = self.live.lock();
        let point = state.past.tick(&self.hub);
        let point = point.map(|point| event("point", &point.json()));
        state.readers.retain(|reader| may_stay(reader, self));
        if state.readers.is_empty() {
            return;
        }
        let stats = event("stats", &stats::now(self));
        let refusals = event("refusals", &recent_refusals::now(self));
        state.readers.retain_mut(|reader| {
            reader.send(&stats)
                && point.as_ref().is_none_or(|point| reader.send(point))
                && reader.tell_refusals(&refusals)
        });
    }

    /// Ends the dashboards' streams, once the server has stopped: there is nothing more to tell.
    pub(crate) fn finish(&self) {
        self.live.finish();
    }
}

/// `GET /v1/stats/live`
pub(crate) fn answer(
    admin: &Admin,
    headers: &HeaderMap,
    line: &Arc<Line>,
) -> Result<Answer, Problem> {
    let key = presented_key(headers).ok_or_else(Problem::unauthorized)?;
    let (mut reader, events) = Reader::new(&key, line);
    let stats = event("stats", &stats::now(admin));
    let mut state = admin.live.lock();
    state.readers.retain(|reader| !reader.is_gone());
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
    let mut answer = Response::new(Either::Right(events));
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

/// Whether a reader is still there, with a key that still is one.
fn may_stay(reader: &Reader, admin: &Admin) -> bool {
    !reader.is_gone() && admin.keys.load().has(reader.key_hash())
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
