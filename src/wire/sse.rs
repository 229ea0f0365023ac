//! Server-Sent Events (HTML Living Standard §9.2), bare or chunked (RFC 9112 §7.1).

#![allow(clippy::indexing_slicing)] // all indices are into bytes that were just written

use std::ops::Range;

use bytes::Bytes;
use memchr::memchr2;

use super::json;
use super::signal::{End, Event, Signal};
use crate::event::EventId;

/// The end of a chunked body.
pub(super) const LAST_CHUNK: &[u8] = b"0\r\n\r\n";
const CRLF: &[u8] = b"\r\n";
const HEX_DIGITS: &[u8; 16] = b"0123456789abcdef";
/// Room for a chunk's size line. Four hex digits are enough for nearly all chunks; a longer size moves the text.
const SIZE_LINE_BYTES: usize = 4 + CRLF.len();
/// Most signals are shorter than this.
const SIGNAL_BYTES: usize = 64;

/// A signal in its own chunk: the size line, the text, CRLF. Clients of HTTP/1.1 get all of it, and clients of
/// HTTP/1.0 get only the text.
#[derive(Debug)]
pub(super) struct Chunk {
    bytes: Bytes,
    /// Where the size line begins.
    start: u8,
    /// Where the text begins.
    text_at: u8,
}

impl Chunk {
    pub(super) fn new(signal: &Signal<'_>) -> Self {
        let mut bytes = Vec::with_capacity(capacity(signal));
        let unused = push_framed(&mut bytes, |bytes| push_text(signal, bytes));
        let text_at = bytes.iter().position(|byte| *byte == b'\n');
        // At most 16 hex digits and CRLF.
        let small = |at: usize| u8::try_from(at).unwrap_or(u8::MAX);
        Self {
            // A boxed slice has no unused capacity, for which `Bytes` would allocate once more.
            bytes: bytes.into_boxed_slice().into(),
            start: small(unused),
            text_at: small(text_at.map_or(0, |at| at + 1)),
        }
    }

    pub(super) fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// Where the chunk is in the bytes.
    pub(super) fn chunk(&self) -> Range<usize> {
        usize::from(self.start)..self.bytes.len()
    }

    /// Where the text is in the bytes.
    pub(super) fn text(&self) -> Range<usize> {
        usize::from(self.text_at)..self.bytes.len() - CRLF.len()
    }
}

/// Appends a signal as a chunk, and the last chunk if the signal is the end.
pub(super) fn push_chunk(signal: &Signal<'_>, bytes: &mut Vec<u8>) {
    push_chunk_of(bytes, |bytes| push_text(signal, bytes));
    if let Signal::End(_) = signal {
        bytes.extend_from_slice(LAST_CHUNK);
    }
}

/// Appends what `push` appends as a chunk, unless it is nothing.
#[inline]
pub(super) fn push_chunk_of(bytes: &mut Vec<u8>, push: impl FnOnce(&mut Vec<u8>)) {
    let start = bytes.len();
    let unused = push_framed(bytes, push);
    bytes.drain(start..start + unused);
}

/// Appends the text of a signal. Some ends have none.
pub(super) fn push_text(signal: &Signal<'_>, out: &mut Vec<u8>) {
    match *signal {
        Signal::Opened { position, retry_ms } => {
            push_id(position, out);
            push_retry(retry_ms, out);
            push_message("heartbeat", "{}", out);
        }
        Signal::Event(Event { id, name, data }) => {
            push_id(id, out);
            push_message(name, data, out);
        }
        Signal::Heartbeat { position } => {
            push_id(position, out);
            push_message("heartbeat", "{}", out);
        }
        Signal::Gap {
            position,
            last_event_id,
            oldest,
        } => {
            push_id(Some(position), out);
            push_message("replay_gap", &json::gap(last_event_id, oldest), out);
        }
        Signal::TestLine(line) => push_data(line, out),
        Signal::End(End::Expired) => push_message("token_expired", "{}", out),
        Signal::End(End::Evicted) => push_message("evicted", "{}", out),
        Signal::End(End::GoingAway { retry_ms } | End::Resync { retry_ms }) => {
            push_retry(retry_ms, out);
            out.push(b'\n');
        }
        Signal::End(End::LoggedOut | End::Disconnected) => {}
    }
}

