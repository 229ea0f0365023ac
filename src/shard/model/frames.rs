//! A browser's end of a WebSocket: the frames that it sends, and those that it receives.

use std::ops::RangeInclusive;

/// First bytes of frames that are whole messages, or control frames.
pub(in crate::shard) const TEXT: u8 = 0x81;
pub(in crate::shard) const CLOSE: u8 = 0x88;
pub(in crate::shard) const PING: u8 = 0x89;
pub(in crate::shard) const PONG: u8 = 0x8a;
/// Most payload with a length of one byte.
const SHORT: RangeInclusive<usize> = 0..=125;
const TWO_BYTES: u8 = 126;
const EIGHT_BYTES: u8 = 127;
const MASKED: u8 = 0x80;

/// A frame of the client, with its mask.
pub(in crate::shard) fn masked(first: u8, mask: [u8; 4], payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![first];
    if SHORT.contains(&payload.len()) {
        frame.push(MASKED | u8::try_from(payload.len()).unwrap());
    } else {
        frame.push(MASKED | TWO_BYTES);
        frame.extend(u16::try_from(payload.len()).unwrap().to_be_bytes());
    }
    frame.extend(mask);
    let masked = payload.iter().zip(mask.iter().cycle());
    frame.extend(masked.map(|(byte, key)| byte ^ key));
    frame
}

/// The same with a mask that does not matter.
pub(in crate::shard) fn frame(first: u8, payload: impl AsRef<[u8]>) -> Vec<u8> {
    masked(first, [0x37, 0xfa, 0x21, 0x3d], payload.as_ref())
}

pub(in crate::shard) fn close(code: u16) -> Vec<u8> {
    frame(CLOSE, code.to_be_bytes())
}

/// Takes a whole frame of the server out of what was received: its first byte and its payload.
pub(in crate::shard) fn next_frame(received: &mut Vec<u8>) -> Option<(u8, Vec<u8>)> {
    let [first, length, rest @ ..] = received.as_slice() else {
        return None;
    };
    assert_eq!(length & MASKED, 0, "the server's frames are not masked");
    let (head, payload) = match *length {
        TWO_BYTES => (4, u16::from_be_bytes(*rest.first_chunk()?).into()),
        EIGHT_BYTES => (10, u64::from_be_bytes(*rest.first_chunk()?)),
        short => (2, short.into()),
    };
    let (first, end) = (*first, head + usize::try_from(payload).unwrap());
    if received.len() < end {
        return None;
    }
    let frame: Vec<u8> = received.drain(..end).collect();
    Some((first, frame[head..].to_vec()))
}
