//! WebSocket: the handshake, messages, close codes and limits that docs/websocket.md describes. The other tests also run
//! over WebSocket (`IDLEWILD_CONTRACT=ws`), so they show that streams behave the same over every transport.

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
