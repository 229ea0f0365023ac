//! What a client of the model receives, whatever its transport.

use super::frames::{CLOSE, PING, PONG, TEXT};
use crate::event::EventId;

#[derive(Debug)]
pub(super) enum Said {
    Opened(Option<EventId>),
    Heartbeat(Option<EventId>),
    Gap(EventId),
    /// The text begins with the event's number, and ends with a space or the data.
    Event(Option<EventId>, String),
    /// With a code where the transport has one.
    End(Option<u16>),
    Ping,
    Pong(String),
}

impl Said {
    /// Of an SSE client's chunk.
    pub(super) fn of_chunk(chunk: &str) -> Self {
        if chunk.is_empty() {
            return Self::End(None);
        }
        let (id, text) = split_id(chunk);
        if text.contains("event: heartbeat\n") {
            if text.starts_with("retry: ") {
                return Self::Opened(id);
            }
            return Self::Heartbeat(id);
        }
        if text.starts_with("event: replay_gap\n") {
            return Self::Gap(id.expect("a gap that can be resumed from"));
        }
        let data = text.strip_prefix("event: message\ndata: ").unwrap();
        Self::Event(id, data.into())
    }

    /// Of a WebSocket client's frame.
    pub(super) fn of_frame(first: u8, payload: &[u8]) -> Self {
        match first {
            TEXT => Self::of_message(&serde_json::from_slice(payload).unwrap()),
            CLOSE => {
                let code = payload.first_chunk().map(|code| u16::from_be_bytes(*code));
                Self::End(code)
            }
            PING => Self::Ping,
            PONG => Self::Pong(String::from_utf8(payload.to_vec()).unwrap()),
            first => panic!("{first:#x}"),
        }
    }

    fn of_message(message: &serde_json::Value) -> Self {
        let id = message.get("id");
        let id: Option<EventId> = id.map(|id| id.as_str().unwrap().parse().unwrap());
        let data = &message["data"];
        match message["event"].as_str().unwrap() {
            "open" => Self::Opened(id),
            "heartbeat" => Self::Heartbeat(id),
            "replay_gap" => Self::Gap(id.expect("a gap that can be resumed from")),
            // A number alone is JSON.
            "message" => Self::Event(id, data.as_str().map_or(data.to_string(), Into::into)),
            name => panic!("{name}"),
        }
    }
}

/// A frame's id, where it has one, and what follows.
fn split_id(frame: &str) -> (Option<EventId>, &str) {
    let Some(rest) = frame.strip_prefix("id: ") else {
        return (None, frame);
    };
    let (id, rest) = rest.split_once('\n').unwrap();
    (Some(id.parse().unwrap()), rest)
}
