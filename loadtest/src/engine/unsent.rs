//! Replies that the socket did not accept at once, because the server reads more slowly than it pings.
//!
//! The rest of an incomplete frame must be sent as it is. Later replies are kept as at most one pong and one
//! close frame, so a server that never reads costs its client two small frames.

use std::os::fd::AsFd;

use rustix::io::Errno;
use rustix::net::{SendFlags, send};

use crate::websocket::Replies;

/// The rest of an incomplete frame, and the replies after it.
#[derive(Debug)]
pub(super) struct Unsent {
    rest: Vec<u8>,
    owed: Replies,
}

impl Unsent {
    /// Sends `bytes`. Returns the rest that the socket did not accept.
    pub(super) fn send(fd: impl AsFd, bytes: &[u8]) -> Option<Self> {
        let sent = some(fd, bytes);
        (sent < bytes.len()).then(|| Self {
            rest: bytes[sent..].to_vec(),
            owed: Replies::default(),
        })
    }

    /// Adds later replies.
    pub(super) fn owe(&mut self, replies: &mut Replies) {
        self.owed.absorb(replies);
    }

    /// Continues to send. Returns the later replies once the rest is sent.
    pub(super) fn send_on(&mut self, fd: impl AsFd) -> Option<Replies> {
        let sent = some(fd, &self.rest);
        self.rest.drain(..sent);
        self.rest.is_empty().then(|| std::mem::take(&mut self.owed))
    }
}

/// Sends as much as the socket accepts. Returns the number of bytes.
fn some(fd: impl AsFd, bytes: &[u8]) -> usize {
    match send(fd, bytes, SendFlags::NOSIGNAL | SendFlags::DONTWAIT) {
        Ok(sent) => sent,
        Err(Errno::AGAIN | Errno::INTR) => 0,
        Err(_) => bytes.len(), // reads report a broken connection, after the server's last bytes
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::os::unix::net::UnixStream;

    use super::*;

    /// The number of the ping that a pong answers.
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
    fn a_server_that_reads_late_receives_whole_frames_and_the_last_pong() {
        let (client, mut server) = UnixStream::pair().unwrap();
        let mut replies = Replies::default();
        let mut unsent: Option<Unsent> = None;
        let mut last_sent = 0;
        // Far more than the socket buffers hold.
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
        assert!(unsent.send_on(&client).is_none(), "the server has not read");

        // Everything in the buffers, then the rest of the incomplete frame, then the later replies.
        let mut heard = Vec::new();
        server.set_nonblocking(true).unwrap();
        let _ = server.read_to_end(&mut heard); // until it would block
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
