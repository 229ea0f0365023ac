//! Parses event streams of the WHATWG standard: lines end with LF, CR or CRLF, bytes may be split anywhere,
//! and a BOM may come first.
//!
//! Between events a parser takes 16 bytes. An incomplete event is kept in a [`Block`] on the heap. An event
//! that arrives completely is assembled in the caller's scratch block, without allocation.

use super::Malformed;

/// The largest event accepted, counting all its lines.
const MAX_EVENT_BYTES: usize = 1024 * 1024;

/// A complete event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Event<'a> {
    /// The `id` line, if there is one without a NUL.
    pub(crate) id: Option<&'a [u8]>,
    /// The type; `message` if the stream names none.
    pub(crate) name: &'a [u8],
    /// The data, with lines joined by `\n`.
    pub(crate) data: &'a [u8],
    /// True if the block has a `retry` line.
    pub(crate) has_retry: bool,
}

/// An event being assembled.
#[derive(Debug, Default)]
pub(crate) struct Block {
    line: Vec<u8>,
    id: Vec<u8>,
    has_id: bool,
    has_retry: bool,
    name: Vec<u8>,
    data: Vec<u8>,
}

/// Parses the events of a body.
#[derive(Debug, Default)]
pub(crate) struct EventParser {
    partial: Option<Box<Block>>,
    after_first_line: bool,
    /// True if the last byte was a CR. An LF right after it belongs to the same line end.
    skip_lf: bool,
}

