//! The part of a slot that belongs to the socket, as it is described to another process.
//!
//! Ticks are counted from the start of a process, so times are described by how long ago they were.

use serde::{Deserialize, Serialize};

use crate::base64_bytes::Base64Bytes;
use crate::shard::backlog::{Backlog, UnsentBytes};
use crate::shard::wheel::Tick;
use crate::tls::PortableSecrets;
use crate::wire::Wire;
use crate::wire::websocket::FrameReader;

/// What belongs to the socket.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct PortableCarrier {
    pub(super) wire: Wire,
    pub(super) keeps_alive: bool,
    /// The time since the last write.
    pub(super) silent_ticks: u32,
    /// The number of bytes of an SSE client that were discarded.
    pub(super) discarded: u16,
    pub(super) secrets: Option<PortableSecrets>,
    pub(super) backlog: Option<PortableBacklog>,
    pub(super) inbound: Option<PortableInbound>,
}

/// The bytes that the socket has not taken yet.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct PortableBacklog {
    bytes: Base64Bytes,
    /// The time without progress.
    stuck_ticks: u32,
}

/// The state of a WebSocket client's reader.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct PortableInbound {
    pub(super) reader: FrameReader,
    pub(super) torn: Base64Bytes,
    pub(super) record: Base64Bytes,
    pub(super) has_much: bool,
    pub(super) message_bytes: u32,
    /// The time since the current minute began.
    pub(super) minute_ticks: Option<u32>,
}

impl PortableBacklog {
    pub(super) fn of(backlog: &Backlog, now: Tick) -> Self {
        Self {
            bytes: backlog.copy().as_slice().into(),
            stuck_ticks: now.since(backlog.progress()),
        }
    }

    pub(super) fn restore(&self, backlog: &mut Backlog, now: Tick) {
        backlog.push(UnsentBytes::copy(&self.bytes.0));
        backlog.start_timeout(now.minus(self.stuck_ticks));
    }
}
