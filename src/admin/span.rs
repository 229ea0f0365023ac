//! The span of an admin request, after OpenTelemetry's conventions for HTTP servers. It continues the
//! trace that the publisher's `traceparent` names.
//!
//! It contains the request's method and route, but no user, query or header.

use hyper::{HeaderMap, Method, Request, StatusCode};
use opentelemetry::Context;
use opentelemetry::propagation::{Extractor, TextMapPropagator};
use opentelemetry_sdk::propagation::TraceContextPropagator;
use tracing::Span;
use tracing::field::Empty;
use tracing_opentelemetry::OpenTelemetrySpanExt;

use crate::spans::TARGET;

/// The length of `tracestate` that W3C's recommendation asks to propagate. Spans wait in memory, so a
/// longer one is ignored.
const MAX_STATE_BYTES: usize = 512;

/// The span of a request; `route` is `None` if there is no such route.
pub(super) fn of<B>(route: Option<&'static str>, request: &Request<B>) -> Span {
    let method = known(request.method());
    let span = tracing::info_span!(
        target: TARGET,
        parent: None,
        "admin request",
        otel.name = name(method, route),
        otel.kind = "server",
        otel.status_code = Empty,
        http.request.method = method.unwrap_or("_OTHER"),
        http.route = route,
        // The convention requires a path and allows personal parts to be removed, hence the template.
        url.path = route,
        url.scheme = "http",
        http.response.status_code = Empty,
        error.type = Empty,
    );
    if !span.is_disabled() {
        let headers = Headers(request.headers());
        let parent = TraceContextPropagator::new().extract_with_context(&Context::new(), &headers);
        // Fails only if no layer exports spans.
        let _ = span.set_parent(parent);
    }
    span
}

/// Records the response's status. A client's error is not an error of the server's span.
pub(super) fn answered(span: &Span, status: StatusCode) {
    span.record("http.response.status_code", i64::from(status.as_u16()));
    if status.is_server_error() {
        span.record("error.type", status.as_str());
        span.record("otel.status_code", "error");
    }
}

fn name(method: Option<&'static str>, route: Option<&'static str>) -> String {
    let method = method.unwrap_or("HTTP");
    match route {
        Some(route) => format!("{method} {route}"),
        None => method.to_owned(),
    }
}

/// The name of a standard method. Senders must not be able to put their own text into traces and logs.
pub(super) fn known(method: &Method) -> Option<&'static str> {
    const METHODS: [&str; 9] = [
        "GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "CONNECT", "TRACE",
    ];
    METHODS.into_iter().find(|known| *known == method.as_str())
}

struct Headers<'a>(&'a HeaderMap);

impl Extractor for Headers<'_> {
    /// Returns `None` if the header occurs more than once, because it is then ambiguous.
    fn get(&self, name: &str) -> Option<&str> {
        let mut values = self.0.get_all(name).iter();
        let value = values.next()?;
        let is_one = values.next().is_none() && value.len() <= MAX_STATE_BYTES;
        is_one.then_some(value)?.to_str().ok()
    }

    fn keys(&self) -> Vec<&str> {
        self.0
            .keys()
            .map(hyper::header::HeaderName::as_str)
            .collect()
    }
}
