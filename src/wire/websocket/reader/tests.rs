//! The reader with clients' bytes.

mod conformance;
mod differential;

use super::super::frame::{
    BINARY, CLOSE, CONTINUATION, EIGHT_BYTES, FIN, Header, PING, PONG, TEXT, TWO_BYTES,
};
use super::*;

/// Bit of a frame's second byte.
const MASKED: u8 = 0x80;
const MASK: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];

/// A frame with the mask of RFC 6455 §5.7 and the shortest form of the length.
fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    masked(first, MASK, payload)
}

fn masked(first: u8, mask: [u8; 4], payload: &[u8]) -> Vec<u8> {
    let mut frame = Header::new(0, payload.len()).bytes().to_vec();
    frame[0] = first;
    frame[1] |= MASKED;
    frame.extend(mask);
    frame.extend(unmasked(payload, mask));
    frame
}

/// An action of a client.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Did {
    Message,
    Ping(Vec<u8>),
    Pong,
    Close(Option<u16>),
    Fail(CloseCode),
}

impl From<Closing> for Did {
    fn from(closing: Closing) -> Self {
        match closing {
            Closing::ByClient(code) => Self::Close(code),
            Closing::Failed(code) => Self::Fail(code),
        }
    }
}

/// All actions of a client.
#[derive(Debug, Default, PartialEq, Eq)]
struct Seen {
    did: Vec<Did>,
    message_bytes: usize,
    /// True if a frame or a message is incomplete.
    is_pending: bool,
}

impl Seen {
    /// Reads one frame at a time, from bytes that arrive in these pieces. Bytes that are not taken are
    /// passed again with the next piece.
    fn by_frame<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> Self {
        let (mut reader, mut seen) = (FrameReader::default(), Self::default());
        let mut there: Vec<u8> = Vec::new();
        for piece in pieces {
            there.extend(piece);
            let mut at = 0;
            loop {
                match reader.step(&there[at..]) {
                    Ok(None) => break,
                    Ok(Some((taken, step))) => {
                        assert!(taken > 0);
                        at += taken;
                        if let Step::Data | Step::Message = step {
                            seen.message_bytes += taken;
                        }
                        seen.did.extend(match step {
                            Step::Data => None,
                            Step::Message => Some(Did::Message),
                            Step::Ping(ping) => {
                                Some(Did::Ping(unmasked(ping.payload, ping.mask).collect()))
                            }
                            Step::Pong => Some(Did::Pong),
                            Step::Close(code) => Some(Did::Close(code)),
                        });
                        if let Step::Close(_) = step {
                            return seen;
                        }
                    }
                    Err(code) => {
                        seen.did.push(Did::Fail(code));
                        return seen;
                    }
                }
            }
            there.drain(..at);
            assert!(there.len() <= MAX_UNTAKEN_BYTES);
        }
        seen.is_pending = reader != FrameReader::default() || !there.is_empty();
        seen
    }

    /// Reads all available bytes at once, as the shard does. The result must agree with `by_frame`,
    /// which sees every ping.
    fn check_reads<'a>(&self, pieces: impl IntoIterator<Item = &'a [u8]>) {
        let (mut reader, mut there) = (FrameReader::default(), Vec::new());
        let (mut message_bytes, mut has_pong, mut closing) = (0, false, None);
        let mut pings = Vec::new();
        for piece in pieces {
            there.extend(piece);
            let received = reader.read(&there);
            if closing.is_some() {
                // Everything after the end is ignored.
                let taken = there.len();
                assert_eq!(
                    received,
                    ReceivedFrames {
                        taken,
                        ..ReceivedFrames::default()
                    }
                );
            }
            message_bytes += received.message_bytes;
            has_pong |= received.has_pong;
            closing = closing.or(received.closing);
            pings.extend(
                received
                    .ping
                    .map(|it| unmasked(it.payload, it.mask).collect()),
            );
            there.drain(..received.taken);
            assert!(there.len() <= MAX_UNTAKEN_BYTES);
        }
        let end = self
            .did
            .last()
            .filter(|it| matches!(it, Did::Close(_) | Did::Fail(_)));
        assert_eq!(closing.map(Did::from).as_ref(), end);
        assert_eq!(has_pong, self.did.contains(&Did::Pong));
        // A violation is not counted, and it is not known how many bytes before it were.
        if !matches!(end, Some(Did::Fail(_))) {
            assert_eq!(message_bytes, self.message_bytes);
        }
        let mut all = self.did.iter().filter_map(|did| match did {
            Did::Ping(payload) => Some(payload),
            _ => None,
        });
        assert_eq!(pings.last(), all.clone().next_back());
        for ping in &pings {
            assert!(
                all.any(|it| it == ping),
                "a ping that was not sent, or not then"
            );
        }
    }
}

#[test]
fn a_flood_of_pings_has_one_answer() {
    let mut flood: Vec<u8> = (0..10_000_u32)
        .flat_map(|number| frame(FIN | PING, &number.to_be_bytes()))
        .collect();
    flood.truncate(flood.len() - 1);
    let received = FrameReader::default().read(&flood);
    let mut answer = Vec::new();
    received.push_answer(&mut answer);
    assert_eq!(answer, [&[0x8a, 4][..], &9_998_u32.to_be_bytes()].concat());
    assert_eq!(flood.len() - received.taken, 9);
    assert_eq!(received.message_bytes, 0);
}

#[test]
fn a_close_is_answered_with_its_code_after_the_last_ping() {
    let answer = |bytes: &[u8]| {
        let mut answer = Vec::new();
        FrameReader::default().read(bytes).push_answer(&mut answer);
        answer
    };
    let close = frame(FIN | CLOSE, b"\x03\xe9bye");
    assert_eq!(answer(&close), [0x88, 2, 0x03, 0xe9]);
    assert_eq!(answer(&frame(FIN | CLOSE, b"")), [0x88, 0]);
    let both = [frame(FIN | PING, b"p"), close].concat();
    assert_eq!(answer(&both), *b"\x8a\x01p\x88\x02\x03\xe9");
    assert_eq!(answer(&[0x81, 0]), *b"\x88\x10\x03\xeaProtocol error");
    assert!(answer(&frame(FIN | TEXT, b"hello")).is_empty());
    assert!(answer(&frame(FIN | PONG, b"")).is_empty());
}

#[test]
fn what_is_read_of_messages_is_counted_with_its_headers() {
    let mut reader = FrameReader::default();
    let empty_parts = [frame(TEXT, b""), frame(CONTINUATION, b"")].concat();
    assert_eq!(reader.read(&empty_parts).message_bytes, 12);
    let last = [
        frame(FIN | PING, b"ping"),
        frame(FIN | CONTINUATION, b"end"),
    ]
    .concat();
    assert_eq!(reader.read(&last).message_bytes, 9);
    assert_eq!(reader, FrameReader::default());
}

#[test]
fn a_client_without_an_open_frame_needs_no_state() {
    let mut reader = FrameReader::default();
    let whole = frame(FIN | TEXT, "größe".as_bytes());
    for split in 0..whole.len() {
        let first = reader.read(&whole[..split]);
        // An incomplete header is not taken either.
        assert_eq!(
            first.taken == 0,
            reader == FrameReader::default(),
            "{split}"
        );
        reader.read(&whole[first.taken..]);
        assert_eq!(reader, FrameReader::default());
    }
}
