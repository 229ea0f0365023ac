//! Which route a request is for, and what every answer carries.

use std::rc::Rc;

use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::header::{ALLOW, CACHE_CONTROL, CONNECTION, HeaderValue};
use hyper::{Method, Request, Response, StatusCode, Version};

use super::answer::{empty, error, text};
use super::connection::Connection;
use super::{cors, demo, login, stream, ticket};
use crate::config::Config;
use crate::request::Fault;

/// A path that is served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Route {
    Notifications,
    TestStream,
    Ticket,
    Login,
    Health,
    Demo,
}

/// The paths of this configuration.
#[derive(Debug)]
pub(super) struct Routes {
    base_path: String,
    has_test_stream: bool,
    has_login: bool,
    has_demo: bool,
}

impl Routes {
    pub(super) fn new(config: &Config, has_login: bool, has_demo: bool) -> Self {
        Self {
            base_path: config.base_path.to_string(),
            has_test_stream: config.test_stream,
            has_login,
            has_demo,
        }
    }

    /// The route of a path; a trailing slash changes nothing.
    fn find(&self, path: &str) -> Option<Route> {
        let path = path.strip_suffix('/').unwrap_or(path);
        if path == "/healthz" {
            return Some(Route::Health);
        }
        if path.is_empty() && self.has_demo {
            return Some(Route::Demo);
        }
        match path.strip_prefix(&self.base_path)? {
            "/sse/notifications" => Some(Route::Notifications),
            "/sse/test" if self.has_test_stream => Some(Route::TestStream),
            "/sse/ticket" => Some(Route::Ticket),
            "/login" if self.has_login => Some(Route::Login),
            _ => None,
        }
    }
}

impl Route {
    /// What stands in `Allow` and in `Access-Control-Allow-Methods`.
    fn methods(self) -> (&'static str, &'static str) {
        match self {
            Self::Notifications | Self::TestStream | Self::Health | Self::Demo => {
                ("GET, HEAD, OPTIONS", "GET")
            }
            Self::Ticket | Self::Login => ("POST, OPTIONS", "POST"),
        }
    }

    /// Whether its answers hold what nobody may keep.
    fn gives_credentials(self) -> bool {
        matches!(self, Self::Ticket | Self::Login)
    }

    fn serves(self, method: &Method) -> bool {
        match self {
            Self::Notifications | Self::TestStream | Self::Health | Self::Demo => {
                method == Method::GET || method == Method::HEAD
            }
            Self::Ticket | Self::Login => method == Method::POST,
        }
    }
}

/// Answers a request. One that becomes a stream never returns: its connection is taken away.
pub(super) async fn answer(
    connection: &Rc<Connection>,
    mut request: Request<Incoming>,
) -> Response<Full<Bytes>> {
    let public = &connection.public;
    let live = public.live.load_full();
    let version = request.version();
    if let Some(fault) = Fault::of(&request) {
        let mut response = error(fault.status(), fault.text());
        let fields = live.cors.fields(request.headers(), "GET");
        response.headers_mut().extend(fields);
        close_after(version, &mut response);
        return response;
    }
    let Some(route) = public.routes.find(request.uri().path()) else {
        let mut response = error(StatusCode::NOT_FOUND, "Not found");
        let fields = live.cors.fields(request.headers(), "GET");
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
        live.cors.preflight_fields(request.headers(), methods)
    } else {
        let fields = live.cors.fields(request.headers(), methods);
        response = if route.serves(request.method()) {
            match route {
                Route::Notifications | Route::TestStream => {
                    stream::answer(connection, &live, route, &mut request, &fields).await
                }
                Route::Ticket => ticket::answer(connection, &live, &request).await,
                Route::Login => login::answer(connection, request).await,
                Route::Health => text(StatusCode::OK, "ok\n"),
                Route::Demo => demo::answer(public),
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

/// Ends the connection with the answer.
pub(super) fn close_after(version: Version, response: &mut Response<Full<Bytes>>) {
    if version == Version::HTTP_10 {
        // Otherwise hyper adds `keep-alive` where the client asked for it.
        *response.version_mut() = version;
    }
    let close = HeaderValue::from_static("close");
    response.headers_mut().insert(CONNECTION, close);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trailing_slash_is_optional_and_nothing_else_is() {
        let routes = Routes::new(&Config::default(), true, false);
        let found = |path| routes.find(path);
        assert_eq!(
            found("/api/v1/auth/sse/notifications/"),
            Some(Route::Notifications)
        );
        assert_eq!(
            found("/api/v1/auth/sse/notifications"),
            Some(Route::Notifications)
        );
        assert_eq!(found("/healthz/"), Some(Route::Health));
        for path in [
            "/",
            "",
            "/api/v1/auth",
            "/sse/test",
            "/api/v1/auth/sse/notifications//",
            "/api/v1/authsse/test",
        ] {
            assert_eq!(found(path), None, "{path}");
        }
    }

    #[test]
    fn routes_that_are_turned_off_are_not_there() {
        let config = Config {
            test_stream: false,
            ..Config::default()
        };
        let routes = Routes::new(&config, false, false);
        assert_eq!(routes.find("/api/v1/auth/sse/test/"), None);
        assert_eq!(routes.find("/api/v1/auth/login/"), None);
    }
}
