//! Server-Sent Events in a gzip stream (RFC 1952), almost without state for the client.
//!
//! The stream is one gzip member: its header after the head of the response, the [blocks](super::deflate) of each
//! signal, and a trailer with the [checksum](Checksum) of everything. Each of them is a chunk of its own. The blocks
//! are the same for all clients, and a client can decode them as they arrive. Only the trailer is a client's own. A
//! stream without it would be an error for clients such as Go's `net/http` and Java's `GZIPInputStream`.
//!
//! Only events are compressed, and only from a certain size on. Everything else is too short to gain anything.

use bytes::Bytes;

use super::checksum::{Checksum, FrameChecksum};
use super::signal::Signal;
use super::{deflate, sse};

/// The header of a gzip stream: deflate, without a name or a time, from an unknown system.
const HEADER: [u8; 10] = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 0xff];

/// A signal in its own chunk, for all clients.
#[derive(Debug)]
pub(crate) struct Deflated {
    bytes: Bytes,
    checksum: FrameChecksum,
}

impl Deflated {
    /// Encodes a signal. An event is compressed if its text has at least `compress_from` bytes.
    pub(crate) fn new(signal: &Signal<'_>, compress_from: usize) -> Self {
        let mut bytes = Vec::new();
        let checksum = push(signal, compress_from, &mut bytes);
        Self {
            bytes: bytes.into_boxed_slice().into(),
            checksum,
        }
    }

    /// The chunk.
    pub(crate) fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// The checksum of its text.
    pub(crate) fn checksum(&self) -> &FrameChecksum {
        &self.checksum
    }
}

/// Appends the header, as the stream's first chunk.
pub(super) fn push_header(bytes: &mut Vec<u8>) {
    sse::push_chunk_of(bytes, |chunk| chunk.extend_from_slice(&HEADER));
}

/// Appends a signal as a chunk, and adds it to the checksum of everything that was sent. After an end, the stream and
/// the body are complete.
pub(super) fn append(
    signal: &Signal<'_>,
    compress_from: usize,
    sent: &mut Checksum,
    bytes: &mut Vec<u8>,
) {
    if let Signal::End(_) = signal {
        let text = text_of(signal);
        sent.add(&FrameChecksum::of(&text));
        sse::push_chunk_of(bytes, |chunk| {
            deflate::push_stored(&text, chunk);
            chunk.extend_from_slice(&deflate::LAST_BLOCK);
            chunk.extend_from_slice(&sent.trailer());
        });
        bytes.extend_from_slice(sse::LAST_CHUNK);
    } else {
        sent.add(&push(signal, compress_from, bytes));
    }
}

/// Appends a signal that is not the end.
fn push(signal: &Signal<'_>, compress_from: usize, bytes: &mut Vec<u8>) -> FrameChecksum {
    let text = text_of(signal);
    let is_compressed = matches!(signal, Signal::Event(_)) && text.len() >= compress_from;
    sse::push_chunk_of(bytes, |chunk| {
        if is_compressed {
            deflate::push(&text, chunk);
        } else {
            deflate::push_stored(&text, chunk);
        }
    });
    FrameChecksum::of(&text)
}

