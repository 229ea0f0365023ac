//! Finds what a server says in the bytes of a connection: messages put together, control frames among them.
//!
//! Between messages a reader is a pointer. A frame that comes whole is read where it lies; what is half-read lives on
//! the heap until the rest has come, and no longer.

use super::close::Close;
use super::frame::{Header, MAX_MESSAGE_BYTES, Opcode};
use super::violation::Violation;

/// What a server says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Item<'a> {
    /// A message.
    Text(&'a str),
    Ping(&'a [u8]),
    Pong,
    /// Nothing that follows it counts.
    Close(Close),
}

/// Reads the frames of one connection.
#[derive(Debug, Default)]
pub(crate) struct Reader {
    partial: Option<Box<Partial>>,
}

#[derive(Debug, Default)]
struct Partial {
    /// The frame that has begun, with its header.
    frame: Vec<u8>,
    /// The message that has begun, from its earlier frames.
    message: Option<Vec<u8>>,
}

impl Reader {
    /// Takes the next bytes and hands what they complete to `sink`, until that refuses to go on.
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

    /// Whether nothing is half-read.
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

    /// Takes from `input` what the frame lacks; its header once it is whole.
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

/// Takes a whole frame. `message` is what came before it of its message.
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
    fn control_frames_stand_between_the_frames_of_a_message() {
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
    fn what_stands_in_no_sequence_is_refused() {
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
    fn a_message_of_endless_fragments_is_refused() {
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
