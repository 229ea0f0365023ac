//! WebSocket handshakes of the floor. A request is kept until it is complete, since the response depends on its
//! key.
//!
//! Requests are stored beside the slab of connections, with the same keys. None is left once a stream has begun.

use std::collections::HashMap;

use crate::websocket::accept;

use super::frames::websocket_head;

/// Bytes of a request beyond this are dropped. Without its key a request gets no response, and the client reports a
/// timeout.
const MAX_REQUEST_BYTES: usize = 16 * 1024;
const KEY_HEADER: &str = "sec-websocket-key";

/// The incomplete requests of a thread's connections.
#[derive(Debug, Default)]
pub(super) struct Upgrades {
    requests: HashMap<usize, Vec<u8>>,
}

impl Upgrades {
    /// Adds bytes to a request.
    pub(super) fn collect(&mut self, key: usize, bytes: &[u8]) {
        let request = self.requests.entry(key).or_default();
        if request.len() + bytes.len() <= MAX_REQUEST_BYTES {
            request.extend_from_slice(bytes);
        }
    }

    /// The response to a complete request, if it asks for a WebSocket.
    pub(super) fn answer(&mut self, key: usize) -> Option<Vec<u8>> {
        let request = String::from_utf8(self.requests.remove(&key)?).ok()?;
        let its_key = request.lines().find_map(|line| {
            let (name, value) = line.split_once(':')?;
            name.eq_ignore_ascii_case(KEY_HEADER).then(|| value.trim())
        })?;
        Some(websocket_head(accept(its_key)))
    }

    /// Drops the request of a closed connection.
    pub(super) fn closed(&mut self, key: usize) {
        self.requests.remove(&key);
    }
}
