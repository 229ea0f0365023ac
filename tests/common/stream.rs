//! Parses what a client reads, in pieces of any size: an HTTP/1.1 head, chunks, and events. An event
//! counts when its blank line has arrived, and not before.

/// The unread part of one response.
#[derive(Default)]
pub struct Incoming {
    bytes: Vec<u8>,
    place: Place,
    /// The contents of the chunks, from the first incomplete event on.
    text: String,
    /// The text contains no end of an event before this offset.
    searched: usize,
}

#[derive(Clone, Copy, Default)]
enum Place {
    #[default]
    Head,
    ChunkSize,
    /// This many bytes of the chunk are missing.
    Chunk(usize),
    ChunkEnd,
    End,
}

#[derive(Debug, PartialEq, Eq)]
pub enum Item {
    Status(u16),
    Frame(Frame),
    /// The end of the body: the last chunk.
    End,
}

/// One event of the stream, with its fields.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Frame {
    pub id: Option<String>,
    pub event: Option<String>,
    pub data: Option<String>,
    pub retry_ms: Option<u64>,
}

impl Incoming {
    pub fn push(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    /// The next complete item, or an error in the received bytes.
    pub fn next(&mut self) -> Result<Option<Item>, String> {
        loop {
            if let Some(frame) = self.take_frame()? {
                return Ok(Some(Item::Frame(frame)));
            }
            match self.place {
                Place::Head => {
                    let Some(head) = self.take_until("\r\n\r\n")? else {
                        return Ok(None);
                    };
                    self.place = Place::ChunkSize;
                    let status = head.get(9..12).and_then(|status| status.parse().ok());
                    let status = status.ok_or_else(|| format!("not a head: {head:?}"))?;
                    let head = head.to_ascii_lowercase();
                    if status == 200 && !head.contains("transfer-encoding: chunked") {
                        return Err(format!("not chunked: {head:?}"));
                    }
                    return Ok(Some(Item::Status(status)));
                }
                Place::ChunkSize => {
                    let Some(line) = self.take_until("\r\n")? else {
                        return Ok(None);
                    };
                    let size = usize::from_str_radix(&line, 16)
                        .map_err(|error| format!("chunk size {line:?}: {error}"))?;
                    if size == 0 {
                        self.place = Place::End;
                        return Ok(Some(Item::End));
                    }
                    self.place = Place::Chunk(size);
                }
                Place::Chunk(0) => self.place = Place::ChunkEnd,
                Place::Chunk(_) if self.bytes.is_empty() => return Ok(None),
                Place::Chunk(left) => self.take_chunk(left)?,
                Place::ChunkEnd => match self.take_until("\r\n")?.as_deref() {
                    None => return Ok(None),
                    Some("") => self.place = Place::ChunkSize,
                    Some(more) => return Err(format!("a chunk that goes on: {more:?}")),
                },
                Place::End => return Ok(None),
            }
        }
    }

    /// The received part of an incomplete event.
    pub fn is_inside_an_event(&self) -> bool {
        !self.text.is_empty() || !self.bytes.is_empty()
    }

    fn take_chunk(&mut self, left: usize) -> Result<(), String> {
        let taken = left.min(self.bytes.len());
        // Any offset is a valid boundary, because all events are ASCII.
        let text = std::str::from_utf8(&self.bytes[..taken])
            .map_err(|error| format!("in a chunk: {error}"))?;
        self.text.push_str(text);
        self.bytes.drain(..taken);
        self.place = Place::Chunk(left - taken);
        Ok(())
    }

    fn take_until(&mut self, end: &str) -> Result<Option<String>, String> {
        let Some(at) = self
            .bytes
            .windows(end.len())
            .position(|window| window == end.as_bytes())
        else {
            return Ok(None);
        };
        let rest = self.bytes.split_off(at + end.len());
        let mut taken = std::mem::replace(&mut self.bytes, rest);
        taken.truncate(at);
        let text = String::from_utf8(taken).map_err(|error| error.to_string())?;
        Ok(Some(text))
    }

    fn take_frame(&mut self) -> Result<Option<Frame>, String> {
        // Searches for line feeds, because the standard library does that fast even in a debug build.
        while let Some(at) = self.text[self.searched..].find('\n') {
            let line_end = self.searched + at;
            self.searched = line_end + 1;
            if line_end > 0 && self.text.as_bytes()[line_end - 1] == b'\n' {
                let frame = Frame::parse(&self.text[..line_end])?;
                self.text.drain(..=line_end);
                self.searched = 0;
                return Ok(Some(frame));
            }
        }
        Ok(None)
    }
}

impl Frame {
    fn parse(text: &str) -> Result<Self, String> {
        let mut frame = Self::default();
        for line in text.lines() {
            let (field, value) = line
                .split_once(": ")
                .ok_or_else(|| format!("the line {line:?} in {text:?}"))?;
            match field {
                "id" => frame.id = Some(value.to_owned()),
                "event" => frame.event = Some(value.to_owned()),
                "retry" => frame.retry_ms = value.parse().ok(),
                "data" => match &mut frame.data {
                    None => frame.data = Some(value.to_owned()),
                    Some(data) => {
                        data.push('\n');
                        data.push_str(value);
                    }
                },
                _ => return Err(format!("the field {field:?} in {text:?}")),
            }
        }
        Ok(frame)
    }
}

#[test]
fn an_event_counts_when_its_blank_line_has_arrived_whatever_the_pieces() {
    let answer = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n\
        c\r\nretry: 100\n\n\r\n\
        9\r\nid: 1-0\nd\r\nf\r\nata: a\ndata: \n\n\r\n0\r\n\r\n";
    for piece in 1..answer.len() {
        let mut incoming = Incoming::default();
        let mut items = Vec::new();
        for bytes in answer.as_bytes().chunks(piece) {
            incoming.push(bytes);
            while let Some(item) = incoming.next().unwrap() {
                items.push(item);
            }
        }
        let retry = Frame {
            retry_ms: Some(100),
            ..Frame::default()
        };
        let event = Frame {
            id: Some("1-0".to_owned()),
            data: Some("a\n".to_owned()),
            ..Frame::default()
        };
        let expected = [
            Item::Status(200),
            Item::Frame(retry),
            Item::Frame(event),
            Item::End,
        ];
        assert_eq!(items, expected, "in pieces of {piece} bytes");
    }
}
