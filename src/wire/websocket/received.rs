//! The frames of a client that concern the server, and the answers to them.

use super::close::CloseCode;
use super::frame::{Close, Header, PONG};

/// The result of reading bytes of a client.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct ReceivedFrames<'a> {
    /// Bytes that were taken. The others are the beginning of a frame, and must be passed again together
    /// with the bytes after them. They are at most [`MAX_UNTAKEN_BYTES`](super::MAX_UNTAKEN_BYTES).
    pub(crate) taken: usize,
    /// The bytes of messages among them, including the headers of their frames. Control frames do not
    /// count. An empty part of a message counts, so that clients cannot send any number of them.
    pub(crate) message_bytes: usize,
    /// The last ping, and the only one that needs an answer (RFC 6455 §5.5.3).
    pub(crate) ping: Option<Ping<'a>>,
    /// True if there was a pong.
    pub(crate) has_pong: bool,
    /// The end of the client's frames. Everything after it is ignored.
    pub(crate) closing: Option<Closing>,
}

/// A ping, which is answered with its own payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ping<'a> {
    pub(super) mask: [u8; 4],
    /// The payload, still masked.
    pub(super) payload: &'a [u8],
}

/// Why a client's frames have ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Closing {
    /// The client closes, or answers the server's close frame. The code, if any, is valid.
    ByClient(Option<u16>),
    /// The client violated the protocol or a limit.
    Failed(CloseCode),
}

impl ReceivedFrames<'_> {
    /// Appends the answers, if any are needed. Do not call this after the server has sent its close
    /// frame, because nothing may follow that.
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
    /// Appends the close frame that answers this end.
    pub(crate) fn push_close(self, out: &mut Vec<u8>) {
        match self {
            Self::ByClient(code) => Close::echo(code),
            Self::Failed(code) => code.into(),
        }
        .push(out);
    }
}

/// The payload without its mask (RFC 6455 §5.3).
pub(super) fn unmasked(payload: &[u8], mask: [u8; 4]) -> impl Iterator<Item = u8> {
    payload
        .iter()
        .zip(mask.into_iter().cycle())
        .map(|(byte, key)| byte ^ key)
}
