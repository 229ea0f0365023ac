//! Parses events in WebSocket messages.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::value::RawValue;

use super::sse::Event;
use super::{Malformed, Reached};
use crate::websocket::{Item, Reader, Replies};

/// How messages carry events.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Dialect {
    /// Like Idlewild's: `{"id", "event", "data"}`; the first is `open`.
    #[default]
    Events,
    /// A message is the data of an event, without id or name. The stream begins with the handshake, and a ping
    /// counts as a heartbeat.
    Data,
}

/// Parses the events in the messages of a connection.
#[derive(Debug)]
pub(crate) struct Messages {
    reader: Reader,
    dialect: Dialect,
    /// True once the message that begins the stream has arrived, or if there is none.
    open: bool,
}

/// A message of [`Dialect::Events`].
#[derive(Deserialize)]
struct Message<'a> {
    #[serde(borrow)]
    id: Option<Cow<'a, str>>,
    #[serde(borrow)]
    event: Cow<'a, str>,
    #[serde(borrow)]
    data: &'a RawValue,
}

/// The data of `open`.
#[derive(Deserialize)]
struct Open {
    #[serde(rename = "retry")]
    _retry_ms: u32,
}

impl Messages {
    /// Starts before the first frame.
    pub(super) fn new(dialect: Dialect) -> Self {
        Self {
            reader: Reader::default(),
            dialect,
            open: dialect == Dialect::Data,
        }
    }

    /// Returns true if the stream has begun.
    pub(super) fn have_begun(&self) -> bool {
        self.open
    }

