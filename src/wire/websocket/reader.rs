//! Reads the frames of a client: checks and counts them, and finds those that need an answer. Messages
//! of clients are ignored, so nothing of them is kept.
//!
//! A [`FrameReader`] has two uses: it reads any number of bytes, and it is compared with its default,
//! which is the state between two messages.
//!
//! The reader takes messages in any pieces. A control frame, and the header of any frame, is taken as
//! a whole or not at all, because a ping must be answered with its payload, for which the state has no
//! room. The caller keeps the bytes that are not taken. On a plain socket, they stay in the kernel
//! (peek, then take). The content of a TLS record cannot stay there, so it needs a buffer of
//! [`MAX_UNTAKEN_BYTES`] until the rest arrives.

use serde::{Deserialize, Serialize};

use super::close::CloseCode;
use super::frame::MAX_CONTROL_BYTES;
use super::head::{ControlKind, Head, MalformedFrame, Part};
use super::received::{Closing, Ping, ReceivedFrames, unmasked};
use super::utf8::{NotUtf8, Utf8};

/// Longest message of a client, over all its parts. Messages are ignored, so this only has to be
/// enough for those that client libraries send by themselves.
pub(crate) const MAX_MESSAGE_BYTES: u16 = 4 * 1024;
/// Most bytes that [`FrameReader::read`] leaves: all but one of the largest control frame, including its
/// header and mask. No other header is longer.
pub(crate) const MAX_UNTAKEN_BYTES: usize = 2 + 4 + MAX_CONTROL_BYTES as usize - 1;

/// The position in the frames of a client.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct FrameReader {
    /// The mask, rotated so that it begins with the next byte of the frame.
    mask: [u8; 4],
    /// Bytes of the frame's payload that have not arrived yet.
    frame_left: u16,
    /// Length of the message's payload, up to the end of this frame.
    message_bytes: u16,
    /// The end of the text so far.
    text: Utf8,
    state: State,
    /// True if the message ends with this frame.
    is_last: bool,
}

// An idle client has no reader. For others, it is in the box beside the slot.
const _: () = assert!(size_of::<FrameReader>() <= 16);

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
enum State {
    /// Between two messages.
    #[default]
    Idle,
    /// In a text message.
    Text,
    /// In a binary message.
    Binary,
    /// After the end; all further bytes are ignored.
    Over,
}

/// The meaning of a client's next bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step<'a> {
    /// A part of a message.
    Data,
    /// The last part of a message.
    Message,
    Ping(Ping<'a>),
    Pong,
    Close(Option<u16>),
}

