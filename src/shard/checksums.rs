//! What clients with a compressed stream were sent, as the trailers of their streams need it: eight bytes per client,
//! beside the slots. A shard without such clients has none of it.

#![allow(clippy::indexing_slicing)] // the table reaches to the highest key that was opened

use crate::wire::Checksum;

/// The checksums of a shard's compressed streams, by the keys of their slots.
#[derive(Debug)]
pub(super) struct Checksums {
    /// As [`Checksum::to_bits`]. The allocator provides it as zeros, so a page is touched only when a stream in one of
    /// its slots is compressed.
    by_key: Vec<u64>,
    capacity: usize,
}

impl Checksums {
    /// A table for as many slots. It is allocated for the first compressed stream, and grows only if another process
    /// passes on streams in higher slots.
    pub(super) fn new(capacity: usize) -> Self {
        Self {
            by_key: Vec::new(),
            capacity,
        }
    }

    /// Begins the stream in a slot, after what it was sent before.
    pub(super) fn open(&mut self, key: u32, sent: Checksum) {
        if key as usize >= self.by_key.len() {
            self.grow_to(key as usize + 1);
        }
        self.set(key, sent);
    }

    /// What the stream in a slot was sent.
    pub(super) fn of(&self, key: u32) -> Checksum {
        Checksum::from_bits(self.by_key[key as usize])
    }

    /// Notes what the stream in a slot was sent.
    pub(super) fn set(&mut self, key: u32, sent: Checksum) {
        self.by_key[key as usize] = sent.to_bits();
    }

    /// Frees the memory of streams that are gone. Called when the shard has none.
    pub(super) fn release(&mut self) {
        self.by_key = Vec::new();
    }

    #[cold]
    fn grow_to(&mut self, least: usize) {
        let len = self.by_key.len();
        let mut larger = vec![0; least.max(self.capacity).max(2 * len)];
        larger[..len].copy_from_slice(&self.by_key);
        self.by_key = larger;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checksums_stay_when_the_table_grows_and_go_when_it_is_released() {
        let checksum = |bits| Checksum::from_bits(bits);
        let mut all = Checksums::new(2);
        for (key, bits) in [(0, 7), (1, u64::MAX), (9, 1 << 40), (100, 5)] {
            all.open(key, checksum(bits));
        }
        let found = [0, 1, 9, 100].map(|key| all.of(key).to_bits());
        assert_eq!(found, [7, u64::MAX, 1 << 40, 5]);
        all.set(9, checksum(3));
        assert_eq!(all.of(9), checksum(3));
        all.release();
        all.open(0, Checksum::default());
        assert_eq!(all.of(1), Checksum::default());
    }
}
