//! Several connections as one message. Their descriptors travel with it, in the same order.

use std::io;

use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::shard::slot::Portable;

/// Connections that leave together.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct LeavingBatch {
    pub(super) connections: Vec<Portable>,
}

/// The answer: all connections of a batch are served again, except those that the other process had no room for.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(super) struct Entered {
    pub(super) refused: u64,
}

/// Writes a message.
pub(super) fn write(message: &impl Serialize) -> io::Result<Zeroizing<Vec<u8>>> {
    Ok(Zeroizing::new(serde_json::to_vec(message)?))
}

/// Reads a message.
pub(super) fn read<'a, M: Deserialize<'a>>(bytes: &'a [u8]) -> io::Result<M> {
    Ok(serde_json::from_slice(bytes)?)
}
