//! The frames that a client must send: a pong, and the answer to a close frame.
//!
//! Of several pings that were read together only the last is answered, as section 5.5.3 allows. So a flood of
//! pings builds no queue.

use super::frame::{MAX_CONTROL_BYTES, Opcode, masked_control};
use crate::sys;

/// The frames to send.
#[derive(Debug, Default)]
pub(crate) struct Replies {
    pong: Option<Vec<u8>>,
    /// The payload of the close frame.
    close: Option<Vec<u8>>,
    pings: u64,
}

impl Replies {
    /// Counts a ping, and answers it in place of earlier ones.
    pub(crate) fn ping(&mut self, payload: &[u8]) {
        debug_assert!(payload.len() <= MAX_CONTROL_BYTES);
        self.pings += 1;
        let pong = self.pong.get_or_insert_default();
        pong.clear();
        pong.extend_from_slice(payload);
    }

    /// Adds a close frame, with or without a code.
    pub(crate) fn close(&mut self, code: Option<u16>) {
        self.close = Some(code.map_or_else(Vec::new, |code| code.to_be_bytes().into()));
    }

    /// The number of pings since the last call.
    pub(crate) fn take_pings(&mut self) -> u64 {
        std::mem::take(&mut self.pings)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.pong.is_none() && self.close.is_none()
    }

    /// Moves the frames of `newer` here. They replace older ones of the same type.
    pub(crate) fn absorb(&mut self, newer: &mut Self) {
        self.pong = newer.pong.take().or(self.pong.take());
        self.close = newer.close.take().or(self.close.take());
    }

    /// Moves the frames to the end of `into`, each with its own mask.
    pub(crate) fn write(&mut self, into: &mut Vec<u8>) {
        if let Some(payload) = self.pong.take() {
            masked_control(Opcode::Pong, &payload, sys::random(), into);
        }
        if let Some(payload) = self.close.take() {
            masked_control(Opcode::Close, &payload, sys::random(), into);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The first byte and the unmasked payload of a control frame.
    fn unmask(frame: &[u8]) -> (u8, Vec<u8>) {
        let (key, payload) = frame[2..].split_at(4);
        let payload = payload.iter().zip(key.iter().cycle());
        (frame[0], payload.map(|(byte, key)| byte ^ key).collect())
    }

    #[test]
    fn only_the_last_ping_is_answered_but_all_are_counted() {
        let (mut replies, mut sent) = (Replies::default(), Vec::new());
        for n in 0..1_000_000u32 {
            replies.ping(&n.to_be_bytes());
        }
        replies.write(&mut sent);
        assert_eq!(unmask(&sent), (0x8a, 999_999u32.to_be_bytes().to_vec()));
        assert_eq!(replies.take_pings(), 1_000_000);
        assert!(replies.is_empty() && replies.take_pings() == 0);
    }

    #[test]
    fn each_frame_has_its_own_mask() {
        let mut sent = [Vec::new(), Vec::new(), Vec::new()];
        for frame in &mut sent {
            let mut replies = Replies::default();
            replies.close(Some(1001));
            replies.write(frame);
            assert_eq!(unmask(frame), (0x88, vec![3, 233]));
        }
        assert!(sent[0] != sent[1] || sent[1] != sent[2]);
    }

    #[test]
    fn newer_replies_replace_older_ones() {
        let (mut waiting, mut newer) = (Replies::default(), Replies::default());
        waiting.ping(b"old");
        waiting.close(None);
        newer.ping(b"new");
        waiting.absorb(&mut newer);
        assert!(newer.is_empty());
        let mut sent = Vec::new();
        waiting.write(&mut sent);
        let (pong, close) = sent.split_at(9);
        assert_eq!(unmask(pong), (0x8a, b"new".to_vec()));
        assert_eq!(unmask(close), (0x88, Vec::new()));
    }
}
