//! An event on the wire, encoded once for all who get it. Knows bytes and no socket.
//!
//! A frame is one allocation: the chunk's size line, the lines of the event, CRLF. HTTP/1.1
//! clients get the whole (RFC 9112 §7.1, one chunk a frame), HTTP/1.0 clients the middle of it.

use std::fmt::Write as _;

use bytes::Bytes;

use crate::event::EventId;

/// What ends a chunked body (RFC 9112 §7.1).
pub const LAST_CHUNK: &[u8] = b"0\r\n\r\n";

const CRLF: &[u8] = b"\r\n";

/// How a client's body is delimited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// HTTP/1.1: one chunk a frame.
    Chunked,
    /// HTTP/1.0: bare until close.
    Raw,
}

/// An encoded event.
#[derive(Clone, Debug)]
pub struct Frame {
    /// `<size>\r\n` `<event>` `\r\n`
    bytes: Bytes,
    /// Where the event begins.
    event_at: u8,
}

impl Frame {
    /// Encodes an event: its id where it has one, its name, and a `data:` line for each line of
    /// `data` (split at CR, LF and CRLF, as the EventSource standard reads them).
    pub fn event(id: Option<EventId>, name: &str, data: &str) -> Self {
        let mut text = String::with_capacity(name.len() + data.len() + 64);
        if let Some(id) = id {
            let _ = writeln!(text, "id: {id}");
        }
        let _ = writeln!(text, "event: {name}");
        push_data(&mut text, data);
        Self::from_text(&text)
    }

    /// Encodes an event that has only data, which a browser names `message`.
    pub fn data(data: &str) -> Self {
        let mut text = String::with_capacity(data.len() + 16);
        push_data(&mut text, data);
        Self::from_text(&text)
    }

    /// Encodes the first block of a stream: a heartbeat that says where the client is, unless that
    /// comes next, and when to come back.
    pub fn first(id: Option<EventId>, retry_ms: u64) -> Self {
        let mut text = String::with_capacity(96);
        if let Some(id) = id {
            let _ = writeln!(text, "id: {id}");
        }
        let _ = write!(text, "retry: {retry_ms}\nevent: heartbeat\ndata: {{}}\n\n");
        Self::from_text(&text)
    }

    /// Encodes the reconnect delay.
    pub fn retry(retry_ms: u64) -> Self {
        Self::from_text(&format!("retry: {retry_ms}\n\n"))
    }

    /// The bytes a client of this framing gets.
    pub fn bytes(&self, framing: Framing) -> &[u8] {
        &self.bytes[self.range(framing)]
    }

    /// The same bytes from `skip` on, shared with the frame.
    pub fn share(&self, framing: Framing, skip: usize) -> Bytes {
        let range = self.range(framing);
        self.bytes.slice(range.start + skip..range.end)
    }

    /// Bytes of the allocation.
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Never: a frame has at least its size line.
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    fn from_text(text: &str) -> Self {
        let size_line = format!("{:x}\r\n", text.len());
        let mut bytes = Vec::with_capacity(size_line.len() + text.len() + CRLF.len());
        bytes.extend_from_slice(size_line.as_bytes());
        bytes.extend_from_slice(text.as_bytes());
        bytes.extend_from_slice(CRLF);
        Self {
            bytes: bytes.into(),
            // 16 hex digits and CRLF at most.
            event_at: u8::try_from(size_line.len()).unwrap_or(u8::MAX),
        }
    }

    fn range(&self, framing: Framing) -> std::ops::Range<usize> {
        match framing {
            Framing::Chunked => 0..self.bytes.len(),
            Framing::Raw => usize::from(self.event_at)..self.bytes.len() - CRLF.len(),
        }
    }
}

fn push_data(text: &mut String, data: &str) {
    let mut rest = data;
    loop {
        let end = rest.find(['\r', '\n']);
        let line = end.map_or(rest, |end| &rest[..end]);
        text.push_str("data: ");
        text.push_str(line);
        text.push('\n');
        let Some(end) = end else { break };
        let terminator = if rest[end..].starts_with("\r\n") {
            2
        } else {
            1
        };
        rest = &rest[end + terminator..];
    }
    text.push('\n');
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn raw(frame: &Frame) -> String {
        String::from_utf8(frame.bytes(Framing::Raw).to_vec()).unwrap()
    }

    #[test]
    fn an_event_has_its_id_its_name_and_a_line_for_each_line_of_data() {
        let id = EventId { ms: 17, seq: 3 };
        let frame = Frame::event(Some(id), "message", "a\nb\r\nc\rd");
        assert_eq!(
            raw(&frame),
            "id: 17-3\nevent: message\ndata: a\ndata: b\ndata: c\ndata: d\n\n"
        );
    }

    #[test]
    fn the_first_block_is_a_heartbeat_with_the_place_and_the_delay() {
        let id = EventId { ms: 17, seq: 3 };
        assert_eq!(
            raw(&Frame::first(Some(id), 2_000)),
            "id: 17-3\nretry: 2000\nevent: heartbeat\ndata: {}\n\n"
        );
        assert_eq!(
            raw(&Frame::first(None, 2_000)),
            "retry: 2000\nevent: heartbeat\ndata: {}\n\n"
        );
    }

    #[test]
    fn a_heartbeat_without_a_place_has_no_id() {
        let frame = Frame::event(None, "heartbeat", "{}");
        assert_eq!(raw(&frame), "event: heartbeat\ndata: {}\n\n");
        assert_eq!(
            frame.bytes(Framing::Chunked),
            b"1b\r\nevent: heartbeat\ndata: {}\n\n\r\n"
        );
    }

    #[test]
    fn empty_data_is_an_empty_line_of_data() {
        assert_eq!(raw(&Frame::data("")), "data: \n\n");
        assert_eq!(raw(&Frame::data("x\n")), "data: x\ndata: \n\n");
    }

    proptest! {
        #[test]
        fn a_reader_of_the_standard_gets_the_data_back(data in "[a-z:\\r\\n ]{0,40}") {
            let text = raw(&Frame::event(None, "message", &data));
            let lines: Vec<_> = text
                .lines()
                .filter_map(|line| line.strip_prefix("data: "))
                .collect();
            let normal = data.replace("\r\n", "\n").replace('\r', "\n");
            prop_assert_eq!(lines.join("\n"), normal);
        }

        #[test]
        fn a_chunk_says_its_size(data in "\\PC{0,300}") {
            let frame = Frame::data(&data);
            let chunk = frame.bytes(Framing::Chunked);
            let line_end = chunk.windows(2).position(|pair| pair == CRLF).unwrap();
            let size = usize::from_str_radix(
                std::str::from_utf8(&chunk[..line_end]).unwrap(), 16).unwrap();
            prop_assert_eq!(size, frame.bytes(Framing::Raw).len());
            prop_assert_eq!(chunk.len(), line_end + 2 + size + 2);
        }
    }
}
