//! Responses that are not streams.

use http_body_util::Full;
use hyper::body::Bytes;
use hyper::header::{CACHE_CONTROL, CONNECTION, CONTENT_TYPE, HeaderValue};
use hyper::{Response, StatusCode, Version};
use serde_json::json;

pub(super) const EVENT_STREAM: &str = "text/event-stream";

/// A response with a text body.
pub(super) fn text(status: StatusCode, body: impl Into<Bytes>) -> Response<Full<Bytes>> {
    with_type(status, "text/plain; charset=utf-8", body)
}

/// A response with a JSON body.
pub(super) fn json(status: StatusCode, body: &serde_json::Value) -> Response<Full<Bytes>> {
    with_type(status, "application/json", body.to_string())
}

/// A JSON response of the form `{"error": "…"}`.
pub(super) fn error(status: StatusCode, reason: &str) -> Response<Full<Bytes>> {
    json(status, &json!({ "error": reason }))
}

/// A response without a body.
pub(super) fn empty(status: StatusCode) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::default());
    *response.status_mut() = status;
    response
}

fn with_type(
    status: StatusCode,
    content_type: &'static str,
    body: impl Into<Bytes>,
) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body.into()));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    // Tokens, tickets and refusals must not be served from a cache.
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    response
}

/// Tells hyper and the client to close the connection after this response.
pub(super) fn close_after(version: Version, response: &mut Response<Full<Bytes>>) {
    if version == Version::HTTP_10 {
        // Otherwise hyper adds `keep-alive` if the client asked for it.
        *response.version_mut() = version;
    }
    let close = HeaderValue::from_static("close");
    response.headers_mut().insert(CONNECTION, close);
}
