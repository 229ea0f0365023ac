//! The header of a client's frame (RFC 6455 §5.2), up to its mask.

use super::frame::{
    BINARY, CLOSE, CONTINUATION, EIGHT_BYTES, FIN, MAX_CONTROL_BYTES, PING, PONG, TEXT, TWO_BYTES,
};

/// Bit of a frame's second byte: the payload is masked. The other bits are the length.
const MASKED: u8 = 0x80;

/// The kind of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Head {
    /// A message, or a part of a message.
    Data {
        part: Part,
        /// True if the message ends with this frame.
        is_last: bool,
        payload_bytes: u64,
    },
    /// A control frame, which is never fragmented.
    Control {
        kind: ControlKind,
        payload_bytes: u8,
    },
}

/// The message that a part belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Part {
    /// The message that has begun.
    Continuation,
    /// A new text message.
    Text,
    /// A new binary message.
    Binary,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ControlKind {
    Close,
    Ping,
    Pong,
}

/// The bytes are not the header of a valid frame: 1002.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct MalformedFrame;

impl Head {
    /// Parses the header at the start of these bytes. Returns it with the rest, or `None` if it is
    /// incomplete.
    pub(super) fn parse(start: &[u8]) -> Result<Option<(Self, &[u8])>, MalformedFrame> {
        let Some((first, rest)) = start.split_first() else {
            return Ok(None);
        };
        let is_last = first & FIN != 0;
        // The bits between FIN and the opcode are reserved (§5.2); if one is set, no opcode matches.
        let kind = match first & !FIN {
            CONTINUATION => Kind::Data(Part::Continuation),
            TEXT => Kind::Data(Part::Text),
            BINARY => Kind::Data(Part::Binary),
            CLOSE if is_last => Kind::Control(ControlKind::Close),
            PING if is_last => Kind::Control(ControlKind::Ping),
            PONG if is_last => Kind::Control(ControlKind::Pong),
            _ => return Err(MalformedFrame),
        };
        let Some((second, rest)) = rest.split_first() else {
            return Ok(None);
        };
        if second & MASKED == 0 {
            return Err(MalformedFrame);
        }
        let length = second & !MASKED;
        match kind {
            Kind::Control(_) if length > MAX_CONTROL_BYTES => Err(MalformedFrame),
            Kind::Control(kind) => {
                let payload_bytes = length;
                Ok(Some((
                    Self::Control {
                        kind,
                        payload_bytes,
                    },
                    rest,
                )))
            }
            Kind::Data(part) => {
                let Some((payload_bytes, rest)) = payload_bytes(length, rest)? else {
                    return Ok(None);
                };
                let head = Self::Data {
                    part,
                    is_last,
                    payload_bytes,
                };
                Ok(Some((head, rest)))
            }
        }
    }
}

enum Kind {
    Data(Part),
    Control(ControlKind),
}

/// Parses the length of a payload, which must have its shortest form. Returns it with the rest.
fn payload_bytes(length: u8, rest: &[u8]) -> Result<Option<(u64, &[u8])>, MalformedFrame> {
    let (bytes, rest, shorter) = match length {
        TWO_BYTES => {
            let Some((long, rest)) = rest.split_first_chunk() else {
                return Ok(None);
            };
            let bytes = u64::from(u16::from_be_bytes(*long));
            (bytes, rest, u64::from(MAX_CONTROL_BYTES))
        }
        EIGHT_BYTES => {
            let Some((long, rest)) = rest.split_first_chunk() else {
                return Ok(None);
            };
            (u64::from_be_bytes(*long), rest, u64::from(u16::MAX))
        }
        short => return Ok(Some((short.into(), rest))),
    };
    let has_top_bit = bytes > i64::MAX.unsigned_abs();
    if bytes <= shorter || has_top_bit {
        return Err(MalformedFrame);
    }
    Ok(Some((bytes, rest)))
}
