//! With `--dev`, the demo page publishes. It has another origin than the admin listener, so the browser asks first
//! whether it may (CORS).
//!
//! Any origin may ask, because the name under which the demo page is reached is not known. That is safe: a page can
//! only publish with an API key, which browsers never add by themselves. Without `--dev`, no page may.

use hyper::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN,
    ACCESS_CONTROL_REQUEST_METHOD, HeaderValue, ORIGIN,
};
use hyper::{HeaderMap, Method, Request, StatusCode};

use super::api::response::{ApiResponse, bytes};

/// Whether a browser asks if a page of another origin may send a request.
pub(super) fn is_preflight<B>(request: &Request<B>) -> bool {
    let headers = request.headers();
    request.method() == Method::OPTIONS
        && headers.contains_key(ORIGIN)
        && headers.contains_key(ACCESS_CONTROL_REQUEST_METHOD)
}

/// The answer to a preflight request: events may be published, with a key.
pub(super) fn preflight() -> ApiResponse {
    let mut response = bytes(StatusCode::NO_CONTENT, "text/plain; charset=utf-8", "");
    let headers = response.headers_mut();
    headers.insert(
        ACCESS_CONTROL_ALLOW_METHODS,
        HeaderValue::from_static("POST"),
    );
    headers.insert(
        ACCESS_CONTROL_ALLOW_HEADERS,
        HeaderValue::from_static("Authorization, Content-Type"),
    );
    allow_reading(headers);
    response
}

/// Lets a page read the response.
pub(super) fn allow_reading(headers: &mut HeaderMap) {
    headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
}
