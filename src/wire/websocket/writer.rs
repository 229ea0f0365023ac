//! Encodes signals for WebSocket clients. Each signal is a text message: JSON with an id, a name and
//! data. A close frame follows a signal that ends the stream.
//!
//! A message has no id where SSE has no `id` line: in an event that is not kept, and in a heartbeat
//! while the client's position is not known. Clients keep the last id that they received.

use std::borrow::Cow;

use bytes::Bytes;
use serde::de::IgnoredAny;

use super::close::CloseCode;
use super::frame::{self, Close, Header};
use crate::event::EventId;
use crate::wire::json;
use crate::wire::signal::{End, Event, Signal};

/// A ping without payload. It precedes each heartbeat; clients' libraries answer it automatically.
const PING: [u8; 2] = [frame::FIN | frame::PING, 0];

/// The frames of one signal.
#[derive(Default)]
struct Frames<'a> {
    has_ping: bool,
    message: Option<Message<'a>>,
    close: Option<Close<'a>>,
}

/// One message.
struct Message<'a> {
    id: Option<EventId>,
    /// Escaped for JSON, without the quotes.
    name: Cow<'a, str>,
    data: Data<'a>,
}

enum Data<'a> {
    /// Valid JSON, which is copied unchanged.
    Json(Cow<'a, str>),
    /// Any other text, escaped for JSON, without the quotes.
    Text(Cow<'a, str>),
}

/// The frames of a signal, in an allocation of exactly their size.
pub(in crate::wire) fn encode(signal: &Signal<'_>) -> Bytes {
    let mut bytes = Vec::new();
    push(signal, &mut bytes);
    // With unused capacity, `Bytes` would allocate once more.
    bytes.into_boxed_slice().into()
}

/// Appends the frames of a signal.
pub(in crate::wire) fn push(signal: &Signal<'_>, out: &mut Vec<u8>) {
    Frames::of(signal).push(out);
}

impl<'a> Frames<'a> {
    fn of(signal: &Signal<'a>) -> Self {
        match *signal {
            Signal::Opened { position, retry_ms } => {
                let data = format!(r#"{{"retry": {retry_ms}}}"#);
                Message::of_server(position, "open", data.into()).into()
            }
            Signal::Event(Event { id, name, data }) => Message {
                id,
                name: json::escaped(name),
                data: Data::new(data),
            }
            .into(),
            Signal::Heartbeat { position } => Self {
                has_ping: true,
                ..Message::of_server(position, "heartbeat", "{}".into()).into()
            },
            Signal::Gap {
                position,
                last_event_id,
                oldest,
            } => {
                let data = json::gap(last_event_id, oldest).into();
                Message::of_server(Some(position), "replay_gap", data).into()
            }
            // The name that an EventSource gives to such an event.
            Signal::TestLine(line) => Message {
                id: None,
                name: "message".into(),
                data: Data::new(line),
            }
            .into(),
            Signal::End(end) => Self::of_end(end),
        }
    }

    fn of_end(end: End) -> Self {
        let said = |name| Some(Message::of_server(None, name, "{}".into()));
        let (message, code) = match end {
            End::LoggedOut => (None, CloseCode::LoggedOut),
            End::Expired => (said("token_expired"), CloseCode::Expired),
            End::Evicted => (said("evicted"), CloseCode::Evicted),
            End::Disconnected => (None, CloseCode::Disconnected),
            // The first message already has a delay, which was chosen in the same way.
            End::GoingAway { retry_ms: _ } | End::Resync { retry_ms: _ } => {
                (None, CloseCode::GoingAway)
            }
        };
        Self {
            has_ping: false,
            message,
            close: Some(code.into()),
        }
    }

    fn push(&self, out: &mut Vec<u8>) {
        let ping: &[u8] = if self.has_ping { &PING } else { &[] };
        let close_bytes = self.close.map_or(0, Close::len);
        if let Some(message) = &self.message {
            message.with_parts(|parts| {
                let payload_bytes = parts.iter().map(|part| part.len()).sum();
                let header = Header::new(frame::TEXT, payload_bytes);
                // Enough for all frames, so that the buffer is not moved.
                out.reserve(ping.len() + header.bytes().len() + payload_bytes + close_bytes);
                out.extend_from_slice(ping);
                out.extend_from_slice(header.bytes());
                for part in parts {
                    out.extend_from_slice(part.as_bytes());
                }
            });
        }
        if let Some(close) = self.close {
            close.push(out);
        }
    }
}

impl<'a> From<Message<'a>> for Frames<'a> {
    fn from(message: Message<'a>) -> Self {
        Self {
            message: Some(message),
            ..Self::default()
        }
    }
}

impl<'a> From<Close<'a>> for Frames<'a> {
    fn from(close: Close<'a>) -> Self {
        Self {
            close: Some(close),
            ..Self::default()
        }
    }
}

impl<'a> Message<'a> {
    fn of_server(id: Option<EventId>, name: &'static str, data: Cow<'a, str>) -> Self {
        Self {
            id,
            name: name.into(),
            data: Data::Json(data),
        }
    }

    /// Calls `then` with the text of the message, in parts.
    fn with_parts(&self, then: impl FnOnce(&[&str])) {
        let (mut ms, mut seq) = (itoa::Buffer::new(), itoa::Buffer::new());
        let [id_start, ms, dash, seq, id_end] = match self.id {
            Some(id) => [
                r#""id": ""#,
                ms.format(id.ms),
                "-",
                seq.format(id.seq),
                r#"", "#,
            ],
            None => [""; 5],
        };
        let (quote, data) = match &self.data {
            Data::Json(data) => ("", data),
            Data::Text(data) => ("\"", data),
        };
        then(&[
            "{",
            id_start,
            ms,
            dash,
            seq,
            id_end,
            r#""event": ""#,
            &self.name,
            r#"", "data": "#,
            quote,
            data,
            quote,
            "}",
        ]);
    }
}

impl<'a> Data<'a> {
    /// JSON is copied unchanged, so that numbers and the order of keys stay as published.
    fn new(data: &'a str) -> Self {
        if serde_json::from_str::<IgnoredAny>(data).is_ok() {
            Self::Json(data.into())
        } else {
            Self::Text(json::escaped(data))
        }
    }
}

#[cfg(test)]
mod tests;
