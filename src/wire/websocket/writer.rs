//! Signals as WebSocket clients receive them: each one text message, JSON with an id, a name and
//! data. A signal that ends the stream is followed by a close frame.
//!
//! A field is absent where SSE has no such line: there is no id in an event that is not kept, nor
//! in a heartbeat while the client's place is not known. A client keeps the last id that it got.

use std::borrow::Cow;

use bytes::Bytes;
use serde::de::IgnoredAny;

use super::close::CloseCode;
use super::frame::{self, Close, Header};
use crate::event::EventId;
use crate::wire::json;
use crate::wire::signal::{End, Event, Signal};

/// A ping without payload: a heartbeat has one, so that the client's side answers it by itself.
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
    /// As it stands between quotes.
    name: Cow<'a, str>,
    data: Data<'a>,
}

enum Data<'a> {
    /// It stands in the message as it is.
    Json(Cow<'a, str>),
    /// A text, as it stands between quotes.
    Text(Cow<'a, str>),
}

/// The frames of a signal, in an allocation of just their size.
pub(in crate::wire) fn encode(signal: &Signal<'_>) -> Bytes {
    let mut bytes = Vec::new();
    push(signal, &mut bytes);
    // Without unused capacity, for which `Bytes` would allocate once more.
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
            // Under the name that an EventSource gives it.
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
            // The client has a time to come back at from its first message, drawn like this one.
            End::GoingAway { retry_ms: _ } => (None, CloseCode::GoingAway),
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
                // All that follows: nothing is moved on the way.
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

    /// Hands over the text of the message, in parts.
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
    /// JSON is taken over as it is, so that numbers and the order of keys stay as they were
    /// published.
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