/// The body of a refusal: a message like those of a stream, as the guide has it.
pub(crate) fn refusal(reason: &str) -> Vec<u8> {
    let mut body = Vec::new();
    push_message("error", &format!(r#"{{"error": "{reason}"}}"#), &mut body);
    body
}

/// Appends what `push` appends between a size line and CRLF. If the size line is shorter than its room, unused bytes
/// come before it. Returns their number. Appends nothing if `push` does.
#[inline]
fn push_framed(bytes: &mut Vec<u8>, push: impl FnOnce(&mut Vec<u8>)) -> usize {
    let start = bytes.len();
    bytes.extend_from_slice(&[b'0'; SIZE_LINE_BYTES]);
    let text_at = bytes.len();
    push(bytes);
    let len = bytes.len() - text_at;
    if len == 0 {
        bytes.truncate(start);
        return 0;
    }
    bytes.extend_from_slice(CRLF);
    let digits = len.ilog2() as usize / 4 + 1;
    let unused = (SIZE_LINE_BYTES - CRLF.len()).saturating_sub(digits);
    let missing = (digits + CRLF.len()).saturating_sub(SIZE_LINE_BYTES);
    if missing > 0 {
        bytes.splice(start..start, std::iter::repeat_n(b'0', missing));
    }
    let size_line = &mut bytes[start + unused..];
    let mut rest = len;
    for digit in size_line[..digits].iter_mut().rev() {
        *digit = HEX_DIGITS[rest % HEX_DIGITS.len()];
        rest /= HEX_DIGITS.len();
    }
    size_line[digits..][..CRLF.len()].copy_from_slice(CRLF);
    unused
}

fn push_id(id: Option<EventId>, out: &mut Vec<u8>) {
    if let Some(id) = id {
        out.extend_from_slice(b"id: ");
        push_number(id.ms, out);
        out.push(b'-');
        push_number(id.seq, out);
        out.push(b'\n');
    }
}

fn push_retry(retry_ms: u64, out: &mut Vec<u8>) {
    out.extend_from_slice(b"retry: ");
    push_number(retry_ms, out);
    out.push(b'\n');
}

fn push_number(number: u64, out: &mut Vec<u8>) {
    out.extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
}

fn push_message(name: &str, data: &str, out: &mut Vec<u8>) {
    out.extend_from_slice(b"event: ");
    out.extend_from_slice(name.as_bytes());
    out.push(b'\n');
    push_data(data, out);
}

/// Appends a `data:` line for each line of `data`, and the end of the message. Lines end at CR, LF or CRLF, as in
/// the standard.
fn push_data(data: &str, out: &mut Vec<u8>) {
    let mut rest = data;
    loop {
        let end = memchr2(b'\r', b'\n', rest.as_bytes());
        let line = end.map_or(rest, |end| &rest[..end]);
        out.extend_from_slice(b"data: ");
        out.extend_from_slice(line.as_bytes());
        out.push(b'\n');
        let Some(end) = end else { break };
        let terminator = if rest[end..].starts_with("\r\n") {
            2
        } else {
            1
        };
        rest = &rest[end + terminator..];
    }
    out.push(b'\n');
}

/// Capacity for a chunk. It is exact for an event whose data is one line, so that nothing is reallocated.
pub(super) fn capacity(signal: &Signal<'_>) -> usize {
    let said = match *signal {
        Signal::Event(Event { id, name, data }) => {
            let digits = |number: u64| number.checked_ilog10().unwrap_or(0) as usize + 1;
            let id = id.map_or(0, |id| "id: -\n".len() + digits(id.ms) + digits(id.seq));
            id + "event: \n".len() + name.len() + "data: \n\n".len() + data.len()
        }
        _ => SIGNAL_BYTES,
    };
    SIZE_LINE_BYTES + said + CRLF.len()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::Wire;
    use proptest::prelude::*;

    const ID: EventId = EventId { ms: 17, seq: 3 };

    fn raw(signal: &Signal<'_>) -> String {
        let mut bytes = Vec::new();
        Wire::SseRaw.encode(signal, &mut bytes);
        String::from_utf8(bytes).unwrap()
    }

    fn chunked(signal: &Signal<'_>) -> String {
        let mut bytes = b"before".to_vec();
        Wire::SseChunked.encode(signal, &mut bytes);
        String::from_utf8(bytes.split_off(6)).unwrap()
    }

    fn event(data: &str) -> Signal<'_> {
        Signal::Event(Event {
            id: Some(ID),
            name: "message",
            data,
        })
    }

    #[test]
    fn an_event_has_its_id_its_name_and_a_line_for_each_line_of_data() {
        assert_eq!(
            raw(&event("a\nb\r\nc\rd")),
            "id: 17-3\nevent: message\ndata: a\ndata: b\ndata: c\ndata: d\n\n"
        );
    }

    #[test]
    fn the_first_block_contains_the_clients_position() {
        let opened = |position| Signal::Opened {
            position,
            retry_ms: 2_000,
        };
        assert_eq!(
            raw(&opened(Some(ID))),
            "id: 17-3\nretry: 2000\nevent: heartbeat\ndata: {}\n\n"
        );
        assert_eq!(
            raw(&opened(None)),
            "retry: 2000\nevent: heartbeat\ndata: {}\n\n"
        );
    }

    #[test]
    fn an_event_without_an_id_has_no_id_line() {
        assert_eq!(
            raw(&Signal::Heartbeat { position: None }),
            "event: heartbeat\ndata: {}\n\n"
        );
    }

    #[test]
    fn a_gap_names_both_ids() {
        let gap = |oldest| {
            raw(&Signal::Gap {
                position: ID,
                last_event_id: "a\"b",
                oldest,
            })
        };
        assert_eq!(
            gap(Some(ID)),
            "id: 17-3\nevent: replay_gap\ndata: {\"last_event_id\": \"a\\\"b\", \"oldest\": \"17-3\"}\n\n"
        );
        assert!(gap(None).contains("\"oldest\": null}"));
    }

    #[test]
    fn empty_data_is_one_empty_line() {
        assert_eq!(raw(&Signal::TestLine("")), "data: \n\n");
        assert_eq!(raw(&Signal::TestLine("x\n")), "data: x\ndata: \n\n");
    }

    #[test]
    fn an_end_is_its_text_and_then_the_last_chunk() {
        let ends = [
            (End::LoggedOut, ""),
            (End::Disconnected, ""),
            (End::Expired, "event: token_expired\ndata: {}\n\n"),
            (End::Evicted, "event: evicted\ndata: {}\n\n"),
            (End::GoingAway { retry_ms: 7 }, "retry: 7\n\n"),
            (End::Resync { retry_ms: 8 }, "retry: 8\n\n"),
        ];
        for (end, said) in ends {
            let signal = Signal::End(end);
            assert_eq!(raw(&signal), said);
            let first = match said.len() {
                0 => String::new(),
                len => format!("{len:x}\r\n{said}\r\n"),
            };
            assert_eq!(chunked(&signal), format!("{first}0\r\n\r\n"));
        }
    }

    proptest! {
        /// An EventSource reads what was published, and a chunk contains exactly the text.
        #[test]
        fn data_survives_whatever_it_contains(data in prop_oneof!["\\PC{0,300}", "[a-z:\\r\\n ]{0,40}", "x{0,70000}"]) {
            let data = data.as_str();
            let text = raw(&event(data));
            let read: Vec<&str> = text
                .lines()
                .filter_map(|line| line.strip_prefix("data: "))
                .collect();
            let lines = data.replace("\r\n", "\n").replace('\r', "\n");
            prop_assert_eq!(read.join("\n"), lines);
            let framed = format!("{:x}\r\n{text}\r\n", text.len());
            prop_assert_eq!(chunked(&event(data)), framed.as_str());
            let chunk = Chunk::new(&event(data));
            prop_assert_eq!(&chunk.bytes()[chunk.chunk()], framed.as_bytes());
            prop_assert_eq!(&chunk.bytes()[chunk.text()], text.as_bytes());
        }
    }
}
