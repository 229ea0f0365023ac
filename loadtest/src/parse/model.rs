//! Compares the whole decoder with a naive model that sees all bytes at once.
//!
//! The model shares no code with the parsers. It knows the chunk boundaries because it made them, and reads
//! the events from one normalised string.

use proptest::collection::vec;
use proptest::prelude::*;

use super::sse::Block;
use super::{Decoder, Reached};
use crate::websocket::Replies;

type Owned = (Option<Vec<u8>>, Vec<u8>, Vec<u8>);

/// Reads a whole body as described in the standard.
fn naive(body: &str) -> Vec<Owned> {
    let body = body.strip_prefix('\u{feff}').unwrap_or(body);
    let body = body.replace("\r\n", "\n").replace('\r', "\n");
    let mut lines: Vec<&str> = body.split('\n').collect();
    lines.pop(); // what follows the last line ending is no line yet
    let mut events = Vec::new();
    for block in lines.split_inclusive(|line| line.is_empty()) {
        if block.last() != Some(&"") {
            continue; // not dispatched yet
        }
        let fields = block.iter().map(|line| {
            let (name, value) = line.split_once(':').unwrap_or((line, ""));
            (name, value.strip_prefix(' ').unwrap_or(value))
        });
        let values = |field: &str| -> Vec<&str> {
            fields
                .clone()
                .filter(|(name, _)| *name == field)
                .map(|(_, value)| value)
                .collect()
        };
        let data = values("data");
        if data.is_empty() {
            continue;
        }
        let id = values("id").into_iter().rfind(|id| !id.contains('\0'));
        let name = values("event")
            .last()
            .copied()
            .filter(|name| !name.is_empty())
            .unwrap_or("message");
        events.push((
            id.map(|id| id.as_bytes().to_vec()),
            name.as_bytes().to_vec(),
            data.join("\n").into_bytes(),
        ));
    }
    events
}

/// Feeds `bytes` cut at `cuts`; returns the events and the decoder's final state.
fn decode(bytes: &[u8], cuts: &[usize]) -> (Vec<Owned>, Reached) {
    let mut decoder = Decoder::new();
    let mut scratch = Block::default();
    let mut events = Vec::new();
    let mut reached = Reached::Head;
    for piece in cut(bytes, cuts) {
        reached = decoder
            .feed(piece, &mut scratch, &mut Replies::default(), &mut |event| {
                events.push((
                    event.id.map(<[u8]>::to_vec),
                    event.name.to_vec(),
                    event.data.to_vec(),
                ));
            })
            .expect("the model makes well-formed streams");
    }
    (events, reached)
}

fn cut<'a>(bytes: &'a [u8], cuts: &[usize]) -> Vec<&'a [u8]> {
    let mut at: Vec<usize> = cuts.iter().map(|cut| cut % (bytes.len() + 1)).collect();
    at.extend([0, bytes.len()]);
    at.sort_unstable();
    at.dedup();
    at.windows(2).map(|pair| &bytes[pair[0]..pair[1]]).collect()
}

fn body() -> impl Strategy<Value = String> {
    let line = prop_oneof![
        4 => Just(String::new()),
        4 => "data: ?[a-z :é]{0,12}",
        1 => Just("data".to_owned()),
        1 => "event: ?[a-z]{0,5}",
        1 => "id: ?[0-9\0]{0,3}",
        1 => "(retry: [0-9]{1,4}|: [a-z]{0,5}|other: x|dat: x|datax)",
    ];
    let end = prop_oneof![Just("\n"), Just("\r"), Just("\r\n")];
    ("\u{feff}?", vec((line, end), 0..40), "[a-z:]{0,6}").prop_map(|(bom, lines, tail)| {
        lines
            .into_iter()
            .fold(bom, |body, (line, end)| body + &line + end)
            + &tail
    })
}

proptest! {
    #[test]
    fn any_split_of_a_raw_stream_is_read_like_the_model(body in body(), cuts in vec(any::<usize>(), 0..30)) {
        let head = "HTTP/1.0 200 OK\r\nContent-Type: text/event-stream\r\n\r\n";
        let (events, reached) = decode((head.to_owned() + &body).as_bytes(), &cuts);
        prop_assert_eq!(events, naive(&body));
        prop_assert_eq!(reached, Reached::Body);
    }

    #[test]
    fn any_split_of_a_chunked_stream_is_read_like_the_model(
        body in body(), chunk_cuts in vec(any::<usize>(), 0..10), cuts in vec(any::<usize>(), 0..40), ended: bool,
    ) {
        let mut bytes = b"HTTP/1.1 200 OK\r\ntransfer-encoding: Chunked\r\ncontent-type: text/event-stream\r\n\r\n".to_vec();
        for (index, chunk) in cut(body.as_bytes(), &chunk_cuts).iter().enumerate() {
            let size = if index % 2 == 0 { format!("{:x}\r\n", chunk.len()) } else { format!("{:03X};x=y\r\n", chunk.len()) };
            bytes.extend([size.as_bytes(), chunk, b"\r\n"].concat());
        }
        if ended {
            bytes.extend(b"0\r\n\r\n");
        }
        let (events, reached) = decode(&bytes, &cuts);
        prop_assert_eq!(events, naive(&body));
        prop_assert_eq!(reached, if ended { Reached::End } else { Reached::Body });
    }

    #[test]
    fn one_byte_at_a_time_gives_the_same_result(body in body()) {
        let bytes = [&b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n"[..], body.as_bytes()].concat();
        let every: Vec<usize> = (0..bytes.len()).collect();
        prop_assert_eq!(decode(&bytes, &every).0, naive(&body));
    }

    #[test]
    fn no_bytes_make_it_panic(bytes in vec(any::<u8>(), 0..200), cuts in vec(any::<usize>(), 0..10)) {
        let head = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\ncontent-type: text/event-stream\r\n\r\n";
        let (mut scratch, mut replies) = (Block::default(), Replies::default());
        for head in [&b""[..], head] {
            let mut decoder = Decoder::new();
            decoder.feed(head, &mut scratch, &mut replies, &mut |_| {}).expect("a good head, or nothing");
            for piece in cut(&bytes, &cuts) {
                if decoder.feed(piece, &mut scratch, &mut replies, &mut |_| {}).is_err() {
                    break;
                }
            }
        }
    }
}
