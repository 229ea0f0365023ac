//! Connections before they become streams.

mod endings;
mod fairness;
mod flood;
mod head;
mod pipelining;
mod requests;

use crate::support::TestServer;

/// The number of open streams, from the metrics page.
const STREAMS: &str = "idlewild_connections";
const IN_FLIGHT: &str = "idlewild_handshakes_in_flight";

/// Waits until no connection is left.
fn wait_until_empty(server: &TestServer) {
    server.wait_for_metric(IN_FLIGHT, 0.0);
    server.wait_for_metric(&server.series(STREAMS), 0.0);
    server.wait_for_metric("idlewild_users", 0.0);
}

/// The path of a stream that this user may open.
fn stream_path(server: &TestServer, user: &str) -> String {
    let token = server.token(user);
    format!("{}?token={token}", crate::support::NOTIFICATIONS)
}

/// A complete GET request without further headers.
fn get(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: test\r\n\r\n")
}
