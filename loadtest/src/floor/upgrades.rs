//! Handshakes of WebSocket on the floor: a request is kept until it is whole, since its key has to be answered.
//!
//! They stand beside the slab of connections, by the same keys, and none is left once a stream has begun.

use std::collections::HashMap;

use crate::websocket::accept;

use super::frames::websocket_head;

/// A longer request is not answered; the client will say.
const MAX_REQUEST_BYTES: usize = 16 * 1024;
const KEY_HEADER: &str = "sec-websocket-key";

/// The requests of a thread's connections, as far as they have come.
#[derive(Debug, Default)]
pub(super) struct Upgrades {
    requests: HashMap<usize, Vec<u8>>,
}

impl Upgrades {
    /// More of a request has come.
    pub(super) fn collect(&mut self, key: usize, bytes: &[u8]) {
        let request = self.requests.entry(key).or_default();
        if request.len() + bytes.len() <= MAX_REQUEST_BYTES {
            request.extend_from_slice(bytes);
        }
    }

    /// The request is whole: what answers it, if it asked for a WebSocket.
    pub(super) fn answer(&mut self, key: usize) -> Option<Vec<u8>> {
        let request = String::from_utf8(self.requests.remove(&key)?).ok()?;
        let its_key = request.lines().find_map(|line| {
            let (name, value) = line.split_once(':')?;
            name.eq_ignore_ascii_case(KEY_HEADER).then(|| value.trim())
        })?;
        Some(websocket_head(accept(its_key)))
    }

    /// The connection is gone.
    pub(super) fn closed(&mut self, key: usize) {
        self.requests.remove(&key);
    }
}
