//! What the server has to do about what a client sent.

use super::close::CloseCode;
use super::frame::{Close, Header, PONG};

/// What some bytes of a client come to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct ReceivedFrames<'a> {
    /// Bytes that are dealt with. The others begin a frame, and have to be here again with what
    /// follows them; they are at most [`MAX_UNTAKEN_BYTES`](super::MAX_UNTAKEN_BYTES).
    pub(crate) taken: usize,
    /// Of these, the bytes of messages, with the headers of their frames. ControlKind frames do not
    /// count, but an empty part of a message does, so that nobody gets parts for nothing.
    pub(crate) message_bytes: usize,
    /// The last ping, and the only one that needs an answer (RFC 6455 §5.5.3).
    pub(crate) ping: Option<Ping<'a>>,
    /// Whether there was a pong.
    pub(crate) has_pong: bool,
    /// The client's end. Nothing after it counts.
    pub(crate) closing: Option<Closing>,
}

/// A ping, as it is answered: with its own payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ping<'a> {
    pub(super) mask: [u8; 4],
    /// Masked.
    pub(super) payload: &'a [u8],
}

/// Why nothing more is expected of a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Closing {
    /// It closes, or answers the server's close. Its code is a valid one, where it gave one.
    ByClient(Option<u16>),
    /// It sent what no client may send.
    Failed(CloseCode),
}

impl ReceivedFrames<'_> {
    /// Appends the frames that answer it, if any do. A server that has sent its close frame already
    /// sends nothing more, so it leaves this out.
    pub(crate) fn push_answer(&self, out: &mut Vec<u8>) {
        if let Some(ping) = self.ping {
            ping.push_pong(out);
        }
        if let Some(closing) = self.closing {
            closing.push_close(out);
        }
    }
}

impl Ping<'_> {
    fn push_pong(self, out: &mut Vec<u8>) {
        out.extend_from_slice(Header::new(PONG, self.payload.len()).bytes());
        out.extend(unmasked(self.payload, self.mask));
    }
}

impl Closing {
    /// Appends the close frame that answers it.
    pub(crate) fn push_close(self, out: &mut Vec<u8>) {
        match self {
            Self::ByClient(code) => Close::echo(code),
            Self::Failed(code) => code.into(),
        }
        .push(out);
    }
}

/// The payload that was masked (RFC 6455 §5.3).
pub(super) fn unmasked(payload: &[u8], mask: [u8; 4]) -> impl Iterator<Item = u8> {
    payload
        .iter()
        .zip(mask.into_iter().cycle())
        .map(|(byte, key)| byte ^ key)
}