    /// Takes the next bytes, and passes every event that they complete to `sink`. The replies that they require
    /// are added to `replies`.
    pub(super) fn feed(
        &mut self,
        input: &[u8],
        replies: &mut Replies,
        sink: &mut impl FnMut(Event<'_>),
    ) -> Result<Reached, Malformed> {
        let Self {
            reader,
            dialect,
            open,
        } = self;
        let fed = reader.feed(input, &mut |item| match item {
            Item::Text(text) if *dialect == Dialect::Data => {
                sink(event(None, b"message", text.as_bytes()));
                Ok(())
            }
            Item::Text(text) => {
                let message: Message<'_> =
                    serde_json::from_str(text).map_err(|_| Malformed::Message)?;
                if !*open {
                    *open = begins(&message);
                    return if *open {
                        Ok(())
                    } else {
                        Err(Malformed::Unopened)
                    };
                }
                let id = message.id.as_deref().map(str::as_bytes);
                let data = message.data.get().as_bytes();
                sink(event(id, message.event.as_bytes(), data));
                Ok(())
            }
            Item::Ping(payload) => {
                replies.ping(payload);
                if *dialect == Dialect::Data {
                    sink(event(None, b"heartbeat", b"{}"));
                }
                Ok(())
            }
            Item::Pong => Ok(()),
            Item::Close(close) => {
                replies.close(close.code);
                Err(Malformed::Closed(close))
            }
        });
        if let Err(Malformed::WebSocket(violation)) = &fed {
            replies.close(Some(violation.close_code()));
        }
        fed?;
        Ok(if self.open {
            Reached::Body
        } else {
            Reached::Head
        })
    }
}

/// Returns true if the message begins a stream: `open`, with a position and a delay.
fn begins(message: &Message<'_>) -> bool {
    message.event == "open"
        && message.id.as_ref().is_some_and(|id| !id.is_empty())
        && serde_json::from_str::<Open>(message.data.get()).is_ok()
}

fn event<'a>(id: Option<&'a [u8]>, name: &'a [u8], data: &'a [u8]) -> Event<'a> {
    Event {
        id,
        name,
        data,
        has_retry: false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::websocket::{Close, Opcode, Violation, unmasked};

    const OPEN: &str = r#"{"id":"5-0","event":"open","data":{"retry":2000}}"#;

    fn text(text: &str) -> Vec<u8> {
        unmasked(Opcode::Text, text.as_bytes())
    }

    /// Feeds all frames at once. Returns the events as text, the result, and the replies.
    fn feed(
        dialect: Dialect,
        frames: &[Vec<u8>],
    ) -> (Vec<String>, Result<Reached, Malformed>, Replies) {
        let (mut messages, mut replies) = (Messages::new(dialect), Replies::default());
        let mut events = Vec::new();
        let reached = messages.feed(&frames.concat(), &mut replies, &mut |event| {
            let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
            let id = event.id.map_or_else(|| "-".to_owned(), text);
            events.push(format!("{id} {} {}", text(event.name), text(event.data)));
        });
        (events, reached, replies)
    }

    #[test]
    fn a_stream_begins_with_open_and_then_has_events() {
        let (events, reached, _) = feed(Dialect::Events, &[]);
        assert_eq!((events.len(), reached), (0, Ok(Reached::Head)));
        let (events, reached, mut replies) = feed(
            Dialect::Events,
            &[
                text(OPEN),
                text(r#"{"id":"6-0","event":"message","data":{"n": 1}}"#),
                text(r#"{"event":"note","data":"a\"b","id":null}"#),
                unmasked(Opcode::Ping, b""),
                text(r#"{"id":"6-0","event":"heartbeat","data":{}}"#),
            ],
        );
        assert_eq!(
            events,
            [
                r#"6-0 message {"n": 1}"#,
                r#"- note "a\"b""#,
                "6-0 heartbeat {}"
            ]
        );
        assert_eq!((reached, replies.take_pings()), (Ok(Reached::Body), 1));
    }

    #[test]
    fn a_stream_without_a_valid_open_is_rejected() {
        for (first, expected) in [
            (
                r#"{"id":"6-0","event":"message","data":1}"#,
                Malformed::Unopened,
            ),
            (
                r#"{"id":null,"event":"open","data":{"retry":1}}"#,
                Malformed::Unopened,
            ),
            (
                r#"{"id":"","event":"open","data":{"retry":1}}"#,
                Malformed::Unopened,
            ),
            (
                r#"{"id":"5-0","event":"open","data":{}}"#,
                Malformed::Unopened,
            ),
            (r#"{"id":"5-0","event":"open"}"#, Malformed::Message),
            ("id: 5-0", Malformed::Message),
        ] {
            let (_, reached, _) = feed(Dialect::Events, &[text(first)]);
            assert_eq!(reached, Err(expected), "{first}");
        }
    }

    #[test]
    fn a_message_may_be_only_the_data() {
        let frames = [text("{\"n\":1}"), unmasked(Opcode::Ping, b""), text("x")];
        let (events, reached, replies) = feed(Dialect::Data, &frames);
        assert_eq!(
            events,
            ["- message {\"n\":1}", "- heartbeat {}", "- message x"]
        );
        assert_eq!((reached, replies.is_empty()), (Ok(Reached::Body), false));
    }

    #[test]
    fn a_close_is_reported_and_answered_and_ends_the_stream() {
        let close = unmasked(Opcode::Close, b"\x0f\xbdToo many connections");
        let after = text(r#"{"event":"message","data":1}"#);
        let (events, reached, replies) = feed(Dialect::Events, &[text(OPEN), close, after]);
        let close = Close {
            code: Some(4029),
            reason: "Too many connections".to_owned(),
        };
        assert_eq!((events.len(), reached), (0, Err(Malformed::Closed(close))));
        assert!(!replies.is_empty());
    }

    #[test]
    fn a_protocol_error_is_answered_with_a_close_frame() {
        let (_, reached, mut replies) = feed(Dialect::Data, &[unmasked(Opcode::Text, b"\xff")]);
        assert_eq!(reached, Err(Malformed::WebSocket(Violation::Utf8)));
        let mut sent = Vec::new();
        replies.write(&mut sent);
        assert_eq!((sent[0], sent[1], sent.len()), (0x88, 0x82, 8));
    }
}
