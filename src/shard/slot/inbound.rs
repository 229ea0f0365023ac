//! What the server remembers of a WebSocket client's input: while a frame is incomplete, and for a minute after a
//! message.

use super::portable::PortableInbound;
use crate::shard::wheel::{TICKS_PER_S, Tick};
use crate::wire::websocket::{FrameReader, MAX_UNTAKEN_BYTES};

/// Most bytes of messages per minute (docs/websocket.md). Messages are ignored, so this only has to be enough for
/// those that client libraries send by themselves.
const MAX_MESSAGE_BYTES_PER_MINUTE: u32 = 8 * 1024;
#[allow(clippy::cast_possible_truncation)] // 1,920
const MINUTE_TICKS: u32 = (60 * TICKS_PER_S) as u32;

/// The state of a WebSocket client's reader. Most clients have none: it is the default between two frames.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Inbound {
    pub(crate) reader: FrameReader,
    /// The beginning of a frame, if it cannot stay in the kernel.
    torn: Vec<u8>,
    /// The beginning of a TLS record, if it cannot stay in the kernel.
    record: Vec<u8>,
    /// The last look at the socket did not show everything.
    has_much: bool,
    /// Bytes of messages since `minute`.
    message_bytes: u32,
    /// When the current minute began.
    minute: Option<Tick>,
}

impl Inbound {
    /// Returns true if there is something to remember.
    pub(super) fn is_needed(&self, now: Tick) -> bool {
        let is_recent = |minute| now.since(minute) < MINUTE_TICKS;
        self.reader != FrameReader::default()
            || self.has_torn()
            || !self.record.is_empty()
            || self.has_much
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

    /// Returns true if there is the beginning of a frame.
    pub(crate) fn has_torn(&self) -> bool {
        !self.torn.is_empty()
    }

    /// Notes whether there is more in the kernel than one look shows. Returns what was noted last.
    pub(crate) fn set_has_much(&mut self, has_much: bool) -> bool {
        std::mem::replace(&mut self.has_much, has_much)
    }

    /// The beginning of a record, to be opened together with what follows.
    pub(crate) fn take_record(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.record)
    }

    /// Keeps the beginning of a record, which is shorter than the longest record.
    pub(crate) fn keep_record(&mut self, record: &[u8]) {
        self.record = record.to_vec();
    }

    /// The beginning of a frame that waits for its rest, to be read once more together with what follows.
    pub(crate) fn take_torn(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.torn)
    }

    /// Describes it for another process.
    pub(super) fn describe(&self, now: Tick) -> PortableInbound {
        PortableInbound {
            reader: self.reader,
            torn: self.torn.as_slice().into(),
            record: self.record.as_slice().into(),
            has_much: self.has_much,
            message_bytes: self.message_bytes,
            minute_ticks: self.minute.map(|minute| now.since(minute)),
        }
    }

    /// Takes over what another process has described.
    pub(super) fn restored(portable: &PortableInbound, now: Tick) -> Self {
        Self {
            reader: portable.reader,
            torn: portable.torn.0.to_vec(),
            record: portable.record.0.to_vec(),
            has_much: portable.has_much,
            message_bytes: portable.message_bytes,
            minute: portable.minute_ticks.map(|age| now.minus(age)),
        }
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
