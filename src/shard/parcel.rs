//! Several entries that leave in one send.

#![allow(clippy::indexing_slicing)] // there is a place for each wire

use std::cell::{Cell, OnceCell};
use std::io::IoSlice;

use crate::hub::Outgoing;
use crate::wire::{FrameChecksum, Piece, Wire};

/// The most entries in one send. It is below the kernel's `UIO_MAXIOV`, and with more entries the cost of
/// the system call is negligible anyway.
pub(super) const MAX_PARCEL_ENTRIES: usize = 64;
/// The most bytes in one send, unless a single entry is larger. A socket with the default `send_buffer`
/// takes this much at once, so a batch alone does not cause a backlog.
pub(super) const MAX_PARCEL_BYTES: usize = 32 * 1024;

/// Entries that a client gets in one send. They are prepared for an encoding when its first client needs it.
pub(super) struct Parcel<'a> {
    outgoing: &'a [&'a Outgoing],
    wires: [OnceCell<Slices<'a>>; Wire::COUNT],
    compressed_bytes: Cell<usize>,
}

/// A parcel in one encoding.
pub(super) struct Slices<'a> {
    pub(super) pieces: Vec<Piece<'a>>,
    pub(super) io: Vec<IoSlice<'a>>,
    pub(super) bytes: usize,
    /// The checksum of all pieces, if the wire has checksums.
    pub(super) checksum: Option<FrameChecksum>,
}

impl<'a> Parcel<'a> {
    pub(super) fn new(outgoing: &'a [&'a Outgoing]) -> Self {
        Self {
            outgoing,
            wires: [const { OnceCell::new() }; Wire::COUNT],
            compressed_bytes: Cell::new(0),
        }
    }

    /// Bytes that were compressed for this parcel's clients, before compression.
    pub(super) fn compressed_bytes(&self) -> usize {
        self.compressed_bytes.get()
    }

    /// The parcel, as clients of this wire get it.
    #[inline] // once for each client of a broadcast
    pub(super) fn slices(&self, wire: Wire) -> &Slices<'a> {
        self.wires[wire as usize].get_or_init(|| {
            if wire.has_checksum() {
                let bytes = self.outgoing.iter().map(|it| it.uncompressed_bytes());
                self.compressed_bytes.set(bytes.sum());
            }
            let pieces: Vec<Piece<'a>> = self.outgoing.iter().map(|it| it.piece(wire)).collect();
            Slices {
                io: pieces.iter().map(|it| IoSlice::new(it.bytes())).collect(),
                bytes: pieces.iter().map(Piece::len).sum(),
                checksum: wire
                    .has_checksum()
                    .then(|| FrameChecksum::of_all(pieces.iter().filter_map(Piece::checksum))),
                pieces,
            }
        })
    }
}
