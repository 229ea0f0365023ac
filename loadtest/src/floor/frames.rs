//! The bytes that the floor sends: the same as those of a server that follows the contract, for each transport.

use crate::clock;
use crate::transport::Transport;
use crate::websocket::{ACCEPT_BYTES, Opcode, unmasked};

/// The head of an event stream, with its first block.
pub(super) const STREAM_HEAD: &[u8] =
    b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nCache-Control: no-cache\r\n\
    Connection: keep-alive\r\nTransfer-Encoding: chunked\r\n\r\n\
    3b\r\nid: 1700000000000-0\nretry: 2000\nevent: heartbeat\ndata: {}\n\n\r\n";
/// The heartbeat of a stream, as one chunk.
const STREAM_HEARTBEAT: &[u8] = b"2f\r\nid: 1700000000000-0\nevent: heartbeat\ndata: {}\n\n\r\n";

/// The head of a WebSocket, with its first message.
pub(super) fn websocket_head(accept: [u8; ACCEPT_BYTES]) -> Vec<u8> {
    let mut head =
        b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
        Sec-WebSocket-Accept: "
            .to_vec();
    head.extend(accept);
    head.extend_from_slice(b"\r\n\r\n");
    head.extend(text(
        r#"{"id":"1700000000000-0","event":"open","data":{"retry":2000}}"#,
    ));
    head
}

/// A heartbeat; over WebSocket, a ping and a message.
pub(super) fn heartbeat(transport: Transport) -> Vec<u8> {
    match transport {
        Transport::Sse => STREAM_HEARTBEAT.to_vec(),
        Transport::Ws => [
            unmasked(Opcode::Ping, b""),
            text(r#"{"id":"1700000000000-0","event":"heartbeat","data":{}}"#),
        ]
        .concat(),
    }
}

/// An event with this `data`, which is JSON.
pub(crate) fn event(transport: Transport, data: &str) -> Vec<u8> {
    let id_ms = clock::unix_s() * 1_000;
    match transport {
        Transport::Sse => {
            let frame = format!("id: {id_ms}-0\nevent: message\ndata: {data}\n\n");
            format!("{:x}\r\n{frame}\r\n", frame.len()).into_bytes()
        }
        Transport::Ws => text(&format!(
            r#"{{"id":"{id_ms}-0","event":"message","data":{data}}}"#
        )),
    }
}

fn text(message: &str) -> Vec<u8> {
    unmasked(Opcode::Text, message.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::parse::chunked::Dechunker;
    use crate::parse::messages::Dialect;
    use crate::parse::sse::Block;
    use crate::parse::{Decoder, Reached};
    use crate::websocket::{Replies, accept};

    #[test]
    fn the_heartbeat_of_a_stream_is_one_whole_chunk() {
        let (mut input, mut chunks) = (STREAM_HEARTBEAT, Dechunker::default());
        assert_eq!(
            chunks.next(&mut input),
            Ok(Some(
                &b"id: 1700000000000-0\nevent: heartbeat\ndata: {}\n\n"[..]
            ))
        );
        assert_eq!(chunks.next(&mut input), Ok(None));
        assert!(input.is_empty());
    }

    #[test]
    fn an_event_of_a_stream_has_the_form_of_the_contract() {
        let chunk = String::from_utf8(event(Transport::Sse, "{}")).unwrap();
        let (size, frame) = chunk.split_once("\r\n").unwrap();
        let frame = frame.strip_suffix("\r\n").unwrap();
        assert_eq!(usize::from_str_radix(size, 16), Ok(frame.len()));
        assert!(
            frame.starts_with("id: ") && frame.ends_with("-0\nevent: message\ndata: {}\n\n"),
            "{frame}"
        );
    }

    #[test]
    fn a_client_reads_the_websocket_frames() {
        let accept = accept("a key");
        let said = [
            websocket_head(accept),
            heartbeat(Transport::Ws),
            event(Transport::Ws, r#"{"n":1}"#),
        ];
        let (mut events, mut replies) = (Vec::new(), Replies::default());
        let reached = Decoder::of_websocket(accept, Dialect::Events).feed(
            &said.concat(),
            &mut Block::default(),
            &mut replies,
            &mut |event| events.push([event.name, b" ", event.data].concat()),
        );
        assert_eq!((reached, replies.take_pings()), (Ok(Reached::Body), 1));
        assert_eq!(events, [&b"heartbeat {}"[..], b"message {\"n\":1}"]);
    }
}
