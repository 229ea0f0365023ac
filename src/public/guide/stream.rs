//! A request for an SSE stream: its checks, and the head of the response.

use hyper::body::{Body, Bytes, Incoming};
use hyper::header::{CONNECTION, EXPECT, HeaderName, HeaderValue, TRANSFER_ENCODING};
use hyper::{Method, Request, Response, StatusCode, Version};

use http_body_util::{BodyExt, Full};

use super::accept_encoding::asks_for_gzip;
use super::date;
use crate::public::answer::{EVENT_STREAM, close_after, empty};
use crate::public::connection::HttpConnection;
use crate::public::identify::identify;
use crate::public::offer::{offer, would_admit};
use crate::public::refusal::{Refusal, Refused};
use crate::public::reloadable::Reloadable;
use crate::public::routes::Route;
use crate::public::service::Public;
use crate::public::subscription::{StreamForm, admission};
use crate::request::list;
use crate::shard::Admission;
use crate::wire::Wire;

const HAS_BODY: Refusal = Refusal::BadRequest("A stream request has no body");
/// Header fields of every stream.
const FIELDS: [(&str, &str); 3] = [
    ("Content-Type", EVENT_STREAM),
    // Proxies that compress would delay events.
    ("Cache-Control", "no-cache, no-transform"),
    ("X-Accel-Buffering", "no"),
];

/// Checks the request and offers the stream to the driver. Returns only for HEAD, or if it is refused.
pub(crate) async fn answer(
    connection: &HttpConnection,
    reloadable: &Reloadable,
    route: Route,
    request: &mut Request<Incoming>,
    cors: &[(HeaderName, HeaderValue)],
) -> Response<Full<Bytes>> {
    let public = &connection.public;
    let mut checked = check(public, request);
    if checked.is_ok() && !request.body().is_end_stream() {
        // A chunked body may still be empty. Boxed because it is rare.
        checked = connection
            .run_until_closed(Box::pin(check_is_empty(request.body_mut())))
            .await;
    }
    let request = &*request;
    let is_offered = public.hub.compression().is_offered();
    let form = form(request, is_offered);
    let checked = match checked {
        Err(refusal) => Err(refusal.into()),
        Ok(()) if route == Route::TestStream => {
            admission(connection, reloadable, request, None, form)
        }
        Ok(()) => identify(connection, reloadable, request)
            .await
            .map_err(Refused::from)
            .and_then(|who| admission(connection, reloadable, request, Some(who), form)),
    };
    let is_head = request.method() == Method::HEAD;
    let refused = match checked {
        // Boxed because it is rare.
        Ok(admission) if is_head => match Box::pin(would_admit(connection, &admission)).await {
            Ok(()) => return head_only(request.version(), &admission, is_offered),
            Err(reason) => Refusal::from(reason).into(),
        },
        Ok(admission) => {
            let head = |admission: &Admission| {
                let unix_s = public.hub.clock.unix_ms() / 1_000;
                head(admission, is_offered, unix_s, cors)
            };
            offer(connection, reloadable, request, admission, head).await
        }
        Err(refused) => refused,
    };
    let refusal = refused.reason;
    refused.log(connection.peer());
    // A HEAD request asks for no stream, so no stream is refused.
    if !is_head {
        connection.refused(refused, route == Route::TestStream, request.headers());
    }
    refusal.response(public.retry_after_s)
}

/// Checks the head of a request for a stream.
fn check(public: &Public, request: &Request<Incoming>) -> Result<(), Refusal> {
    if public.is_draining() {
        return Err(Refusal::ShuttingDown);
    }
    if request.headers().contains_key(EXPECT) {
        return Err(Refusal::BadRequest("A stream request expects nothing"));
    }
    // A chunked body has no known length.
    match request.body().size_hint().exact() {
        None | Some(0) => Ok(()),
        Some(_) => Err(HAS_BODY),
    }
}

/// Reads a body to its end, and checks that it is empty. Otherwise its rest would be taken for input of
/// the stream.
async fn check_is_empty(body: &mut Incoming) -> Result<(), Refusal> {
    while let Some(frame) = body.frame().await {
        let is_empty = frame.is_ok_and(|frame| frame.data_ref().is_none_or(Bytes::is_empty));
        if !is_empty {
            return Err(HAS_BODY);
        }
    }
    Ok(())
}

