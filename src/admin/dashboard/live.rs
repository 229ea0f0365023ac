//! `GET /v1/stats/live`: a stream of statistics for dashboards. Each second's events are encoded once
//! and sent to all subscribers.

use std::sync::Arc;

use http_body_util::Either;
use hyper::body::Bytes;
use hyper::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderName, HeaderValue};
use hyper::{HeaderMap, Response};
use serde_json::Value;

use super::subscribers::Subscriber;
use super::{recent_refusals, stats};
use crate::admin::access::presented_key;
use crate::admin::api::response::{ApiError, ApiResponse};
use crate::admin::connection::AdminConnection;
use crate::admin::service::Admin;
use crate::wire::{self, Signal, Wire};

/// Streams at once. Enough for some dashboards; most admin connections stay free for publishers.
const MAX_STREAMS: usize = 16;

/// As on public streams, no proxy may compress or buffer. Neither may it store responses that need a key.
const LIVE_CACHE_CONTROL: &str = "no-cache, no-store, no-transform";

impl Admin {
    /// Samples the counters for the rates of `/v1/stats` and sends the dashboards their events. Called
    /// once per second.
    pub(crate) fn tick(&self) {
        self.rates
            .sample(self.hub.clock.now_ms(), &self.hub.metrics);
        let mut state = self.live.lock();
        let point = state.recent.tick(&self.hub);
        let point = point.map(|point| event("point", &point.json()));
        state
            .subscribers
            .retain(|subscriber| may_stay(subscriber, self));
        if state.subscribers.is_empty() {
            return;
        }
        let stats = event("stats", &stats::now(self));
        let refusals = event("refusals", &recent_refusals::now(self));
        state.subscribers.retain_mut(|subscriber| {
            subscriber.send(&stats)
                && point.as_ref().is_none_or(|point| subscriber.send(point))
                && subscriber.send_refusals(&refusals)
        });
    }

    /// Ends the dashboards' streams after the server has stopped.
    pub(crate) fn finish(&self) {
        self.live.finish();
    }
}

/// `GET /v1/stats/live`
pub(crate) fn response(
    admin: &Admin,
    headers: &HeaderMap,
    connection: &Arc<AdminConnection>,
) -> Result<ApiResponse, ApiError> {
    let key = presented_key(headers).ok_or_else(ApiError::unauthorized)?;
    let (mut subscriber, events) = Subscriber::new(&key, connection);
    let stats = event("stats", &stats::now(admin));
    let mut state = admin.live.lock();
    state.subscribers.retain(|subscriber| !subscriber.is_gone());
    if admin.shutdown.is_stopped() {
        return Err(ApiError::unavailable("the server has ended"));
    }
    if state.subscribers.len() >= MAX_STREAMS {
        return Err(ApiError::unavailable(format!(
            "{MAX_STREAMS} dashboards are open; close one"
        )));
    }
    subscriber.send(&event("history", &state.recent.json()));
    subscriber.send_refusals(&event("refusals", &recent_refusals::now(admin)));
    subscriber.send(&stats);
    state.subscribers.push(subscriber);
    drop(state);
    connection.set_streaming();
    let mut response = Response::new(Either::Right(events));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static(LIVE_CACHE_CONTROL));
    // Turns off buffering in nginx.
    headers.insert(
        HeaderName::from_static("x-accel-buffering"),
        HeaderValue::from_static("no"),
    );
    Ok(response)
}

/// Returns true if a subscriber is still connected and its key is still valid.
fn may_stay(subscriber: &Subscriber, admin: &Admin) -> bool {
    !subscriber.is_gone() && admin.keys.load().has(subscriber.key_hash())
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
