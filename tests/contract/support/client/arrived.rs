//! What has come by now, without waiting.

use std::io::Write;

use super::Stream;

impl Stream {
    /// All frames that are there; at the end of the body `is_complete` is set. Waits only for
    /// the rest of a chunk that has begun.
    pub fn arrived(&mut self) -> Vec<String> {
        let mut frames = Vec::new();
        loop {
            while let Some(end) = self.text.find("\n\n") {
                let rest = self.text.split_off(end + 2);
                frames.push(std::mem::replace(&mut self.text, rest));
            }
            let has_more = !self.received.is_empty() || self.socket.is_readable();
            if self.is_complete || !has_more || !self.decode_more() {
                return frames;
            }
        }
    }

    /// All frames until the body ends as its framing says. The connection stays.
    pub fn rest(&mut self) -> Vec<String> {
        let frames = std::iter::from_fn(|| self.next()).collect();
        assert!(self.is_complete, "the stream was cut off after {frames:?}");
        frames
    }

    /// The same, but the connection ends as well; with TLS, by a `close_notify`.
    pub fn last(&mut self) -> Vec<String> {
        let frames = self.rest();
        assert!(!self.receive(), "the connection stays");
        assert!(!self.is_cut_off, "no close_notify, or a reset");
        frames
    }

    /// The next answer on this connection.
    pub fn ask(&mut self, path: &str) -> &mut Self {
        let get = format!("GET {path} HTTP/1.1\r\nHost: test\r\n\r\n");
        self.socket.write_all(get.as_bytes()).unwrap();
        assert!(self.follow(), "the connection was closed");
        self
    }
}
