//! Log lines about refused admin requests: wrong keys, and errors of the server. A publisher that is
//! refused a thousand times per second must not fill the log.

use std::net::SocketAddr;
use std::time::Duration;

use hyper::{Method, StatusCode};

use super::api::response::ApiError;
use super::span;
use crate::clock::Clock;
use crate::quiet::Quiet;

/// Shortest time between two lines of one kind.
const EVERY: Duration = Duration::from_secs(1);

/// Writes log lines about refused admin requests, at most one per second and kind.
#[derive(Debug)]
pub(super) struct RefusedRequests {
    /// Separate from `server_errors`: anyone can send wrong keys, and those must not hide errors.
    wrong_keys: Quiet,
    server_errors: Quiet,
}

impl Default for RefusedRequests {
    fn default() -> Self {
        Self {
            wrong_keys: Quiet::new(EVERY),
            server_errors: Quiet::new(EVERY),
        }
    }
}

impl RefusedRequests {
    /// Logs a refusal if it concerns the operator. The sender of an invalid request learns the reason
    /// from the response.
    pub(super) fn note(
        &self,
        error: &ApiError,
        method: &Method,
        route: Option<&'static str>,
        peer: Option<SocketAddr>,
        clock: &Clock,
    ) {
        let status = error.status();
        let line = match status {
            StatusCode::UNAUTHORIZED | StatusCode::TOO_MANY_REQUESTS => &self.wrong_keys,
            status if status.is_server_error() => &self.server_errors,
            _ => return,
        };
        let Some(suppressed) = line.suppressed(clock.now_ms()) else {
            return;
        };
        tracing::warn!(
            status = status.as_u16(),
            method = span::known(method).unwrap_or("other"),
            route,
            peer = peer.map(tracing::field::display),
            reason = error.message(),
            suppressed,
            "admin request refused"
        );
    }
}
