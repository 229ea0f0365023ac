//! What a client owes its server: a pong, and the answer to a close.
//!
//! Of several pings that were read together the last alone is answered, as section 5.5.3 allows, so that a flood of
//! them builds no queue.

use super::frame::{MAX_CONTROL_BYTES, Opcode, masked_control};
use crate::sys;

/// The frames that are still to be sent.
#[derive(Debug, Default)]
pub(crate) struct Replies {
    pong: Option<Vec<u8>>,
    /// The payload to close with.
    close: Option<Vec<u8>>,
    pings: u64,
}

impl Replies {
    /// A ping has come.
    pub(crate) fn ping(&mut self, payload: &[u8]) {
        debug_assert!(payload.len() <= MAX_CONTROL_BYTES);
        self.pings += 1;
        let pong = self.pong.get_or_insert_default();
        pong.clear();
        pong.extend_from_slice(payload);
    }

    /// The connection is to be closed, with a code or without.
    pub(crate) fn close(&mut self, code: Option<u16>) {
        self.close = Some(code.map_or_else(Vec::new, |code| code.to_be_bytes().into()));
    }

    /// How many pings have come since this was last asked.
    pub(crate) fn take_pings(&mut self) -> u64 {
        std::mem::take(&mut self.pings)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.pong.is_none() && self.close.is_none()
    }

    /// Takes over what `newer` has; its pong replaces an older one.
    pub(crate) fn absorb(&mut self, newer: &mut Self) {
        self.pong = newer.pong.take().or(self.pong.take());
        self.close = newer.close.take().or(self.close.take());
    }

    /// Adds the frames to `into`, each with a mask of its own; nothing is owed any more.
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

    /// Takes the mask off a control frame.
    fn unmask(frame: &[u8]) -> (u8, Vec<u8>) {
        let (key, payload) = frame[2..].split_at(4);
        let payload = payload.iter().zip(key.iter().cycle());
        (frame[0], payload.map(|(byte, key)| byte ^ key).collect())
    }

    #[test]
    fn the_last_ping_is_answered_and_all_are_counted() {
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
    fn masks_differ_from_frame_to_frame() {
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
    fn what_waits_to_be_sent_is_replaced_by_what_is_newer() {
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
