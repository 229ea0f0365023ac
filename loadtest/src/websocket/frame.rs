//! One frame (section 5.2): parses its header, and writes whole frames.

use super::Violation;

/// The longest payload of a control frame.
pub(super) const MAX_CONTROL_BYTES: usize = 125;
/// Longest message accepted, as for events of a stream; the server's largest event is 64 KiB.
pub(super) const MAX_MESSAGE_BYTES: usize = 1024 * 1024;

const FIN: u8 = 0x80;
const RESERVED: u8 = 0x70;
const OPCODE: u8 = 0x0f;
const MASKED: u8 = 0x80;
/// Length values that announce a length field of two or eight bytes.
const TWO_BYTES: u8 = 126;
const EIGHT_BYTES: u8 = 127;

/// The type of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Opcode {
    Continuation = 0,
    Text = 1,
    Binary = 2,
    Close = 8,
    Ping = 9,
    Pong = 10,
}

/// The header of a frame that a server sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) fin: bool,
    pub(super) opcode: Opcode,
    /// The offset of the payload.
    pub(super) payload_at: usize,
    /// The length of the payload.
    pub(super) payload_bytes: usize,
}

impl Header {
    /// Parses the header at the start of `bytes`; `None` if it is incomplete. Errors in it are found before the
    /// payload arrives.
    pub(super) fn parse(bytes: &[u8]) -> Result<Option<Self>, Violation> {
        let &[first, second, ref rest @ ..] = bytes else {
            return Ok(None);
        };
        if first & RESERVED != 0 {
            return Err(Violation::ReservedBits);
        }
        if second & MASKED != 0 {
            return Err(Violation::Masked);
        }
        let opcode = Opcode::of(first & OPCODE)?;
        let fin = first & FIN != 0;
        if opcode.is_control() && (!fin || usize::from(second) > MAX_CONTROL_BYTES) {
            return Err(Violation::Control);
        }
        let payload_at = Self::bytes(bytes);
        let length = match second {
            TWO_BYTES => rest
                .first_chunk()
                .map(|&length| u64::from(u16::from_be_bytes(length))),
            EIGHT_BYTES => rest.first_chunk().map(|&length| u64::from_be_bytes(length)),
            length => Some(u64::from(length)),
        };
        let Some(length) = length else {
            return Ok(None);
        };
        let least = match second {
            TWO_BYTES => u64::from(TWO_BYTES),
            EIGHT_BYTES => u64::from(u16::MAX) + 1,
            _ => 0,
        };
        if length < least || length > i64::MAX as u64 {
            return Err(Violation::Length);
        }
        let payload_bytes = usize::try_from(length).unwrap_or(usize::MAX);
        if payload_bytes > MAX_MESSAGE_BYTES {
            return Err(Violation::TooLong);
        }
        Ok(Some(Self {
            fin,
            opcode,
            payload_at,
            payload_bytes,
        }))
    }

    /// The length of the header at the start of `bytes`; 2 until the second byte is there.
    pub(super) fn bytes(bytes: &[u8]) -> usize {
        match bytes.get(1) {
            Some(&TWO_BYTES) => 4,
            Some(&EIGHT_BYTES) => 10,
            _ => 2,
        }
    }

    /// The length of header and payload.
    pub(super) fn frame_bytes(&self) -> usize {
        self.payload_at + self.payload_bytes
    }
}

impl Opcode {
    fn of(bits: u8) -> Result<Self, Violation> {
        Ok(match bits {
            0 => Self::Continuation,
            1 => Self::Text,
            2 => Self::Binary,
            8 => Self::Close,
            9 => Self::Ping,
            10 => Self::Pong,
            other => return Err(Violation::Opcode(other)),
        })
    }

    fn is_control(self) -> bool {
        matches!(self, Self::Close | Self::Ping | Self::Pong)
    }
}

/// A whole frame, as servers send it.
pub(crate) fn unmasked(opcode: Opcode, payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![FIN | opcode as u8];
    match (u8::try_from(payload.len()), u16::try_from(payload.len())) {
        (Ok(length @ ..TWO_BYTES), _) => frame.push(length),
        (_, Ok(length)) => {
            frame.push(TWO_BYTES);
            frame.extend(length.to_be_bytes());
        }
        _ => {
            frame.push(EIGHT_BYTES);
            frame.extend((payload.len() as u64).to_be_bytes());
        }
    }
    frame.extend_from_slice(payload);
    frame
}

/// Appends a control frame, masked with `key` as clients must, to `into`.
pub(super) fn masked_control(opcode: Opcode, payload: &[u8], key: [u8; 4], into: &mut Vec<u8>) {
    let length = u8::try_from(payload.len()).expect("a control frame has at most 125 bytes");
    debug_assert!(opcode.is_control() && payload.len() <= MAX_CONTROL_BYTES);
    into.extend([FIN | opcode as u8, MASKED | length]);
    into.extend(key);
    into.extend(
        payload
            .iter()
            .zip(key.iter().cycle())
            .map(|(byte, key)| byte ^ key),
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_written_frame_is_parsed_in_all_three_length_forms() {
        for (payload_bytes, payload_at) in [
            (0, 2),
            (125, 2),
            (126, 4),
            (65_535, 4),
            (65_536, 10),
            (MAX_MESSAGE_BYTES, 10),
        ] {
            let frame = unmasked(Opcode::Text, &vec![b'x'; payload_bytes]);
            let header = Header {
                fin: true,
                opcode: Opcode::Text,
                payload_at,
                payload_bytes,
            };
            assert_eq!(Header::parse(&frame), Ok(Some(header)));
            assert_eq!(header.frame_bytes(), frame.len());
            for short in 0..payload_at {
                assert_eq!(Header::parse(&frame[..short]), Ok(None));
            }
        }
    }

    #[test]
    fn a_header_that_a_server_must_not_send_is_rejected_before_its_payload() {
        for (header, violation) in [
            (&[0xc1, 0][..], Violation::ReservedBits),
            (&[0x91, 0], Violation::ReservedBits),
            (&[0x83, 0], Violation::Opcode(3)),
            (&[0x8f, 0], Violation::Opcode(15)),
            (&[0x81, 0x80], Violation::Masked),
            (&[0x09, 0], Violation::Control),
            (&[0x89, 126], Violation::Control),
            (&[0x88, 127], Violation::Control),
            (&[0x81, 126, 0, 125], Violation::Length),
            (
                &[0x81, 127, 0, 0, 0, 0, 0, 0, 0xff, 0xff],
                Violation::Length,
            ),
            (&[0x81, 127, 0x80, 0, 0, 0, 0, 0, 0, 0], Violation::Length),
            (&[0x81, 127, 0, 0, 0, 0, 0, 0x10, 0, 1], Violation::TooLong),
            (&[0x81, 127, 0x7f, 0, 0, 0, 0, 0, 0, 0], Violation::TooLong),
        ] {
            assert_eq!(Header::parse(header), Err(violation), "{header:x?}");
        }
    }

    #[test]
    fn masking_matches_the_example_of_the_standard() {
        // Section 5.7: the pong that answers a ping with "Hello".
        let mut frame = Vec::new();
        masked_control(Opcode::Pong, b"Hello", [0x37, 0xfa, 0x21, 0x3d], &mut frame);
        let expected = [
            0x8a, 0x85, 0x37, 0xfa, 0x21, 0x3d, 0x7f, 0x9f, 0x4d, 0x51, 0x58,
        ];
        assert_eq!(frame, expected);
    }
}
