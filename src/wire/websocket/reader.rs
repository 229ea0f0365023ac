//! What a client sends: checked and counted, and answered where it has to be. Messages of clients
//! are ignored, so nothing is kept of them.
//!
//! Two things can be done with a [`FrameReader`]: bytes are read, whatever their number, and it is
//! compared with its default, which is a client from which nothing is expected to go on.
//!
//! Of a message, the reader takes what is there. A control frame, and the header of any frame, it
//! takes as a whole or not at all: a ping has to be answered with its payload, for which the state
//! has no room. What is not taken is kept by whoever owns the bytes. On a plain socket that is the
//! kernel (peek, then take), as with records of TLS; content of such a record that is not taken
//! needs a buffer of [`MAX_UNTAKEN_BYTES`] while it lasts.

use super::close::CloseCode;
use super::frame::MAX_CONTROL_BYTES;
use super::head::{ControlKind, Head, MalformedFrame, Part};
use super::received::{Closing, Ping, ReceivedFrames, unmasked};
use super::utf8::{NotUtf8, Utf8};

/// Longest message of a client, whatever the number of its parts. Messages are ignored, so this
/// only has to be enough for what client libraries send by themselves.
pub(crate) const MAX_MESSAGE_BYTES: u16 = 4 * 1024;
/// Most bytes that [`FrameReader::read`] leaves: all but one of the largest control frame, with its head
/// and its mask. No header is longer than that.
pub(crate) const MAX_UNTAKEN_BYTES: usize = 2 + 4 + MAX_CONTROL_BYTES as usize - 1;

/// Where a client is in what it sends.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct FrameReader {
    /// Of the frame's bytes that are left, from the first of them on.
    mask: [u8; 4],
    /// What of the frame's payload has not come yet.
    frame_left: u16,
    /// Payload of the message, up to the end of the frame.
    message_bytes: u16,
    /// The text so far.
    text: Utf8,
    state: State,
    /// Whether the message ends with the frame.
    is_last: bool,
}

// An idle client has none; the others have it in their slot's extra.
const _: () = assert!(size_of::<FrameReader>() <= 16);

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    /// Between two messages.
    #[default]
    Idle,
    /// In a text.
    Text,
    /// In a message that is no text.
    Binary,
    /// Nothing counts any more.
    Over,
}

/// What a client's next bytes are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step<'a> {
    /// Some of a message.
    Data,
    /// The last of a message.
    Message,
    Ping(Ping<'a>),
    Pong,
    Close(Option<u16>),
}

impl FrameReader {
    /// Reads what a client has sent.
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

    /// Takes a control frame, or what is there of a frame of a message, and says how many bytes that
    /// is; `None` where too little is there.
    fn step<'a>(&mut self, bytes: &'a [u8]) -> Result<Option<(usize, Step<'a>)>, CloseCode> {
        if self.frame_left > 0 && !bytes.is_empty() {
            return self.take_payload(bytes, 0);
        }
        let Some((head, rest)) = Head::parse(bytes)? else {
            return Ok(None);
        };
        match head {
            Head::ControlKind {
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

    /// Itself with a frame that follows.
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

    /// Takes what is there of a frame's payload, behind so many bytes of its header.
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
        // It is no longer than what was left.
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

/// The code in the payload of a close frame (RFC 6455 §5.5.1), where there is one.
fn close_code(mut payload: impl Iterator<Item = u8>) -> Result<Option<u16>, CloseCode> {
    let Some(high) = payload.next() else {
        return Ok(None);
    };
    let low = payload.next().ok_or(CloseCode::ProtocolError)?;
    let code = u16::from_be_bytes([high, low]);
    // Those that §7.4 and the IANA's registry let a client send, and those for private use.
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
