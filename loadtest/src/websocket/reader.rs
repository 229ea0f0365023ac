//! Parses the bytes of a connection: joins the fragments of messages, and returns control frames as they come.
//!
//! Between messages a reader is one pointer. A frame that arrives completely is parsed in place. Incomplete
//! frames and messages are kept on the heap until the rest has arrived.

use super::close::Close;
use super::frame::{Header, MAX_MESSAGE_BYTES, Opcode};
use super::violation::Violation;

/// A message or control frame of a server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Item<'a> {
    /// A whole message.
    Text(&'a str),
    Ping(&'a [u8]),
    Pong,
    /// Anything after it is ignored.
    Close(Close),
}

/// Parses the frames of one connection.
#[derive(Debug, Default)]
pub(crate) struct Reader {
    partial: Option<Box<Partial>>,
}

#[derive(Debug, Default)]
struct Partial {
    /// The incomplete frame, with its header.
    frame: Vec<u8>,
    /// The incomplete message: the payloads of its earlier frames.
    message: Option<Vec<u8>>,
}

impl Reader {
    /// Takes the next bytes, and passes every item that they complete to `sink`. Stops at the first error, of
    /// `sink` or of the protocol.
    pub(crate) fn feed<E: From<Violation>>(
        &mut self,
        mut input: &[u8],
        sink: &mut impl FnMut(Item<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        let mut partial = self.partial.take();
        while !input.is_empty() {
            if partial
                .as_ref()
                .is_none_or(|partial| partial.frame.is_empty())
                && let Some(header) = Header::parse(input)?
                && let Some((frame, rest)) = input.split_at_checked(header.frame_bytes())
            {
                input = rest;
                let mut message = partial.take().and_then(|partial| partial.message);
                take(header, &frame[header.payload_at..], &mut message, sink)?;
                partial = message.map(|message| Partial::boxed(Some(message)));
                continue;
            }
            let mut begun = partial.take().unwrap_or_default();
            if let Some(header) = begun.fill(&mut input)? {
                let mut message = begun.message.take();
                take(
                    header,
                    &begun.frame[header.payload_at..],
                    &mut message,
                    sink,
                )?;
                partial = message.map(|message| Partial::boxed(Some(message)));
            } else {
                partial = Some(begun);
            }
        }
        self.partial = partial;
        Ok(())
    }

    /// Returns true if no message is incomplete.
    #[cfg(test)]
    pub(super) fn is_between_messages(&self) -> bool {
        self.partial.is_none()
    }
}

impl Partial {
    fn boxed(message: Option<Vec<u8>>) -> Box<Self> {
        let frame = Vec::new();
        Box::new(Self { frame, message })
    }

    /// Takes the missing bytes of the frame from `input`. Returns the header once the frame is complete.
    fn fill(&mut self, input: &mut &[u8]) -> Result<Option<Header>, Violation> {
        loop {
            let header = Header::parse(&self.frame)?;
            let whole_bytes = match header {
                Some(header) => header.frame_bytes(),
                None => Header::bytes(&self.frame),
            };
            let missing = whole_bytes - self.frame.len();
            if missing == 0 {
                return Ok(header);
            }
            if input.is_empty() {
                return Ok(None);
            }
            let (taken, rest) = input.split_at(missing.min(input.len()));
            self.frame.extend_from_slice(taken);
            *input = rest;
        }
    }
}

/// Handles a whole frame. `message` has the payloads of the message's earlier frames.
fn take<E: From<Violation>>(
    header: Header,
    payload: &[u8],
    message: &mut Option<Vec<u8>>,
    sink: &mut impl FnMut(Item<'_>) -> Result<(), E>,
) -> Result<(), E> {
    let text = |bytes| std::str::from_utf8(bytes).map_err(|_| Violation::Utf8);
    match header.opcode {
        Opcode::Ping => sink(Item::Ping(payload)),
        Opcode::Pong => sink(Item::Pong),
        Opcode::Close => sink(Item::Close(Close::parse(payload)?)),
        Opcode::Binary => Err(Violation::Binary.into()),
        Opcode::Text if message.is_some() => Err(Violation::Sequence.into()),
        Opcode::Text if header.fin => sink(Item::Text(text(payload)?)),
        Opcode::Text => {
            *message = Some(payload.to_vec());
            Ok(())
        }
        Opcode::Continuation => {
            let mut whole = message.take().ok_or(Violation::Sequence)?;
            if whole.len() + payload.len() > MAX_MESSAGE_BYTES {
                return Err(Violation::TooLong.into());
            }
            whole.extend_from_slice(payload);
            if header.fin {
                return sink(Item::Text(text(&whole)?));
            }
            *message = Some(whole);
            Ok(())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::websocket::unmasked;

    fn read(bytes: &[u8]) -> Result<Vec<String>, Violation> {
        let mut items = Vec::new();
        Reader::default().feed(bytes, &mut |item| {
            items.push(format!("{item:?}"));
            Ok::<(), Violation>(())
        })?;
        Ok(items)
    }

    /// A frame that is not the last of its message.
    fn fragment(opcode: Opcode, payload: &[u8]) -> Vec<u8> {
        let mut frame = unmasked(opcode, payload);
        frame[0] &= 0x7f;
        frame
    }

    #[test]
    fn control_frames_may_come_between_the_frames_of_a_message() {
        let bytes = [
            fragment(Opcode::Text, "ab\u{e9}".as_bytes().split_last().unwrap().1),
            unmasked(Opcode::Ping, b"p"),
            fragment(Opcode::Continuation, b""),
            unmasked(Opcode::Pong, b""),
            unmasked(Opcode::Continuation, &[0xa9]),
        ];
        let items = read(&bytes.concat()).unwrap();
        assert_eq!(items, ["Ping([112])", "Pong", "Text(\"abé\")"]);
    }

    #[test]
    fn frames_out_of_sequence_binary_and_invalid_text_are_rejected() {
        let text = || unmasked(Opcode::Text, b"x");
        for (frames, violation) in [
            (
                vec![unmasked(Opcode::Continuation, b"x")],
                Violation::Sequence,
            ),
            (
                vec![fragment(Opcode::Text, b"x"), text()],
                Violation::Sequence,
            ),
            (
                vec![text(), unmasked(Opcode::Continuation, b"x")],
                Violation::Sequence,
            ),
            (vec![unmasked(Opcode::Binary, b"x")], Violation::Binary),
            (vec![unmasked(Opcode::Text, b"\xff")], Violation::Utf8),
            (
                vec![
                    fragment(Opcode::Text, b"\xc3"),
                    unmasked(Opcode::Continuation, b""),
                ],
                Violation::Utf8,
            ),
        ] {
            assert_eq!(read(&frames.concat()), Err(violation), "{frames:x?}");
        }
    }

    #[test]
    fn a_message_of_endless_fragments_is_rejected() {
        let mut reader = Reader::default();
        let mut feed = |frame: &[u8]| reader.feed(frame, &mut |_| Ok::<(), Violation>(()));
        feed(&fragment(Opcode::Text, b"")).unwrap();
        let piece = fragment(Opcode::Continuation, &[b'x'; 4096]);
        let refused = (0..=MAX_MESSAGE_BYTES / 4096).find_map(|_| feed(&piece).err());
        assert_eq!(refused, Some(Violation::TooLong));
    }

    #[test]
    fn nothing_is_kept_between_messages() {
        let mut reader = Reader::default();
        let frame = unmasked(Opcode::Text, &[b'x'; 200]);
        for cut in 0..=frame.len() {
            let (start, end) = frame.split_at(cut);
            for (bytes, between) in [(start, cut % frame.len() == 0), (end, true)] {
                let fed = reader.feed(bytes, &mut |_| Ok::<(), Violation>(()));
                fed.unwrap();
                assert_eq!(reader.is_between_messages(), between, "cut at {cut}");
            }
        }
    }
}