impl FrameReader {
    /// Reads bytes that a client has sent.
    pub(crate) fn read<'a>(&mut self, bytes: &'a [u8]) -> ReceivedFrames<'a> {
        let mut received = ReceivedFrames::default();
        while self.state != State::Over {
            let rest = bytes.get(received.taken..).unwrap_or_default();
            match self.step(rest) {
                Ok(None) => return received,
                Ok(Some((taken, step))) => {
                    received.taken += taken;
                    match step {
                        Step::Data | Step::Message => received.message_bytes += taken,
                        Step::Ping(ping) => received.ping = Some(ping),
                        Step::Pong => received.has_pong = true,
                        Step::Close(code) => self.end(Closing::ByClient(code), &mut received),
                    }
                }
                Err(code) => self.end(Closing::Failed(code), &mut received),
            }
        }
        received.taken = bytes.len();
        received
    }

    fn end(&mut self, closing: Closing, received: &mut ReceivedFrames<'_>) {
        *self = Self {
            state: State::Over,
            ..Self::default()
        };
        received.closing = Some(closing);
    }

    /// Takes a control frame, or the available part of a message's frame. Returns the number of bytes,
    /// or `None` if there are too few.
    fn step<'a>(&mut self, bytes: &'a [u8]) -> Result<Option<(usize, Step<'a>)>, CloseCode> {
        if self.frame_left > 0 && !bytes.is_empty() {
            return self.take_payload(bytes, 0);
        }
        let Some((head, rest)) = Head::parse(bytes)? else {
            return Ok(None);
        };
        match head {
            Head::Control {
                kind,
                payload_bytes,
            } => {
                let Some((mask, rest)) = rest.split_first_chunk() else {
                    return Ok(None);
                };
                let Some((payload, rest)) = rest.split_at_checked(payload_bytes.into()) else {
                    return Ok(None);
                };
                let ping = Ping {
                    mask: *mask,
                    payload,
                };
                let step = match kind {
                    ControlKind::Ping => Step::Ping(ping),
                    ControlKind::Pong => Step::Pong,
                    ControlKind::Close => Step::Close(close_code(unmasked(payload, *mask))?),
                };
                Ok(Some((bytes.len() - rest.len(), step)))
            }
            Head::Data {
                part,
                is_last,
                payload_bytes,
            } => {
                let begun = self.begin(part, is_last, payload_bytes)?;
                let Some((mask, rest)) = rest.split_first_chunk() else {
                    return Ok(None);
                };
                *self = Self {
                    mask: *mask,
                    ..begun
                };
                self.take_payload(rest, bytes.len() - rest.len())
            }
        }
    }

    /// The state at the beginning of the next frame.
    fn begin(self, part: Part, is_last: bool, payload_bytes: u64) -> Result<Self, CloseCode> {
        let state = match (self.state, part) {
            (State::Idle, Part::Text) => State::Text,
            (State::Idle, Part::Binary) => State::Binary,
            (State::Text | State::Binary, Part::Continuation) => self.state,
            _ => return Err(CloseCode::ProtocolError),
        };
        let left = u64::from(MAX_MESSAGE_BYTES - self.message_bytes);
        match u16::try_from(payload_bytes) {
            Ok(frame_left) if payload_bytes <= left => Ok(Self {
                frame_left,
                message_bytes: self.message_bytes + frame_left,
                state,
                is_last,
                ..self
            }),
            _ => Err(CloseCode::MessageTooLong),
        }
    }

    /// Takes the available part of a frame's payload. `header_bytes` were taken before it.
    fn take_payload<'a>(
        &mut self,
        rest: &[u8],
        header_bytes: usize,
    ) -> Result<Option<(usize, Step<'a>)>, CloseCode> {
        let payload = rest.get(..self.frame_left.into()).unwrap_or(rest);
        if self.state == State::Text {
            for byte in unmasked(payload, self.mask) {
                self.text.push(byte)?;
            }
        }
        // The payload is never longer than `frame_left`.
        self.frame_left -= u16::try_from(payload.len()).unwrap_or(self.frame_left);
        let next_key = payload.len() % self.mask.len();
        self.mask.rotate_left(next_key);
        let step = if self.frame_left > 0 || !self.is_last {
            Step::Data
        } else if self.text.is_complete() {
            *self = Self::default();
            Step::Message
        } else {
            return Err(CloseCode::NotUtf8);
        };
        Ok(Some((header_bytes + payload.len(), step)))
    }
}

/// The code in the payload of a close frame (RFC 6455 §5.5.1), if there is one.
fn close_code(mut payload: impl Iterator<Item = u8>) -> Result<Option<u16>, CloseCode> {
    let Some(high) = payload.next() else {
        return Ok(None);
    };
    let low = payload.next().ok_or(CloseCode::ProtocolError)?;
    let code = u16::from_be_bytes([high, low]);
    // The codes that a client may send by §7.4 and the IANA registry, and those for private use.
    if !matches!(code, 1000..=1003 | 1007..=1014 | 3000..=4999) {
        return Err(CloseCode::ProtocolError);
    }
    let mut reason = Utf8::default();
    for byte in payload {
        reason.push(byte)?;
    }
    if !reason.is_complete() {
        return Err(CloseCode::NotUtf8);
    }
    Ok(Some(code))
}

impl From<MalformedFrame> for CloseCode {
    fn from(_: MalformedFrame) -> Self {
        Self::ProtocolError
    }
}

impl From<NotUtf8> for CloseCode {
    fn from(_: NotUtf8) -> Self {
        Self::NotUtf8
    }
}

#[cfg(test)]
mod tests;