fn form(request: &Request<Incoming>, is_compression_offered: bool) -> StreamForm {
    StreamForm {
        wire: match request.version() {
            Version::HTTP_10 => Wire::SseRaw,
            _ if is_compression_offered && asks_for_gzip(request.headers()) => Wire::SseGzip,
            _ => Wire::SseChunked,
        },
        keep_alive: keeps_alive(request),
    }
}

/// Returns true if the connection can be used after the stream. In HTTP/1.0, only the end of the
/// connection marks the end of a stream.
fn keeps_alive(request: &Request<Incoming>) -> bool {
    let mut options = list(request.headers(), &CONNECTION);
    let asks_to_close = options.any(|option| option.eq_ignore_ascii_case(b"close"));
    // A body framed in two ways may be an attack on a proxy in front, and its connection has to be closed
    // (RFC 9112, 6.1). hyper drops a `Content-Length` after `Transfer-Encoding`, so such a request looks
    // like an ordinary chunked one.
    let is_chunked = request.headers().contains_key(TRANSFER_ENCODING);
    request.version() != Version::HTTP_10 && !is_chunked && !asks_to_close
}

/// The head of a stream's response, which bypasses hyper.
fn head(
    admission: &Admission,
    is_compression_offered: bool,
    unix_s: u64,
    cors: &[(HeaderName, HeaderValue)],
) -> Vec<u8> {
    let (wire, keep_alive) = (admission.wire, admission.keep_alive);
    let mut head = Vec::with_capacity(512);
    head.extend_from_slice(match wire {
        Wire::SseRaw => b"HTTP/1.0 200 OK\r\n".as_slice(),
        // No route of this file opens a WebSocket.
        Wire::SseChunked | Wire::SseGzip | Wire::WebSocket => {
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n"
        }
    });
    let mut field = |name: &str, value: &[u8]| {
        head.extend_from_slice(name.as_bytes());
        head.extend_from_slice(b": ");
        head.extend_from_slice(value);
        head.extend_from_slice(b"\r\n");
    };
    field("Connection", connection_option(keep_alive).as_bytes());
    let compression = compression_fields(is_compression_offered, wire);
    for (name, value) in FIELDS.iter().chain(compression) {
        field(name, value.as_bytes());
    }
    for (name, value) in cors {
        field(name.as_str(), value.as_bytes());
    }
    head.extend_from_slice(b"Date: ");
    date::write(unix_s, &mut head);
    head.extend_from_slice(b"\r\n\r\n");
    head
}

/// The same head as a response to HEAD. hyper adds the date.
fn head_only(
    version: Version,
    admission: &Admission,
    is_compression_offered: bool,
) -> Response<Full<Bytes>> {
    let keep_alive = admission.keep_alive;
    let mut response = empty(StatusCode::OK);
    if keep_alive {
        let value = HeaderValue::from_static(connection_option(keep_alive));
        response.headers_mut().insert(CONNECTION, value);
    } else {
        close_after(version, &mut response);
    }
    let compression = compression_fields(is_compression_offered, admission.wire);
    for (name, value) in FIELDS.iter().chain(compression) {
        if let Ok(name) = HeaderName::from_bytes(name.as_bytes()) {
            let value = HeaderValue::from_static(value);
            response.headers_mut().insert(name, value);
        }
    }
    response
}

/// The header fields of a stream about compression. Where it is offered, the response depends on what this client has
/// asked for, even if that is nothing.
fn compression_fields(is_offered: bool, wire: Wire) -> &'static [(&'static str, &'static str)] {
    const FIELDS: &[(&str, &str)] = &[("Content-Encoding", "gzip"), ("Vary", "Accept-Encoding")];
    match (is_offered, wire) {
        (false, _) => &[],
        (true, Wire::SseGzip) => FIELDS,
        (true, _) => FIELDS.split_at(1).1,
    }
}

fn connection_option(keep_alive: bool) -> &'static str {
    if keep_alive { "keep-alive" } else { "close" }
}
