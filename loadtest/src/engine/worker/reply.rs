//! Sends the replies of WebSocket clients: pongs, and the answer to a close frame.

use super::Worker;
use crate::engine::conn::Phase;
use crate::engine::unsent::Unsent;

impl Worker {
    /// Sends the replies of a connection, after those that are waiting.
    pub(super) fn reply(&mut self, key: usize) {
        if let Some(unsent) = self.unsent.get_mut(&key) {
            return unsent.owe(&mut self.replies);
        }
        let mut frames = Vec::new();
        self.replies.write(&mut frames);
        let conn = &self.conns[key];
        if conn.phase == Phase::Deaf {
            return; // such a client sends nothing
        }
        self.outgoing.clear();
        let links = self.links.as_mut();
        match links.filter(|links| links.is_secure(conn.node)) {
            Some(links) => links.seal(key, &frames, &mut self.outgoing),
            None => self.outgoing.append(&mut frames),
        }
        if let Some(unsent) = Unsent::send(&conn.fd, &self.outgoing) {
            self.unsent.insert(key, unsent);
        }
    }

    /// The socket is writable: sends the replies that are waiting, if any.
    pub(super) fn send_unsent(&mut self, key: usize) {
        let Some(unsent) = self.unsent.get_mut(&key) else {
            return;
        };
        if let Some(owed) = unsent.send_on(&self.conns[key].fd) {
            self.unsent.remove(&key);
            self.replies = owed;
            if !self.replies.is_empty() {
                self.reply(key);
            }
        }
    }
}
