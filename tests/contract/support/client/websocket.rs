//! WebSocket (RFC 6455) for the tests' clients. It converts the server's messages to the text of SSE, so that tests
//! compare the same text over both transports.

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::support::{BASE, NOTIFICATIONS};

/// The key of every handshake, and the response that proves that the server has read it (§1.3).
const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";
pub(super) const ACCEPT: &str = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";
const MASK: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];

const FIN: u8 = 0x80;
pub(super) const TEXT: u8 = 1;
pub(super) const CLOSE: u8 = 8;
const PING: u8 = 9;
pub(super) const PONG: u8 = 10;

/// A frame from the server.
#[derive(Debug)]
pub(super) enum Frame {
    Text(String),
    Ping(Vec<u8>),
    Pong,
    Close(Vec<u8>),
}

/// A message from the server.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Message<'a> {
    #[serde(default)]
    id: Option<String>,
    pub(super) event: String,
    #[serde(borrow)]
    data: &'a RawValue,
}

/// A refusal, as SSE would have it.
pub(super) struct Refusal {
    pub(super) status: u16,
    pub(super) head: String,
    pub(super) body: String,
}

/// The WebSocket handshake for a request for the notifications stream; `None` for any other path.
pub(super) fn handshake(path: &str, lines: &str) -> Option<String> {
    let query = path.strip_prefix(NOTIFICATIONS)?;
    if !(query.is_empty() || query.starts_with('?')) {
        return None;
    }
    Some(format!(
        "GET {BASE}/ws/notifications/{query} HTTP/1.1\r\nHost: test\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {KEY}\r\n{lines}\r\n"
    ))
}

/// A frame from a client, with a short payload.
pub(super) fn frame(opcode: u8, payload: &[u8]) -> Vec<u8> {
    let length = u8::try_from(payload.len()).unwrap();
    assert!(length <= 125, "a control frame");
    let mut frame = vec![FIN | opcode, 0x80 | length];
    frame.extend_from_slice(&MASK);
    let masked = payload.iter().zip(MASK.iter().cycle());
    frame.extend(masked.map(|(byte, mask)| byte ^ mask));
    frame
}

impl Frame {
    /// Removes a frame from the start of the received bytes, if it is complete.
    pub(super) fn take(received: &mut Vec<u8>) -> Option<Self> {
        let (first, second) = (*received.first()?, *received.get(1)?);
        assert_eq!(first & 0xf0, FIN, "a fragment, or a reserved bit");
        let (length, start) = match second {
            0..=125 => (u64::from(second), 2),
            126 => (number(received.get(2..4)?), 4),
            127 => (number(received.get(2..10)?), 10),
            _ => panic!("a masked frame from the server"),
        };
        let shortest = match length {
            0..=125 => 2,
            126..=0xffff => 4,
            _ => 10,
        };
        assert_eq!(start, shortest, "a length that is not in its shortest form");
        let end = start + usize::try_from(length).unwrap();
        let payload = received.get(start..end)?.to_vec();
        received.drain(..end);
        assert!(first & 0xf < CLOSE || length <= 125, "a long control frame");
        Some(match first & 0xf {
            TEXT => Self::Text(String::from_utf8(payload).unwrap()),
            CLOSE => Self::Close(payload),
            PING => Self::Ping(payload),
            PONG => Self::Pong,
            other => panic!("opcode {other}"),
        })
    }
}

impl<'a> Message<'a> {
    pub(super) fn parse(text: &'a str) -> Self {
        serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"))
    }

    /// The delay in the first message.
    pub(super) fn retry_ms(&self) -> u64 {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Opened {
            retry: u64,
        }
        let opened: Opened = serde_json::from_str(self.data.get()).unwrap();
        opened.retry
    }

    /// The message as SSE text.
    pub(super) fn to_sse(&self) -> String {
        let mut text = String::new();
        if let Some(id) = &self.id {
            text += &format!("id: {id}\n");
        }
        if self.event == "open" {
            let retry_ms = self.retry_ms();
            return text + &format!("retry: {retry_ms}\nevent: heartbeat\ndata: {{}}\n\n");
        }
        text += &format!("event: {}\n", self.event);
        let data = self.data.get();
        // Data that is not JSON is a string here.
        let string: Option<String> = serde_json::from_str(data).ok();
        let data = string.as_deref().unwrap_or(data).replace("\r\n", "\n");
        for line in data.split(['\n', '\r']) {
            text += &format!("data: {line}\n");
        }
        text + "\n"
    }
}

/// The code and the reason of a close frame.
pub(super) fn close_reason(payload: &[u8]) -> (u16, &str) {
    let (code, reason) = payload.split_at_checked(2).expect("a code");
    let code = u16::from_be_bytes(code.try_into().unwrap());
    (code, std::str::from_utf8(reason).unwrap())
}

impl Refusal {
    /// From a close frame that came instead of the first message.
    pub(super) fn of(code: u16, reason: &str) -> Self {
        let (status, more) = match code {
            4001 => (401, "WWW-Authenticate: Bearer\r\n"),
            4004 => (403, ""),
            // The default of `retry_max`; a WebSocket client does not receive it.
            4029 => (429, "Retry-After: 6\r\n"),
            1013 => (503, "Retry-After: 6\r\n"),
            1008 => (400, ""),
            _ => panic!("refused with {code} {reason}"),
        };
        let body = format!("event: error\ndata: {{\"error\": \"{reason}\"}}\n\n");
        Self {
            status,
            head: format!(
                "HTTP/1.1 {status} {code}\r\nContent-Type: text/event-stream\r\nContent-Length: {}\r\n{more}\r\n",
                body.len()
            ),
            body,
        }
    }
}

fn number(bytes: &[u8]) -> u64 {
    bytes
        .iter()
        .fold(0, |number, byte| number << 8 | u64::from(*byte))
}
