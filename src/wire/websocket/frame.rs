//! The frames that the server sends (RFC 6455 §5.2): complete messages, never masked.

#![allow(clippy::indexing_slicing)] // a header's length is one of three

use super::close::CloseCode;

/// Opcodes (§5.2).
pub(super) const CONTINUATION: u8 = 0;
pub(super) const TEXT: u8 = 1;
pub(super) const BINARY: u8 = 2;
pub(super) const CLOSE: u8 = 8;
pub(super) const PING: u8 = 9;
pub(super) const PONG: u8 = 10;

/// Bit of a frame's first byte: the message ends with this frame.
pub(super) const FIN: u8 = 0x80;
/// Largest payload of a control frame (§5.5). It is also the largest length that fits into one byte.
pub(super) const MAX_CONTROL_BYTES: u8 = 125;
/// In place of a length: the length follows in two bytes.
pub(super) const TWO_BYTES: u8 = 126;
/// In place of a length: the length follows in eight bytes.
pub(super) const EIGHT_BYTES: u8 = 127;
/// Length of the code in a close frame's payload; the reason follows (§5.5.1).
const CODE_BYTES: u8 = 2;

/// A header with the short form of the length.
const SHORT_BYTES: usize = 2;
/// A header with the longest form of the length.
const MAX_HEADER_BYTES: usize = SHORT_BYTES + 8;

/// The header of a frame.
pub(super) struct Header {
    bytes: [u8; MAX_HEADER_BYTES],
    used: usize,
}

impl Header {
    pub(super) fn new(opcode: u8, payload_bytes: usize) -> Self {
        let mut bytes = [0; MAX_HEADER_BYTES];
        bytes[0] = FIN | opcode;
        let (form, following) = bytes[1..].split_at_mut(1);
        let following_bytes = match (u8::try_from(payload_bytes), u16::try_from(payload_bytes)) {
            (Ok(short), _) if short <= MAX_CONTROL_BYTES => {
                form[0] = short;
                0
            }
            (_, Ok(medium)) => {
                form[0] = TWO_BYTES;
                following[..2].copy_from_slice(&medium.to_be_bytes());
                2
            }
            _ => {
                form[0] = EIGHT_BYTES;
                following.copy_from_slice(&(payload_bytes as u64).to_be_bytes());
                8
            }
        };
        Self {
            bytes,
            used: SHORT_BYTES + following_bytes,
        }
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes[..self.used]
    }
}

/// The close frame for a reason.
pub(crate) fn close_frame(code: CloseCode) -> Vec<u8> {
    let mut frame = Vec::new();
    Close::from(code).push(&mut frame);
    frame
}

/// A close frame.
#[derive(Clone, Copy)]
pub(super) struct Close<'a> {
    /// `None` if the client sent no code; then the answer has none either.
    code: Option<u16>,
    reason: &'a str,
}

impl<'a> Close<'a> {
    /// A close frame with any reason, which is cut off if it is too long.
    pub(super) fn with_reason(code: u16, reason: &'a str) -> Self {
        let mut bytes = reason.len().min((MAX_CONTROL_BYTES - CODE_BYTES).into());
        while !reason.is_char_boundary(bytes) {
            bytes -= 1;
        }
        Self {
            code: Some(code),
            reason: &reason[..bytes],
        }
    }

    /// The answer to a client's close frame, with the same code (§5.5.1).
    pub(super) fn echo(code: Option<u16>) -> Self {
        Self { code, reason: "" }
    }

    pub(super) fn len(self) -> usize {
        SHORT_BYTES + self.payload_bytes()
    }

    pub(super) fn push(self, out: &mut Vec<u8>) {
        out.extend_from_slice(Header::new(CLOSE, self.payload_bytes()).bytes());
        if let Some(code) = self.code {
            out.extend_from_slice(&code.to_be_bytes());
            out.extend_from_slice(self.reason.as_bytes());
        }
    }

    fn payload_bytes(self) -> usize {
        let code = self.code.map_or(0, |_| CODE_BYTES.into());
        code + self.reason.len()
    }
}

impl From<CloseCode> for Close<'_> {
    fn from(code: CloseCode) -> Self {
        Self::with_reason(code.number(), code.reason())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_length_has_the_shortest_form_that_holds_it() {
        let forms: [(usize, &[u8]); 7] = [
            (0, &[0x81, 0]),
            (125, &[0x81, 125]),
            (126, &[0x81, 126, 0, 126]),
            (0xff, &[0x81, 126, 0, 0xff]),
            (0xffff, &[0x81, 126, 0xff, 0xff]),
            (0x1_0000, &[0x81, 127, 0, 0, 0, 0, 0, 1, 0, 0]),
            (0x12_3456, &[0x81, 127, 0, 0, 0, 0, 0, 0x12, 0x34, 0x56]),
        ];
        for (payload_bytes, header) in forms {
            assert_eq!(Header::new(TEXT, payload_bytes).bytes(), header);
        }
    }

    #[test]
    fn a_reason_that_is_too_long_is_cut_off_between_characters() {
        let reason = format!("x{}", "€".repeat(50));
        let close = Close::with_reason(4001, &reason);
        let mut frame = Vec::new();
        close.push(&mut frame);
        assert_eq!(frame.len(), close.len());
        assert_eq!(frame[..4], [0x88, 2 + 121, 0x0f, 0xa1]);
        assert_eq!(frame[4..], reason.as_bytes()[..121]);
    }
}
