//! Protocol errors of a server, and the close codes that answer them.

use std::fmt;

/// Why a client cannot go on reading.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Violation {
    /// A reserved bit, although no extension was negotiated.
    ReservedBits,
    /// An opcode without a meaning.
    Opcode(u8),
    /// A masked frame; only clients mask.
    Masked,
    /// A control frame that is fragmented or longer than 125 bytes.
    Control,
    /// A length in more bytes than it needs, or over 2^63.
    Length,
    /// A continuation without a message, or a new message within another.
    Sequence,
    /// A close frame of one byte, or with a code that may not be sent.
    CloseCode,
    /// A text or a close reason that is not UTF-8.
    Utf8,
    /// A message over the client's limit.
    TooLong,
    /// A binary message; events are text.
    Binary,
}

impl Violation {
    /// The code of the client's close frame (section 7.4.1).
    pub(crate) fn close_code(self) -> u16 {
        match self {
            Self::Utf8 => 1007,
            Self::TooLong => 1009,
            Self::Binary => 1003,
            _ => 1002,
        }
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("websocket: ")?;
        match self {
            Self::ReservedBits => f.write_str("a reserved bit without an extension"),
            Self::Opcode(opcode) => write!(f, "a frame with opcode {opcode}"),
            Self::Masked => f.write_str("a masked frame"),
            Self::Control => f.write_str("a control frame that is fragmented or too long"),
            Self::Length => f.write_str("an invalid length"),
            Self::Sequence => f.write_str("fragments out of sequence"),
            Self::CloseCode => f.write_str("a close frame without a valid code"),
            Self::Utf8 => f.write_str("text that is not UTF-8"),
            Self::TooLong => f.write_str("a message over the client's limit"),
            Self::Binary => f.write_str("a binary message"),
        }
    }
}
