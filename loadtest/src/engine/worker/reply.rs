//! What a client that comes by WebSocket says to its server: pongs, and the answer to a close.

use super::Worker;
use crate::engine::conn::Phase;
use crate::engine::unsent::Unsent;

impl Worker {
    /// Sends what the connection owes its server, behind what waits to be sent already.
    pub(super) fn reply(&mut self, key: usize) {
        if let Some(unsent) = self.unsent.get_mut(&key) {
            return unsent.owe(&mut self.replies);
        }
        let mut frames = Vec::new();
        self.replies.write(&mut frames);
        let conn = &self.conns[key];
        if conn.phase == Phase::Deaf {
            return; // it has not read what asked for it
        }
        self.outgoing.clear();
        match &mut self.links {
            Some(links) => links.seal(key, &frames, &mut self.outgoing),
            None => self.outgoing.append(&mut frames),
        }
        if let Some(unsent) = Unsent::send(&conn.fd, &self.outgoing) {
            self.unsent.insert(key, unsent);
        }
    }

    /// The socket has room: sends what waits, if anything does.
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
