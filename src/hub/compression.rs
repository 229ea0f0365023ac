//! Which events are compressed.

use crate::config::Compression;

/// The rule by which events are compressed for clients that have a compressed stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct EventCompression {
    /// The fewest bytes of an event's text. Four bytes, because each event on its way has a copy.
    min_bytes: u32,
}

impl EventCompression {
    /// No client is offered a compressed stream.
    pub(crate) const OFF: Self = Self {
        min_bytes: u32::MAX,
    };

    /// The configured rule.
    pub(crate) fn of(configured: &Compression) -> Self {
        let Compression { enabled, min_bytes } = *configured;
        if !enabled {
            return Self::OFF;
        }
        let most = Self::OFF.min_bytes - 1;
        Self {
            min_bytes: u32::try_from(min_bytes).map_or(most, |bytes| bytes.min(most)),
        }
    }

    /// Returns true if clients are offered compressed streams.
    pub(crate) fn is_offered(self) -> bool {
        self != Self::OFF
    }

    /// The fewest bytes of text. A client that came from another process may have a compressed stream where none is
    /// offered; its events are not compressed.
    pub(crate) fn min_bytes(self) -> usize {
        self.min_bytes as usize
    }
}
