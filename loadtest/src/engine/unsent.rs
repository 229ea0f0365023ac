//! What a client owes its server and the socket did not take at once: the server reads slower than it pings.
//!
//! The rest of a frame has to go out as it is. What was asked for after it is kept as one pong and one close, so that
//! a server that never reads makes its client hold two small frames.

use std::os::fd::AsFd;

use rustix::io::Errno;
use rustix::net::{SendFlags, send};

use crate::websocket::Replies;

/// The rest of what was begun, and what is to follow it.
#[derive(Debug)]
pub(super) struct Unsent {
    rest: Vec<u8>,
    owed: Replies,
}

impl Unsent {
    /// Sends `bytes`; what the socket did not take of them.
    pub(super) fn send(fd: impl AsFd, bytes: &[u8]) -> Option<Self> {
        let sent = some(fd, bytes);
        (sent < bytes.len()).then(|| Self {
            rest: bytes[sent..].to_vec(),
            owed: Replies::default(),
        })
    }

    /// More is to be said.
    pub(super) fn owe(&mut self, replies: &mut Replies) {
        self.owed.absorb(replies);
    }

    /// Sends on; once the rest is out, what is to follow it.
    pub(super) fn send_on(&mut self, fd: impl AsFd) -> Option<Replies> {
        let sent = some(fd, &self.rest);
        self.rest.drain(..sent);
        self.rest.is_empty().then(|| std::mem::take(&mut self.owed))
    }
}

/// Sends as much as the socket takes; how much that was.
fn some(fd: impl AsFd, bytes: &[u8]) -> usize {
    match send(fd, bytes, SendFlags::NOSIGNAL | SendFlags::DONTWAIT) {
        Ok(sent) => sent,
        Err(Errno::AGAIN | Errno::INTR) => 0,
        Err(_) => bytes.len(), // a broken connection shows when it is read, with what the server said last
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::os::unix::net::UnixStream;

    use super::*;

    /// One ping's answer, unmasked: which ping it was.
    fn answered(frame: &[u8]) -> u32 {
        let (header, rest) = frame.split_at(2);
        assert_eq!(header, [0x8a, 0x84], "a masked pong of four bytes");
        let (key, payload) = rest.split_at(4);
        let payload: Vec<u8> = payload
            .iter()
            .zip(key)
            .map(|(byte, key)| byte ^ key)
            .collect();
        u32::from_be_bytes(payload.try_into().unwrap())
    }

    #[test]
    fn a_server_that_does_not_read_gets_whole_frames_and_the_last_pong_when_it_does() {
        let (client, mut server) = UnixStream::pair().unwrap();
        let mut replies = Replies::default();
        let mut unsent: Option<Unsent> = None;
        let mut last_sent = 0;
        // Far more than the sockets hold.
        for n in 0..1_000_000u32 {
            replies.ping(&n.to_be_bytes());
            if let Some(unsent) = &mut unsent {
                unsent.owe(&mut replies);
                continue;
            }
            let mut frame = Vec::new();
            replies.write(&mut frame);
            unsent = Unsent::send(&client, &frame);
            last_sent = n;
        }
        let mut unsent = unsent.expect("the sockets hold less than that");
        assert!(unsent.rest.len() <= 10 && last_sent < 999_999);
        assert!(unsent.send_on(&client).is_none(), "nobody has read");

        // All that is there, then the rest of the frame that was begun, then what was owed.
        let mut heard = Vec::new();
        server.set_nonblocking(true).unwrap();
        let _ = server.read_to_end(&mut heard); // until there is nothing more
        let mut owed = unsent.send_on(&client).expect("there is room now");
        let mut frame = Vec::new();
        owed.write(&mut frame);
        assert!(Unsent::send(&client, &frame).is_none());
        let _ = server.read_to_end(&mut heard); // as above
        let answers: Vec<u32> = heard.chunks(10).map(answered).collect();
        let (last, before) = answers.split_last().unwrap();
        assert_eq!(*last, 999_999);
        assert!(before.iter().copied().eq(0..=last_sent));
    }
}
