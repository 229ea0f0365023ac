//! The paths that the server serves, and the methods of each.

use hyper::Method;

use crate::config::Config;

/// A path that the server serves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Route {
    Notifications,
    TestStream,
    Ticket,
    Login,
    Health,
    Demo,
}

/// The paths that this configuration serves.
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

    /// The route of a path, with or without a trailing slash.
    pub(super) fn find(&self, path: &str) -> Option<Route> {
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
    /// The values of `Allow` and `Access-Control-Allow-Methods`.
    pub(super) fn methods(self) -> (&'static str, &'static str) {
        match self {
            Self::Notifications | Self::TestStream | Self::Health | Self::Demo => {
                ("GET, HEAD, OPTIONS", "GET")
            }
            Self::Ticket | Self::Login => ("POST, OPTIONS", "POST"),
        }
    }

    /// Returns true if the route's responses contain credentials, which must not be cached.
    pub(super) fn gives_credentials(self) -> bool {
        matches!(self, Self::Ticket | Self::Login)
    }

    pub(super) fn serves(self, method: &Method) -> bool {
        match self {
            Self::Notifications | Self::TestStream | Self::Health | Self::Demo => {
                method == Method::GET || method == Method::HEAD
            }
            Self::Ticket | Self::Login => method == Method::POST,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_trailing_slash_is_optional() {
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
    fn routes_that_are_turned_off_are_not_found() {
        let config = Config {
            test_stream: false,
            ..Config::default()
        };
        let routes = Routes::new(&config, false, false);
        assert_eq!(routes.find("/api/v1/auth/sse/test/"), None);
        assert_eq!(routes.find("/api/v1/auth/login/"), None);
    }
}
