//! The checksum of a gzip stream, as a client's stream and its frames have it.
//!
//! A frame that many clients receive is read once for its checksum. Each client's own is then combined with it, which
//! takes some tens of nanoseconds and does not depend on the frame's size.

use serde::{Deserialize, Serialize};
use zlib_rs::crc32::{crc32, crc32_combine_gen, crc32_combine_op};

/// The checksum of everything that a compressed client was sent: what the trailer of its stream says (RFC 1952 §2.3.1).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Checksum {
    crc: u32,
    /// Bytes before compression, modulo 2³².
    len: u32,
}

const _: () = assert!(
    size_of::<Checksum>() == 8,
    "all that a compressed client costs beside its slot"
);

/// The checksum of a frame's text, and the operator that moves another one past it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct FrameChecksum {
    crc: u32,
    len: u32,
    shift: u32,
}

impl Checksum {
    /// Adds a frame that is sent after everything so far.
    pub(crate) fn add(&mut self, frame: &FrameChecksum) {
        self.crc = crc32_combine_op(self.crc, frame.crc, frame.shift);
        self.len = self.len.wrapping_add(frame.len);
    }

    /// The last eight bytes of the stream.
    pub(super) fn trailer(self) -> [u8; 8] {
        self.to_bits().to_le_bytes()
    }

    /// The checksum as one number; 0 is that of an empty text.
    pub(crate) fn to_bits(self) -> u64 {
        u64::from(self.len) << 32 | u64::from(self.crc)
    }

    /// The checksum that [`Checksum::to_bits`] was called on.
    #[allow(clippy::cast_possible_truncation)] // the two halves
    pub(crate) fn from_bits(bits: u64) -> Self {
        Self {
            crc: bits as u32,
            len: (bits >> 32) as u32,
        }
    }
}

impl FrameChecksum {
    /// The checksum of a text.
    pub(super) fn of(text: &[u8]) -> Self {
        Self::new(crc32(0, text), text.len())
    }

    #[allow(clippy::cast_possible_truncation)] // the length is modulo 2³²
    fn new(crc: u32, len: usize) -> Self {
        Self {
            crc,
            len: len as u32,
            shift: crc32_combine_gen(len as u64),
        }
    }

    /// The checksum of frames that are sent together.
    pub(crate) fn of_all<'a>(frames: impl IntoIterator<Item = &'a Self>) -> Self {
        let mut all = Checksum::default();
        for frame in frames {
            all.add(frame);
        }
        Self::new(all.crc, all.len as usize)
    }
}
