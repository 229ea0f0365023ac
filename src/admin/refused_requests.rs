//! Log lines about admin requests that are refused: wrong keys, and what the server could not do. A
//! publisher that is refused a thousand times a second must not fill the log.

use std::net::SocketAddr;
use std::time::Duration;

use hyper::{Method, StatusCode};

use super::api::answer::Problem;
use super::span;
use crate::clock::Clock;
use crate::quiet::Quiet;

/// Between two lines.
const EVERY: Duration = Duration::from_secs(1);

/// The log lines about rejected admin requests, at most one per second and kind.
#[derive(Debug)]
pub(super) struct RefusedRequests {
    /// Anybody can send a wrong key, which must not hide what the server cannot do.
    of_key: Quiet,
    of_server: Quiet,
}

impl Default for RefusedRequests {
    fn default() -> Self {
        Self {
            of_key: Quiet::new(EVERY),
            of_server: Quiet::new(EVERY),
        }
    }
}

impl RefusedRequests {
    /// Notes a refusal, if an operator has to know it: what is only wrong in a request, its sender
    /// is told.
    pub(super) fn note(
        &self,
        problem: &Problem,
        method: &Method,
        route: Option<&'static str>,
        peer: Option<SocketAddr>,
        clock: &Clock,
    ) {
        let status = problem.status();
        let line = match status {
            StatusCode::UNAUTHORIZED | StatusCode::TOO_MANY_REQUESTS => &self.of_key,
            status if status.is_server_error() => &self.of_server,
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
            reason = problem.message(),
            suppressed,
            "admin request refused"
        );
    }
}
