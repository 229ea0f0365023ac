//! Dispatches requests to their routes, and adds the header fields that every response has.

use std::rc::Rc;

use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::header::{ALLOW, CACHE_CONTROL, HeaderValue};
use hyper::{Method, Request, Response, StatusCode};

use super::answer::{close_after, empty, error, text};
use super::connection::HttpConnection;
use super::cors;
use super::guide::{demo, login, stream, ticket};
use super::routes::Route;
use super::websocket;
use crate::request::InvalidRequest;

/// Answers a request. Never completes if the request becomes a stream, since the connection leaves hyper.
pub(super) async fn answer(
    connection: &Rc<HttpConnection>,
    request: &mut Request<Incoming>,
) -> Response<Full<Bytes>> {
    let public = &connection.public;
    let reloadable = public.reloadable.load_full();
    let version = request.version();
    if let Some(fault) = InvalidRequest::of(request) {
        let mut response = error(fault.status(), fault.text());
        let fields = reloadable.cors.fields(request.headers(), "GET");
        response.headers_mut().extend(fields);
        close_after(version, &mut response);
        return response;
    }
    let Some(route) = public.routes.find(request.uri().path()) else {
        let mut response = error(StatusCode::NOT_FOUND, "Not found");
        let fields = reloadable.cors.fields(request.headers(), "GET");
        response.headers_mut().extend(fields);
        return response;
    };
    let (allow, methods) = route.methods();
    let mut response;
    let mut fields = if request.method() == Method::OPTIONS {
        response = empty(StatusCode::NO_CONTENT);
        response
            .headers_mut()
            .insert(ALLOW, HeaderValue::from_static(allow));
        reloadable.cors.preflight_fields(request.headers(), methods)
    } else {
        let fields = reloadable.cors.fields(request.headers(), methods);
        response = if route.serves(request.method()) {
            match route {
                Route::Notifications | Route::TestStream => {
                    stream::answer(connection, &reloadable, route, request, &fields).await
                }
                Route::WebSocket => websocket::answer(connection, &reloadable, request).await,
                Route::Ticket => ticket::answer(connection, &reloadable, request).await,
                Route::Login => login::answer(connection, request).await,
                Route::Health => text(StatusCode::OK, "ok\n"),
                Route::Demo => demo::answer(public.demo.as_ref()),
            }
        } else {
            let mut response = error(StatusCode::METHOD_NOT_ALLOWED, "Method not allowed");
            response
                .headers_mut()
                .insert(ALLOW, HeaderValue::from_static(allow));
            response
        };
        fields
    };
    if route.gives_credentials() {
        let no_store = HeaderValue::from_static("no-store");
        response.headers_mut().insert(CACHE_CONTROL, no_store);
    }
    let status = response.status();
    if status.is_client_error() || status.is_server_error() {
        cors::expose_reasons(&mut fields);
    }
    response.headers_mut().extend(fields);
    if public.is_draining() {
        close_after(version, &mut response);
    }
    response
}
