//! What has come by now, without waiting.

use std::io::ErrorKind;

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
            let has_more = !self.received.is_empty() || self.is_readable();
            if self.is_complete || !has_more || !self.decode_more() {
                return frames;
            }
        }
    }

    /// All frames until the body ends as its framing says.
    pub fn rest(&mut self) -> Vec<String> {
        let frames = std::iter::from_fn(|| self.next()).collect();
        assert!(self.is_complete, "the stream was cut off after {frames:?}");
        frames
    }

    fn is_readable(&mut self) -> bool {
        self.socket.set_nonblocking(true).unwrap();
        let peeked = self.socket.peek(&mut [0]);
        self.socket.set_nonblocking(false).unwrap();
        !matches!(peeked, Err(error) if error.kind() == ErrorKind::WouldBlock)
    }
}
