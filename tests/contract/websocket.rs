//! WebSocket: the handshake, messages, close codes and limits of API.md, "WebSocket". That streams behave the same over
//! every transport is shown by the whole suite, which also runs over WebSocket.

mod closing;
mod handshake;
mod input;
mod messages;
mod peer;

use crate::support::TestServer;

const ROUTE: &str = "/ws/notifications/";
const OPEN: &str = "idlewild_connections{transport=\"ws\"}";

/// The route with a token of this user.
fn path(server: &TestServer, user: &str) -> String {
    format!("{ROUTE}?token={}", server.token(user))
}
