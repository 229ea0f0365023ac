//! The id of a connection.

use std::fmt;

/// Bits of a [`ConnectionId`] for the slot. The bits above them are for the shard.
const KEY_BITS: u32 = 23;
const SHARD_BITS: u32 = u32::BITS - KEY_BITS;

/// Identifies one connection while the server runs: its shard, its slot there, and a generation. The generation
/// distinguishes connections that use the slot one after the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ConnectionId {
    place: u32,
    generation: u32,
}

const _: () = assert!(
    size_of::<ConnectionId>() == 8,
    "it is stored in the directory, and as epoll data"
);

impl ConnectionId {
    /// Highest number of shards.
    pub(crate) const MAX_SHARDS: usize = 1 << SHARD_BITS;
    /// Highest number of slots per shard.
    pub(crate) const MAX_KEYS: usize = 1 << KEY_BITS;

    /// The connection in a shard's slot. Both numbers must be below the bounds above.
    pub fn new(shard: u16, key: u32, generation: u32) -> Self {
        debug_assert!(usize::from(shard) < Self::MAX_SHARDS && (key as usize) < Self::MAX_KEYS);
        Self {
            place: u32::from(shard) << KEY_BITS | key,
            generation,
        }
    }

    /// The shard that owns the connection.
    #[allow(clippy::cast_possible_truncation)] // nine bits
    pub(crate) fn shard(self) -> u16 {
        (self.place >> KEY_BITS) as u16
    }

    /// The slot in the shard.
    pub(crate) fn key(self) -> u32 {
        self.place & ((1 << KEY_BITS) - 1)
    }

    /// Distinguishes the connections that use the slot one after the other.
    pub(crate) fn generation(self) -> u32 {
        self.generation
    }

    /// The whole id as a number, for epoll.
    pub(crate) fn to_bits(self) -> u64 {
        u64::from(self.generation) << 32 | u64::from(self.place)
    }

    /// The id that [`ConnectionId::to_bits`] turned into this number.
    #[allow(clippy::cast_possible_truncation)] // the halves of the number
    pub(crate) fn from_bits(bits: u64) -> Self {
        Self {
            place: bits as u32,
            generation: (bits >> 32) as u32,
        }
    }
}

impl fmt::Display for ConnectionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}-{}", self.shard(), self.key(), self.generation)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn its_parts_come_back() {
        for shard in [0, 1, 511] {
            for key in [0, 1, (1 << KEY_BITS) - 1] {
                for generation in [0, 7, u32::MAX] {
                    let id = ConnectionId::new(shard, key, generation);
                    assert_eq!(
                        (id.shard(), id.key(), id.generation()),
                        (shard, key, generation)
                    );
                    assert_eq!(ConnectionId::from_bits(id.to_bits()), id);
                }
            }
        }
        assert_eq!(ConnectionId::new(1, 2, 3).to_string(), "1-2-3");
    }
}