impl EventParser {
    /// Takes the next bytes of the body, and passes every event that they complete to `sink`.
    pub(crate) fn feed(
        &mut self,
        mut input: &[u8],
        scratch: &mut Block,
        sink: &mut impl FnMut(Event<'_>),
    ) -> Result<(), Malformed> {
        debug_assert!(scratch.is_empty());
        let mut kept = self.partial.take();
        let block = kept.as_deref_mut().unwrap_or(scratch);
        while let Some(&first) = input.first() {
            if std::mem::take(&mut self.skip_lf) && first == b'\n' {
                input = &input[1..];
                continue;
            }
            let Some(end) = input.iter().position(|byte| matches!(byte, b'\n' | b'\r')) else {
                block.line.extend_from_slice(input);
                break;
            };
            self.skip_lf = input[end] == b'\r';
            let first_line = !std::mem::replace(&mut self.after_first_line, true);
            if block.line.is_empty() {
                block.take_line(&input[..end], first_line, sink);
            } else {
                let mut line = std::mem::take(&mut block.line);
                line.extend_from_slice(&input[..end]);
                block.take_line(&line, first_line, sink);
                line.clear();
                block.line = line;
            }
            input = &input[end + 1..];
        }
        if block.bytes() > MAX_EVENT_BYTES {
            *scratch = Block::default();
            return Err(Malformed::TooLong);
        }
        if !block.is_empty() {
            self.partial = kept.or_else(|| Some(Box::new(std::mem::take(scratch))));
        }
        Ok(())
    }

    /// Returns true if no event is incomplete.
    #[cfg(test)]
    pub(crate) fn is_between_events(&self) -> bool {
        self.partial.is_none()
    }
}

impl Block {
    fn take_line(&mut self, line: &[u8], first_line: bool, sink: &mut impl FnMut(Event<'_>)) {
        let line = if first_line {
            line.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(line)
        } else {
            line
        };
        if line.is_empty() {
            return self.dispatch(sink);
        }
        let (field, value) = match line.iter().position(|&byte| byte == b':') {
            Some(colon) => (&line[..colon], &line[colon + 1..]),
            None => (line, &line[line.len()..]),
        };
        let value = value.strip_prefix(b" ").unwrap_or(value);
        match field {
            b"data" => {
                self.data.extend_from_slice(value);
                self.data.push(b'\n');
            }
            b"event" => {
                self.name.clear();
                self.name.extend_from_slice(value);
            }
            b"id" if !value.contains(&0) => {
                self.id.clear();
                self.id.extend_from_slice(value);
                self.has_id = true;
            }
            b"retry" => self.has_retry = true,
            _ => {} // comments, and fields that the standard ignores
        }
    }

    fn dispatch(&mut self, sink: &mut impl FnMut(Event<'_>)) {
        if let Some((_, data)) = self.data.split_last() {
            let name = if self.name.is_empty() {
                b"message"
            } else {
                self.name.as_slice()
            };
            sink(Event {
                id: self.has_id.then_some(&self.id),
                name,
                data,
                has_retry: self.has_retry,
            });
        }
        self.data.clear();
        self.name.clear();
        self.id.clear();
        (self.has_id, self.has_retry) = (false, false);
    }

    fn bytes(&self) -> usize {
        self.line.len() + self.name.len() + self.data.len() + self.id.len()
    }

    fn is_empty(&self) -> bool {
        self.bytes() == 0 && !self.has_id && !self.has_retry
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(input: &[u8]) -> Vec<(Option<String>, String, String)> {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let mut events = Vec::new();
        EventParser::default()
            .feed(input, &mut Block::default(), &mut |event| {
                events.push((event.id.map(text), text(event.name), text(event.data)));
            })
            .unwrap();
        events
    }

    fn event(id: Option<&str>, name: &str, data: &str) -> (Option<String>, String, String) {
        (id.map(str::to_owned), name.to_owned(), data.to_owned())
    }

    #[test]
    fn the_three_line_endings_mean_the_same() {
        for end in ["\n", "\r", "\r\n"] {
            let stream =
                format!("id: 7{end}event: x{end}data: a{end}data:b{end}{end}data{end}{end}");
            assert_eq!(
                parse(stream.as_bytes()),
                [event(Some("7"), "x", "a\nb"), event(None, "message", "")]
            );
        }
    }

    #[test]
    fn a_block_without_data_dispatches_nothing_and_its_name_is_dropped() {
        assert_eq!(
            parse(b"retry: 2000\n\nevent: lost\n\n: comment\n\ndata: x\n\n"),
            [event(None, "message", "x")]
        );
    }

    #[test]
    fn a_streams_first_block_differs_from_a_heartbeat_by_its_delay_whatever_the_pieces() {
        let stream = b"id: 1-0\nretry: 2000\nevent: heartbeat\ndata: {}\n\nid: 1-0\nevent: heartbeat\ndata: {}\n\n";
        for piece in 1..stream.len() {
            let (mut parser, mut scratch) = (EventParser::default(), Block::default());
            let mut have_retry = Vec::new();
            for bytes in stream.chunks(piece) {
                let mut sink = |event: Event<'_>| have_retry.push(event.has_retry);
                parser.feed(bytes, &mut scratch, &mut sink).unwrap();
            }
            assert_eq!(have_retry, [true, false], "in pieces of {piece} bytes");
        }
    }

    #[test]
    fn only_one_space_and_one_bom_are_removed() {
        assert_eq!(
            parse(b"\xEF\xBB\xBFdata:  x\n\n"),
            [event(None, "message", " x")]
        );
    }

    #[test]
    fn an_event_that_arrives_completely_leaves_no_state() {
        let mut parser = EventParser::default();
        let mut scratch = Block::default();
        parser
            .feed(b"id: 1\ndata: x\n\n", &mut scratch, &mut |_| {})
            .unwrap();
        assert!(parser.is_between_events());
        parser
            .feed(b"data: x\n", &mut scratch, &mut |_| {})
            .unwrap();
        assert!(!parser.is_between_events() && scratch.is_empty());
        parser.feed(b"\n", &mut scratch, &mut |_| {}).unwrap();
        assert!(parser.is_between_events());
    }

    #[test]
    fn an_endless_line_is_refused() {
        let mut parser = EventParser::default();
        let piece = [b'x'; 4096];
        let refused = (0..=MAX_EVENT_BYTES / piece.len()).find_map(|_| {
            parser
                .feed(&piece, &mut Block::default(), &mut |_| {})
                .err()
        });
        assert_eq!(refused, Some(Malformed::TooLong));
    }
}
