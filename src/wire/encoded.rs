//! A signal for many clients, encoded when the first of them needs it and then shared.

use std::ops::Range;
use std::sync::OnceLock;

use bytes::Bytes;

use super::encoding::Wire;
use super::signal::Signal;
use super::sse::Chunk;

/// The bytes of one signal for each wire. Both wires of SSE share an allocation.
#[derive(Debug, Default)]
pub struct Encoded {
    sse: OnceLock<Chunk>,
}

impl Encoded {
    /// The bytes for a wire. Only the first call uses `signal`, so all calls must pass the same one.
    #[inline] // called for each client of a heartbeat
    pub fn get<'a>(&'a self, wire: Wire, signal: impl FnOnce() -> Signal<'a>) -> Piece<'a> {
        let chunk = self.sse.get_or_init(|| Chunk::new(&signal()));
        Piece {
            whole: chunk.bytes(),
            range: match wire {
                Wire::SseChunked => chunk.chunk(),
                Wire::SseRaw => chunk.text(),
            },
        }
    }
}

/// A part of shared bytes: the bytes of an [`Encoded`] for one wire.
#[derive(Clone, Debug)]
pub struct Piece<'a> {
    whole: &'a Bytes,
    range: Range<usize>,
}

impl<'a> Piece<'a> {
    /// The bytes.
    #[inline]
    pub fn bytes(&self) -> &'a [u8] {
        &self.whole[self.range.clone()]
    }

    /// The number of bytes.
    #[inline]
    pub fn len(&self) -> usize {
        self.range.len()
    }

    /// Returns true if there are no bytes.
    pub fn is_empty(&self) -> bool {
        self.range.is_empty()
    }

    /// Returns the bytes from `skip` on, without a copy.
    pub fn share(&self, skip: usize) -> Bytes {
        self.whole.slice(self.range.start + skip..self.range.end)
    }

    /// The size of the shared allocation.
    pub fn allocated(&self) -> usize {
        self.whole.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::Event;

    #[test]
    fn all_clients_share_one_encoding() {
        let encoded = Encoded::default();
        let signal = || {
            Signal::Event(Event {
                id: None,
                name: "message",
                data: "x",
            })
        };
        let chunked = encoded.get(Wire::SseChunked, signal);
        let raw = encoded.get(Wire::SseRaw, || unreachable!("encoded twice"));
        assert_eq!(raw.bytes(), b"event: message\ndata: x\n\n");
        assert_eq!(chunked.bytes(), b"18\r\nevent: message\ndata: x\n\n\r\n");
        assert_eq!(chunked.allocated(), raw.allocated());
        let shared = chunked.share(4);
        assert!(chunked.allocated() >= chunked.len());
        assert_eq!(shared.as_ptr(), raw.bytes().as_ptr());
        assert_eq!(&shared[..], &chunked.bytes()[4..]);
    }
}
