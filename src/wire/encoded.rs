//! A signal for many clients, encoded when the first of them needs it and then shared.

use std::ops::Range;
use std::sync::OnceLock;

use bytes::Bytes;

use super::checksum::FrameChecksum;
use super::encoding::Wire;
use super::gzip::Deflated;
use super::signal::Signal;
use super::sse::Chunk;
use super::websocket;

/// The bytes of one signal for each wire. Both uncompressed wires of SSE share an allocation.
#[derive(Debug, Default)]
pub struct Encoded {
    sse: OnceLock<Chunk>,
    /// Boxed: most servers have no client of them, and pay only for the pointer.
    others: OnceLock<Box<Others>>,
}

#[derive(Debug, Default)]
struct Others {
    websocket: OnceLock<Bytes>,
    gzip: OnceLock<Deflated>,
}

// Each event on its way has one.
const _: () =
    assert!(size_of::<Encoded>() <= size_of::<OnceLock<Chunk>>() + 2 * size_of::<usize>());

impl Encoded {
    /// The bytes for a wire, uncompressed. Only the first call uses `signal`, so all calls must pass the same one.
    #[inline] // called for each client of a heartbeat
    pub fn get<'a>(&'a self, wire: Wire, signal: impl FnOnce() -> Signal<'a>) -> Piece<'a> {
        self.get_compressed(wire, usize::MAX, signal)
    }

    /// The same. For compressed streams, an event is compressed if its text has at least `compress_from` bytes.
    #[inline] // as above
    pub(crate) fn get_compressed<'a>(
        &'a self,
        wire: Wire,
        compress_from: usize,
        signal: impl FnOnce() -> Signal<'a>,
    ) -> Piece<'a> {
        if matches!(wire, Wire::WebSocket | Wire::SseGzip) {
            return self.other(wire, compress_from, signal);
        }
        let chunk = self.sse.get_or_init(|| Chunk::new(&signal()));
        let range = if wire == Wire::SseRaw {
            chunk.text()
        } else {
            chunk.chunk()
        };
        Piece::new(chunk.bytes(), range)
    }

    /// Returns true if the bytes for compressed streams are there already.
    pub(crate) fn is_compressed(&self) -> bool {
        let others = self.others.get();
        others.is_some_and(|others| others.gzip.get().is_some())
    }

    #[inline(never)] // keeps the path of plain SSE, which is inlined, short
    fn other<'a>(
        &'a self,
        wire: Wire,
        compress_from: usize,
        signal: impl FnOnce() -> Signal<'a>,
    ) -> Piece<'a> {
        let others = self.others.get_or_init(Box::default);
        if wire == Wire::WebSocket {
            let frames = others
                .websocket
                .get_or_init(|| websocket::encode(&signal()));
            return Piece::new(frames, 0..frames.len());
        }
        let deflated = others
            .gzip
            .get_or_init(|| Deflated::new(&signal(), compress_from));
        let whole = deflated.bytes();
        Piece {
            checksum: Some(deflated.checksum()),
            ..Piece::new(whole, 0..whole.len())
        }
    }
}

/// A part of shared bytes: the bytes of an [`Encoded`] for one wire.
#[derive(Clone, Debug)]
pub struct Piece<'a> {
    whole: &'a Bytes,
    range: Range<usize>,
    checksum: Option<&'a FrameChecksum>,
}

impl<'a> Piece<'a> {
    #[inline]
    fn new(whole: &'a Bytes, range: Range<usize>) -> Self {
        Self {
            whole,
            range,
            checksum: None,
        }
    }

    /// The bytes.
    #[inline]
    pub fn bytes(&self) -> &'a [u8] {
        &self.whole[self.range.clone()]
    }

    /// The checksum of its text, if its wire has checksums.
    #[inline]
    pub(crate) fn checksum(&self) -> Option<&'a FrameChecksum> {
        self.checksum
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

    #[test]
    fn all_clients_of_a_websocket_share_another() {
        let encoded = Encoded::default();
        let signal = || {
            Signal::Event(Event {
                id: None,
                name: "message",
                data: "x",
            })
        };
        let frame = encoded.get(Wire::WebSocket, signal);
        let same = encoded.get(Wire::WebSocket, || unreachable!("encoded twice"));
        assert_eq!(
            frame.bytes(),
            b"\x81\x21{\"event\": \"message\", \"data\": \"x\"}"
        );
        assert_eq!(same.bytes().as_ptr(), frame.bytes().as_ptr());
        assert_eq!(frame.allocated(), frame.len());
        assert_eq!(frame.share(2).as_ptr(), frame.bytes()[2..].as_ptr());
        let raw = encoded.get(Wire::SseRaw, signal);
        assert_eq!(raw.bytes(), b"event: message\ndata: x\n\n");
    }
}