fn text_of(signal: &Signal<'_>) -> Vec<u8> {
    let mut text = Vec::with_capacity(sse::capacity(signal));
    sse::push_text(signal, &mut text);
    text
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};

    use flate2::read::MultiGzDecoder;
    use flate2::write::GzDecoder;
    use proptest::prelude::*;

    use super::*;
    use crate::event::EventId;
    use crate::wire::{Encoded, End, Event, Piece, Wire};

    const ID: EventId = EventId { ms: 17, seq: 3 };
    const COMPRESS_FROM: usize = 100;
    const FLUSH: [u8; 5] = [0, 0, 0, 0xff, 0xff];

    fn event(data: &str) -> Signal<'_> {
        Signal::Event(Event {
            id: Some(ID),
            name: "message",
            data,
        })
    }

    fn raw(signal: &Signal<'_>) -> Vec<u8> {
        let mut bytes = Vec::new();
        Wire::SseRaw.encode(signal, &mut bytes);
        bytes
    }

    /// The contents of chunks.
    fn unchunked(mut bytes: &[u8]) -> Vec<u8> {
        let mut contents = Vec::new();
        while !bytes.is_empty() {
            let end = bytes.windows(2).position(|pair| pair == b"\r\n").unwrap();
            let size = std::str::from_utf8(&bytes[..end]).unwrap();
            let size = usize::from_str_radix(size, 16).unwrap();
            contents.extend_from_slice(&bytes[end + 2..][..size]);
            assert_eq!(&bytes[end + 2 + size..][..2], b"\r\n");
            bytes = &bytes[end + 2 + size + 2..];
        }
        contents
    }

    fn deflated(signal: &Signal<'_>) -> Vec<u8> {
        unchunked(Deflated::new(signal, COMPRESS_FROM).bytes())
    }

    #[test]
    fn heartbeats_and_small_events_are_stored_and_large_ones_compressed() {
        let beat = Signal::Heartbeat { position: Some(ID) };
        let text = raw(&beat);
        let len = u8::try_from(text.len()).unwrap();
        let stored = [&[0, len, 0, !len, 0xff], &*text, &FLUSH].concat();
        assert_eq!(deflated(&beat), stored);
        let data = "x".repeat(COMPRESS_FROM);
        for (size, is_stored) in [(20, true), (COMPRESS_FROM, false)] {
            let signal = event(&data[..size]);
            assert_eq!(deflated(&signal).len() > raw(&signal).len(), is_stored);
        }
        // Only events are compressed, whatever their size.
        let line = Signal::TestLine(&data);
        assert_eq!(deflated(&line).len(), raw(&line).len() + 10);
    }

    #[test]
    fn data_that_compression_would_enlarge_is_stored() {
        let mut random = fastrand::Rng::with_seed(1);
        let data: String = (0..70_000)
            .map(|_| random.char('\u{80}'..'\u{ffff}'))
            .collect();
        let signal = event(&data);
        let text = raw(&signal);
        let blocks = text.len().div_ceil(0xffff);
        assert!(deflated(&signal).len() <= text.len() + 5 * blocks + FLUSH.len());
    }

    #[test]
    fn the_size_of_an_event_does_not_depend_on_what_was_sent_before() {
        let data = "secret ".repeat(100);
        let alone = deflated(&event(&data));
        deflated(&event(&"secret and more ".repeat(500)));
        assert_eq!(deflated(&event(&data)), alone);
    }

    #[derive(Clone, Debug)]
    enum Said {
        Event(String),
        Heartbeat,
        Retry(u64),
        Gap(String),
    }

    impl Said {
        fn signal(&self) -> Signal<'_> {
            match self {
                Self::Event(data) => event(data),
                Self::Heartbeat => Signal::Heartbeat { position: None },
                Self::Retry(retry_ms) => Signal::Opened {
                    position: Some(ID),
                    retry_ms: *retry_ms,
                },
                Self::Gap(last_event_id) => Signal::Gap {
                    position: ID,
                    last_event_id,
                    oldest: None,
                },
            }
        }
    }

    fn said() -> impl Strategy<Value = Said> {
        prop_oneof![
            4 => prop_oneof!["\\PC{0,300}", "[ab\\r\\n]{0,400}", "x{0,9000}"].prop_map(Said::Event),
            1 => Just(Said::Heartbeat),
            1 => any::<u64>().prop_map(Said::Retry),
            1 => "\\PC{0,200}".prop_map(Said::Gap),
        ]
    }

    proptest! {
        /// Signals that are shared, alone or several at once, and signals of one client: after each, everything so far
        /// is decodable. After the end, the stream is complete, and its checksum right.
        #[test]
        fn a_stream_of_any_signals_is_that_stream(
            parts in prop::collection::vec((prop::collection::vec(said(), 1..4), 0u8..3), 0..12),
            end in prop_oneof![
                Just(End::LoggedOut), Just(End::Expired), Just(End::Evicted), Just(End::Disconnected),
                any::<u64>().prop_map(|retry_ms| End::GoingAway { retry_ms }),
            ],
        ) {
            let (mut sent, mut plain) = (Checksum::default(), Vec::new());
            let mut decoder = GzDecoder::new(Vec::new());
            let mut all = Vec::new();
            let mut bytes = Vec::new();
            Wire::SseGzip.push_preamble(&mut bytes);
            for (signals, way) in &parts {
                let encoded: Vec<Encoded> = signals.iter().map(|_| Encoded::default()).collect();
                let pieces = signals.iter().zip(&encoded).map(|(said, encoded)| {
                    encoded.get_compressed(Wire::SseGzip, COMPRESS_FROM, || said.signal())
                });
                match way {
                    0 => for said in signals {
                        Wire::SseGzip.append(&said.signal(), COMPRESS_FROM, &mut sent, &mut bytes);
                    },
                    1 => for piece in pieces {
                        sent.add(piece.checksum().unwrap());
                        bytes.extend_from_slice(piece.bytes());
                    },
                    _ => {
                        let pieces: Vec<_> = pieces.collect();
                        sent.add(&FrameChecksum::of_all(pieces.iter().filter_map(Piece::checksum)));
                        for piece in &pieces {
                            bytes.extend_from_slice(piece.bytes());
                        }
                    }
                }
                for said in signals {
                    plain.extend_from_slice(&raw(&said.signal()));
                }
                let contents = unchunked(&bytes);
                bytes.clear();
                // Of a flush that follows compressed data, the block's first bits are in the byte before.
                prop_assert!(contents.ends_with(&FLUSH[1..]));
                decoder.write_all(&contents).unwrap();
                decoder.flush().unwrap();
                all.extend_from_slice(&contents);
                prop_assert_eq!(decoder.get_ref(), &plain);
            }
            Wire::SseGzip.append(&Signal::End(end), COMPRESS_FROM, &mut sent, &mut bytes);
            plain.extend_from_slice(&raw(&Signal::End(end)));
            let last = bytes.strip_suffix(b"0\r\n\r\n").unwrap();
            all.extend_from_slice(&unchunked(last));
            // Reads to the end, and checks the trailer.
            let mut decoded = Vec::new();
            MultiGzDecoder::new(&all[..]).read_to_end(&mut decoded).unwrap();
            prop_assert_eq!(decoded, plain);
        }
    }
}
