//! The server's end of a WebSocket. tungstenite reads it, so that an independent implementation checks the load's
//! frames. Unusual frames are written by hand.

use std::io::{Read, Write};
use std::net::TcpStream;

use tungstenite::handshake::derive_accept_key;
use tungstenite::protocol::Role;
use tungstenite::protocol::frame::coding::{Control, Data, OpCode};
use tungstenite::protocol::frame::{Frame, FrameHeader};
use tungstenite::{Message, WebSocket};

use crate::hub::header;

/// The first message of a stream.
pub(crate) const OPEN: &str = r#"{"id":"0-0","event":"open","data":{"retry":2000}}"#;

/// The response head for `request`.
pub(crate) fn switching(request: &str) -> String {
    let key = header(request, "sec-websocket-key").unwrap();
    assert_eq!(header(request, "sec-websocket-version"), Some("13"));
    assert_eq!(header(request, "upgrade"), Some("websocket"));
    let accept = derive_accept_key(key.as_bytes());
    format!(
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Accept: {accept}\r\n\r\n"
    )
}

/// Answers `request` and begins the stream. Returns the WebSocket.
pub(crate) fn accept<S: Read + Write>(mut stream: S, request: &str) -> WebSocket<S> {
    stream.write_all(switching(request).as_bytes()).unwrap();
    let mut socket = WebSocket::from_raw_socket(stream, Role::Server, None);
    socket.send(Message::text(OPEN)).unwrap();
    socket
}

/// An event as a message.
pub(crate) fn event(id: &str, data: &str) -> String {
    format!(r#"{{"id":"{id}","event":"message","data":{data}}}"#)
}

/// Reads until the connection ends. Returns the payloads of the client's pongs, and its close code.
pub(crate) fn hear(stream: TcpStream) -> (Vec<Vec<u8>>, Option<u16>) {
    let mut socket = WebSocket::from_raw_socket(stream, Role::Server, None);
    let (mut pongs, mut code) = (Vec::new(), None);
    loop {
        match socket.read() {
            Ok(Message::Pong(payload)) => pongs.push(payload.to_vec()),
            Ok(Message::Close(close)) => code = close.map(|close| close.code.into()),
            // The load resets its connections. Frames that it must not send are errors of another kind.
            Err(
                tungstenite::Error::Io(_)
                | tungstenite::Error::ConnectionClosed
                | tungstenite::Error::AlreadyClosed
                | tungstenite::Error::Protocol(
                    tungstenite::error::ProtocolError::ResetWithoutClosingHandshake,
                ),
            ) => return (pongs, code),
            other => panic!("the load sent {other:?}"),
        }
    }
}

/// A text frame; `first` and `last` are its place in the message.
pub(crate) fn text_frame(payload: &[u8], first: bool, last: bool) -> Vec<u8> {
    let data = if first { Data::Text } else { Data::Continue };
    frame(OpCode::Data(data), payload, last)
}

pub(crate) fn ping_frame(payload: &[u8]) -> Vec<u8> {
    frame(OpCode::Control(Control::Ping), payload, true)
}

pub(crate) fn close_frame(payload: &[u8]) -> Vec<u8> {
    frame(OpCode::Control(Control::Close), payload, true)
}

fn frame(opcode: OpCode, payload: &[u8], is_final: bool) -> Vec<u8> {
    let header = FrameHeader {
        is_final,
        opcode,
        ..FrameHeader::default()
    };
    let mut bytes = Vec::new();
    Frame::from_payload(header, payload.to_vec().into())
        .format(&mut bytes)
        .unwrap();
    bytes
}
