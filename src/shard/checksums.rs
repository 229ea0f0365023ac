//! What clients with a compressed stream were sent, as the trailers of their streams need it: eight bytes per client,
//! beside the slots. A shard without such clients has none of it.

#![allow(clippy::indexing_slicing)] // the table is as long as the highest key that was opened

use crate::wire::Checksum;

/// The checksums of a shard's compressed streams, by the keys of their slots.
#[derive(Debug)]
pub(super) struct Checksums {
    by_key: Vec<Checksum>,
}

impl Checksums {
    /// Reserves address space for as many slots, so that the table never moves. Its pages are touched only when slots
    /// are used.
    pub(super) fn new(capacity: usize) -> Self {
        Self {
            by_key: Vec::with_capacity(capacity),
        }
    }

    /// Begins the stream in a slot, after what it was sent before.
    pub(super) fn open(&mut self, key: u32, sent: Checksum) {
        let key = key as usize;
        if key >= self.by_key.len() {
            self.by_key.resize(key + 1, Checksum::default());
        }
        self.by_key[key] = sent;
    }

    /// What the stream in a slot was sent.
    pub(super) fn of(&self, key: u32) -> Checksum {
        self.by_key[key as usize]
    }

    /// The same, to be continued.
    pub(super) fn of_mut(&mut self, key: u32) -> &mut Checksum {
        &mut self.by_key[key as usize]
    }

    /// Frees the memory of streams that are gone. Called when the shard has none.
    pub(super) fn release(&mut self) {
        *self = Self::new(self.by_key.capacity());
    }
}
