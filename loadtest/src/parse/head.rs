//! Reads the response head: the status line, and the headers that affect how the body is read.

use super::Malformed;
use crate::websocket::ACCEPT_BYTES;

/// Longest head accepted.
const MAX_HEAD_BYTES: usize = 16 * 1024;

/// The parts of a response head that matter.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Head {
    /// The status code.
    pub(crate) status: u16,
    /// `Transfer-Encoding: chunked`.
    pub(crate) chunked: bool,
    /// `Content-Type: text/event-stream`, with or without parameters.
    pub(crate) event_stream: bool,
    /// `Content-Length`, for responses of the admin side.
    pub(crate) content_length: Option<usize>,
    /// `Connection: close`.
    pub(crate) close: bool,
    /// The headers of a WebSocket handshake.
    pub(super) upgrade: Upgraded,
}

/// The response headers of a WebSocket handshake.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Upgraded {
    /// `Upgrade: websocket`.
    pub(super) websocket: bool,
    /// `Connection: upgrade`, possibly with other tokens.
    pub(super) connection: bool,
    /// `Sec-WebSocket-Accept`, if its length is right.
    pub(super) accept: Option<[u8; ACCEPT_BYTES]>,
    /// True for an extension or a subprotocol: the client offers none.
    pub(super) unoffered: bool,
}

/// Collects a head up to its blank line. Holds nothing until the first byte.
#[derive(Debug, Default)]
pub(crate) struct HeadParser {
    // A double box on purpose: eight bytes in the connection's slot instead of 24.
    #[expect(
        clippy::box_collection,
        reason = "the slot pays eight bytes for it, not 24"
    )]
    partial: Option<Box<Vec<u8>>>,
}

impl HeadParser {
    /// Takes bytes from `input` up to the end of the head; `None` if more are needed.
    pub(crate) fn feed(&mut self, input: &mut &[u8]) -> Result<Option<Head>, Malformed> {
        let partial = self.partial.get_or_insert_default();
        // The blank line may have begun in the bytes already held.
        let seen = partial.len().saturating_sub(3);
        let before = partial.len();
        let taken = input.len().min(MAX_HEAD_BYTES - before);
        partial.extend_from_slice(&input[..taken]);
        let Some(at) = partial[seen..]
            .windows(4)
            .position(|window| window == b"\r\n\r\n")
        else {
            *input = &input[taken..];
            return if partial.len() == MAX_HEAD_BYTES {
                Err(Malformed::TooLong)
            } else {
                Ok(None)
            };
        };
        let end = seen + at + 4;
        *input = &input[end - before..];
        let head = parse(&partial[..end - 4])?;
        self.partial = None;
        Ok(Some(head))
    }
}

/// Parses a complete head without its blank line.
pub(crate) fn parse(head: &[u8]) -> Result<Head, Malformed> {
    let text = std::str::from_utf8(head).map_err(|_| Malformed::Head)?;
    let mut lines = text.split("\r\n");
    let status_line = lines.next().unwrap_or_default();
    let rest = status_line
        .strip_prefix("HTTP/1.1 ")
        .or_else(|| status_line.strip_prefix("HTTP/1.0 "))
        .ok_or(Malformed::Head)?;
    let digits = rest.split(' ').next().unwrap_or_default();
    if digits.len() != 3 || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(Malformed::Head);
    }
    let status = digits.parse().map_err(|_| Malformed::Head)?;
    let mut parsed = Head {
        status,
        ..Head::default()
    };
    for line in lines {
        let (name, value) = line.split_once(':').ok_or(Malformed::Head)?;
        let value = value.trim_matches([' ', '\t']);
        if name.eq_ignore_ascii_case("transfer-encoding") {
            parsed.chunked = value.eq_ignore_ascii_case("chunked");
        } else if name.eq_ignore_ascii_case("content-length") {
            parsed.content_length = Some(value.parse().map_err(|_| Malformed::Head)?);
        } else if name.eq_ignore_ascii_case("connection") {
            parsed.close = value.eq_ignore_ascii_case("close");
            let mut tokens = value.split(',').map(str::trim);
            parsed.upgrade.connection = tokens.any(|token| token.eq_ignore_ascii_case("upgrade"));
        } else if name.eq_ignore_ascii_case("upgrade") {
            parsed.upgrade.websocket = value.eq_ignore_ascii_case("websocket");
        } else if name.eq_ignore_ascii_case("sec-websocket-accept") {
            parsed.upgrade.accept = value.as_bytes().try_into().ok();
        } else if name.eq_ignore_ascii_case("sec-websocket-extensions")
            || name.eq_ignore_ascii_case("sec-websocket-protocol")
        {
            parsed.upgrade.unoffered = true;
        } else if name.eq_ignore_ascii_case("content-type") {
            let essence = value.split(';').next().unwrap_or_default().trim_end();
            parsed.event_stream = essence.eq_ignore_ascii_case("text/event-stream");
        }
    }
    Ok(parsed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_head_is_read() {
        let head = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream; charset=utf-8\r\nTransfer-Encoding:chunked";
        assert_eq!(
            parse(head),
            Ok(Head {
                status: 200,
                chunked: true,
                event_stream: true,
                ..Head::default()
            })
        );
    }

    #[test]
    fn a_refusal_keeps_its_status() {
        let mut input: &[u8] = b"HTTP/1.0 503 Service Unavailable\r\n\r\nbody";
        let head = HeadParser::default().feed(&mut input).unwrap().unwrap();
        assert_eq!(
            (head.status, head.chunked, input),
            (503, false, &b"body"[..])
        );
    }

    #[test]
    fn a_response_that_is_not_http_is_refused() {
        for bad in [
            &b"SSH-2.0-x"[..],
            b"HTTP/2 200",
            b"HTTP/1.1 2000 OK",
            b"HTTP/1.1 +20 OK",
            b"HTTP/1.1 200 OK\r\nno colon",
        ] {
            assert_eq!(parse(bad), Err(Malformed::Head), "{}", bad.escape_ascii());
        }
    }

    #[test]
    fn an_endless_head_is_refused() {
        let mut parser = HeadParser::default();
        let mut result = Ok(None);
        for _ in 0..=MAX_HEAD_BYTES {
            result = parser.feed(&mut &b"x"[..]);
            if result.is_err() {
                break;
            }
        }
        assert_eq!(result, Err(Malformed::TooLong));
    }
}
