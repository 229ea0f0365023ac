//! What the server remembers of a WebSocket client's input: while a frame is incomplete, and for a minute after a
//! message.

use crate::shard::wheel::{TICKS_PER_S, Tick};
use crate::wire::websocket::{MAX_UNTAKEN_BYTES, Reader};

/// Most bytes of messages per minute (API.md, "WebSocket"). Messages are ignored, so this only has to be enough for
/// those that client libraries send by themselves.
const MAX_MESSAGE_BYTES_PER_MINUTE: u32 = 8 * 1024;
#[allow(clippy::cast_possible_truncation)] // a small number
const MINUTE_TICKS: u32 = 60 * TICKS_PER_S as u32;

/// The state of a WebSocket client's reader. Most clients have none: it is the default between two frames.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Inbound {
    pub(crate) reader: Reader,
    /// With TLS: the beginning of a frame, whose rest is in a record to come. Without TLS it stays in the kernel.
    torn: Vec<u8>,
    /// Bytes of messages since `minute`.
    message_bytes: u32,
    /// When the current minute began.
    minute: Option<Tick>,
}

impl Inbound {
    /// Returns true if there is something to remember.
    pub(super) fn is_needed(&self, now: Tick) -> bool {
        let is_recent = |minute| now.since(minute) < MINUTE_TICKS;
        self.reader != Reader::default()
            || !self.torn.is_empty()
            || self.minute.is_some_and(is_recent)
    }

    /// Counts bytes of messages. Returns false if they are too many for one minute.
    pub(crate) fn count_message(&mut self, bytes: usize, now: Tick) -> bool {
        if bytes == 0 {
            return true;
        }
        let minute = self.minute.filter(|it| now.since(*it) < MINUTE_TICKS);
        if minute.is_none() {
            self.message_bytes = 0;
        }
        self.minute = Some(minute.unwrap_or(now));
        let bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
        self.message_bytes = self.message_bytes.saturating_add(bytes);
        self.message_bytes <= MAX_MESSAGE_BYTES_PER_MINUTE
    }

    /// The beginning of a frame that waits for its rest, to be read once more together with what follows.
    pub(crate) fn take_torn(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.torn)
    }

    #[cfg(test)]
    pub(super) fn torn_bytes(&self) -> usize {
        self.torn.capacity()
    }

    /// Keeps the beginning of a frame, at most [`MAX_UNTAKEN_BYTES`].
    pub(crate) fn keep_torn(&mut self, torn: &[u8]) {
        debug_assert!(torn.len() <= MAX_UNTAKEN_BYTES, "the reader left too much");
        self.torn = torn.to_vec();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn eight_kib_of_messages_fit_into_a_minute() {
        let mut inbound = Inbound::default();
        assert!(inbound.count_message(0, Tick(1)) && !inbound.is_needed(Tick(1)));
        assert!(inbound.count_message(8 * 1024, Tick(5)));
        assert!(!inbound.count_message(1, Tick(4 + MINUTE_TICKS)));
        assert!(inbound.is_needed(Tick(4 + MINUTE_TICKS)));
        assert!(!inbound.is_needed(Tick(5 + MINUTE_TICKS)));
        assert!(inbound.count_message(8 * 1024, Tick(5 + MINUTE_TICKS)));
    }
}
