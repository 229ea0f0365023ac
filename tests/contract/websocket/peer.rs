//! A client that speaks WebSocket frame by frame.

use std::io::{ErrorKind, Read as _, Write as _};

use serde_json::Value;

use super::path;
use crate::support::{Client, Socket, TestServer};

pub const CONTINUATION: u8 = 0;
pub const TEXT: u8 = 1;
pub const BINARY: u8 = 2;
pub const CLOSE: u8 = 8;
pub const PING: u8 = 9;
pub const PONG: u8 = 10;
pub const FIN: u8 = 0x80;

/// The key and its proof in RFC 6455 §1.3.
pub const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";
pub const ACCEPT: &str = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";

/// A client after its handshake.
pub struct Peer {
    pub socket: Socket,
    /// The head of the server's response.
    pub head: String,
    received: Vec<u8>,
}

/// A frame of the server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    pub opcode: u8,
    pub payload: Vec<u8>,
}

/// A valid handshake, with more header lines.
pub fn request(path: &str, lines: &str) -> String {
    format!(
        "GET {path} HTTP/1.1\r\nHost: test\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {KEY}\r\n{lines}\r\n"
    )
}

impl Peer {
    /// The stream of a user, whose first message was read.
    pub fn of(server: &TestServer, user: &str) -> Self {
        let mut peer = Self::open(server, &path(server, user), "");
        assert_eq!(peer.message()["event"], "open");
        peer
    }

    pub fn open(server: &TestServer, path: &str, lines: &str) -> Self {
        Self::over(server.connect(), &request(path, lines))
    }

    /// Sends a handshake and reads the response, which has to switch protocols.
    pub fn over(mut client: Client, request: &str) -> Self {
        client.send(request);
        let mut peer = Self {
            socket: client.socket,
            head: String::new(),
            received: Vec::new(),
        };
        let end = loop {
            if let Some(end) = peer.received.windows(4).position(|it| it == b"\r\n\r\n") {
                break end + 4;
            }
            assert!(peer.receive(), "closed inside the head");
        };
        let rest = peer.received.split_off(end);
        peer.head = String::from_utf8(std::mem::replace(&mut peer.received, rest)).unwrap();
        assert!(peer.head.starts_with("HTTP/1.1 101 "), "{}", peer.head);
        peer
    }

    fn receive(&mut self) -> bool {
        let mut buffer = [0; 4_096];
        match self.socket.read(&mut buffer) {
            Ok(0) => false,
            Ok(bytes) => {
                self.received.extend_from_slice(&buffer[..bytes]);
                true
            }
            Err(error)
                if matches!(
                    error.kind(),
                    ErrorKind::ConnectionReset | ErrorKind::UnexpectedEof
                ) =>
            {
                false
            }
            Err(error) => panic!("nothing came: {error}"),
        }
    }

    /// The next frame; `None` if the server has closed the connection.
    pub fn next(&mut self) -> Option<Frame> {
        loop {
            if let Some((frame, bytes)) = parse(&self.received) {
                self.received.drain(..bytes);
                return Some(frame);
            }
            if !self.receive() {
                assert!(self.received.is_empty(), "closed inside a frame");
                return None;
            }
        }
    }

    /// The text of the next message. Pings on the way are answered.
    pub fn text(&mut self) -> String {
        loop {
            let frame = self.next().expect("a message");
            match frame.opcode {
                PING => self.send(FIN | PONG, &frame.payload),
                TEXT => return String::from_utf8(frame.payload).unwrap(),
                _ => panic!("not a message: {frame:?}"),
            }
        }
    }

    pub fn message(&mut self) -> Value {
        serde_json::from_str(&self.text()).unwrap()
    }

    /// Sends a frame, masked.
    pub fn send(&mut self, first: u8, payload: &[u8]) {
        let frame = masked(first, payload);
        self.socket.write_all(&frame).unwrap();
    }

    /// The code and reason of the server's close frame, which has to be next.
    pub fn close_frame(&mut self) -> (u16, String) {
        let frame = self.next().expect("a close frame");
        assert_eq!(frame.opcode, CLOSE, "{frame:?}");
        let (code, reason) = frame.payload.split_at(2);
        let code = u16::from_be_bytes([code[0], code[1]]);
        (code, String::from_utf8(reason.to_vec()).unwrap())
    }

    /// The same; answers it, and waits for the end of the connection.
    #[track_caller]
    pub fn assert_closed(mut self, code: u16, reason: &str) {
        assert_eq!(self.close_frame(), (code, reason.to_owned()));
        self.send(FIN | CLOSE, &code.to_be_bytes());
        assert_eq!(self.next(), None);
    }
}

/// A frame of a client.
pub fn masked(first: u8, payload: &[u8]) -> Vec<u8> {
    const MASK: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];
    let mut frame = vec![first];
    match payload.len() {
        short @ 0..=125 => frame.push(0x80 | u8::try_from(short).unwrap()),
        medium => {
            frame.push(0x80 | 0x7e);
            frame.extend(u16::try_from(medium).unwrap().to_be_bytes());
        }
    }
    frame.extend(MASK);
    frame.extend(
        payload
            .iter()
            .zip(MASK.into_iter().cycle())
            .map(|(byte, key)| byte ^ key),
    );
    frame
}

/// A complete frame at the start of `bytes`, and its length.
fn parse(bytes: &[u8]) -> Option<(Frame, usize)> {
    let (&[first, length], rest) = bytes.split_first_chunk()?;
    assert_eq!(first & 0xf0, FIN, "a fragment, or an extension");
    assert_eq!(length & 0x80, 0, "a server does not mask");
    let (length, rest) = match length {
        126 => {
            let (length, rest) = rest.split_first_chunk()?;
            (usize::from(u16::from_be_bytes(*length)), rest)
        }
        127 => {
            let (length, rest) = rest.split_first_chunk()?;
            (usize::try_from(u64::from_be_bytes(*length)).unwrap(), rest)
        }
        short => (usize::from(short), rest),
    };
    let payload = rest.get(..length)?.to_vec();
    let opcode = first & 0x0f;
    let used = bytes.len() - rest.len() + length;
    Some((Frame { opcode, payload }, used))
}
