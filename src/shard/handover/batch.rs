//! Several connections as one message. Their descriptors travel with it, in the same order.

use std::io;

use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::base64_bytes::Base64Bytes;
use crate::shard::returned::Origin;
use crate::shard::slot::Portable;
use crate::tls::PortableSecrets;
use crate::wiped::WipedBytes;

/// Connections that leave together.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct LeavingBatch {
    pub(super) connections: Vec<Portable>,
    /// Connections between two requests, after all others.
    #[serde(default)]
    pub(super) without_stream: Vec<PortableHttp>,
}

/// A connection between two requests, without its socket.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct PortableHttp {
    pub(super) origin: Origin,
    pub(super) secrets: Option<PortableSecrets>,
    /// The beginning of the next request.
    #[serde(default)]
    pub(super) received: Base64Bytes,
}

/// The answer: all connections of a batch are served again, except those that the other process had no room for.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(super) struct Entered {
    pub(super) refused: u64,
}

/// Writes a message.
pub(super) fn write(message: &impl Serialize) -> io::Result<Zeroizing<Vec<u8>>> {
    WipedBytes::json(message)
}

/// Reads a message.
pub(super) fn read<'a, M: Deserialize<'a>>(bytes: &'a [u8]) -> io::Result<M> {
    Ok(serde_json::from_slice(bytes)?)
}
