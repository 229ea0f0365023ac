//! An admin request's span, by OpenTelemetry's conventions for HTTP servers. It goes on with the
//! trace that the publisher's `traceparent` names.
//!
//! What it says of a request is its method and its route: no user, no query, no header.

use hyper::{HeaderMap, Method, Request, StatusCode};
use opentelemetry::Context;
use opentelemetry::propagation::{Extractor, TextMapPropagator};
use opentelemetry_sdk::propagation::TraceContextPropagator;
use tracing::Span;
use tracing::field::Empty;
use tracing_opentelemetry::OpenTelemetrySpanExt;

use crate::spans::TARGET;

/// What W3C's recommendation asks to be passed on of a `tracestate`; spans wait in memory, and a
/// longer one is left out.
const MAX_STATE_BYTES: usize = 512;

/// The span of a request to a route, `None` being one that is not there.
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
        // The convention asks for it, and lets what is personal in it be struck out: the template.
        url.path = route,
        url.scheme = "http",
        http.response.status_code = Empty,
        error.type = Empty,
    );
    if !span.is_disabled() {
        let headers = Headers(request.headers());
        let parent = TraceContextPropagator::new().extract_with_context(&Context::new(), &headers);
        // Refused only where no layer exports.
        let _ = span.set_parent(parent);
    }
    span
}

/// Notes how the request was answered. That a client asked wrongly is no error of the server's.
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

/// A method that is one: what is exported and logged must not be for the sender to choose.
pub(super) fn known(method: &Method) -> Option<&'static str> {
    const METHODS: [&str; 9] = [
        "GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "CONNECT", "TRACE",
    ];
    METHODS.into_iter().find(|known| *known == method.as_str())
}

struct Headers<'a>(&'a HeaderMap);

impl Extractor for Headers<'_> {
    /// Nothing where the field stands twice: it is then nobody's.
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
