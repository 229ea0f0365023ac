//! Connections before they become streams. Tests of HTTP itself request streams over SSE.

mod endings;
mod fairness;
mod flood;
mod head;
mod pipelining;
mod requests;

use crate::support::TestServer;

/// The number of open streams, from the metrics page.
const STREAMS: &str = "idlewild_connections";
const OPENED: &str = "idlewild_connects_total";
const IN_FLIGHT: &str = "idlewild_handshakes_in_flight";

/// Waits until no connection is left.
fn wait_until_empty(server: &TestServer) {
    server.wait_for_metric(IN_FLIGHT, 0.0);
    for address in [server.public, server.public.over_sse()] {
        server.wait_for_metric(&address.series(STREAMS), 0.0);
    }
    server.wait_for_metric("idlewild_users", 0.0);
}

/// The path of a stream that this user may open.
fn stream_path(server: &TestServer, user: &str) -> String {
    let token = server.token(user);
    format!("{}?token={token}", crate::support::NOTIFICATIONS)
}

/// A request for a stream of this user.
fn stream_request(server: &TestServer, user: &str) -> String {
    server.public.get(&stream_path(server, user), "")
}

/// A complete GET request without further headers. If it requests a stream, then over SSE.
fn get(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: test\r\n\r\n")
}
