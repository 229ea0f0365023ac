//! A stream over WebSocket: converts its frames to the text of SSE, and answers pings and the server's close frame.

use std::io::Write;

use super::websocket::{self, CLOSE, Frame, Message, PONG, Refusal, TEXT};
use super::{Framing, Stream};

/// The state of a WebSocket client.
#[derive(Default)]
pub(super) struct WebSocket {
    /// The delay from the first message.
    retry_ms: Option<u64>,
    /// True if a ping has arrived since the last message.
    has_ping: bool,
    /// The last message, as SSE text.
    last: String,
}

impl Stream {
    /// Reads the first frame after the handshake: the first message, or the reason of a refusal.
    pub(super) fn read_opening(&mut self) {
        assert_eq!(
            self.header("sec-websocket-accept"),
            Some(websocket::ACCEPT),
            "{}",
            self.head
        );
        self.framing = Framing::WebSocket(WebSocket::default());
        self.status = 200;
        self.decode_frame();
    }

    /// Decodes frames until one has text. Returns false if the stream ends instead.
    pub(super) fn decode_frame(&mut self) -> bool {
        loop {
            let Some(frame) = Frame::take(&mut self.received) else {
                if !self.receive() {
                    return false;
                }
                continue;
            };
            match frame {
                Frame::Text(text) => {
                    self.take_message(&Message::parse(&text));
                    return true;
                }
                Frame::Ping(payload) => {
                    self.websocket().has_ping = true;
                    self.answer(PONG, &payload);
                }
                Frame::Pong => {}
                Frame::Close(payload) => {
                    self.answer(CLOSE, &payload[..payload.len().min(2)]);
                    let (code, reason) = websocket::close_reason(&payload);
                    return self.take_close(code, reason);
                }
            }
        }
    }

    fn take_message(&mut self, message: &Message<'_>) {
        let text = message.to_sse();
        let socket = self.websocket();
        let has_ping = std::mem::take(&mut socket.has_ping);
        assert_eq!(
            has_ping,
            message.event == "heartbeat",
            "a ping and {text:?}"
        );
        let is_first = socket.retry_ms.is_none();
        assert_eq!(is_first, message.event == "open", "{text:?}");
        if is_first {
            socket.retry_ms = Some(message.retry_ms());
        }
        socket.last.clone_from(&text);
        self.text.push_str(&text);
    }

    /// Handles the server's close frame. Returns true if SSE has text for it.
    fn take_close(&mut self, code: u16, reason: &str) -> bool {
        let socket = self.websocket();
        let Some(retry_ms) = socket.retry_ms else {
            let refusal = Refusal::of(code, reason);
            self.framing = Framing::Raw;
            self.status = refusal.status;
            self.head = refusal.head;
            self.received = refusal.body.into();
            return true;
        };
        let last = &socket.last;
        let matches = match (code, reason) {
            (1001, "Going away" | "Disconnected") => true,
            (4001, "Token expired") => last == "event: token_expired\ndata: {}\n\n",
            (4029, "Evicted") => last == "event: evicted\ndata: {}\n\n",
            (4003, "Logged out") => last.contains("data: {\"type\":\"FORCE_LOGOUT\","),
            // The client has violated the protocol. The server has closed its side, and waits for the client.
            (1002 | 1007..=1009, _) => {
                while self.receive() {}
                let _ = self.socket.shutdown_write();
                return false;
            }
            _ => false,
        };
        assert!(matches, "{code} {reason} after {last:?}");
        self.is_complete = true;
        if reason == "Going away" {
            // SSE repeats the delay at the end.
            self.text.push_str(&format!("retry: {retry_ms}\n\n"));
        }
        reason == "Going away"
    }

    /// Answers the pings and the close frame that have arrived over WebSocket, as browsers do automatically. The
    /// decoded messages can still be read. Over SSE, there is nothing to answer.
    pub fn respond(&mut self) {
        while matches!(self.framing, Framing::WebSocket(_)) && !self.is_complete {
            let has_more = !self.received.is_empty() || self.socket.is_readable();
            if !has_more || !self.decode_frame() {
                return;
            }
        }
    }

    /// Input from the client during the stream: the bytes themselves or, over WebSocket, a message.
    pub fn input(&self, bytes: &[u8]) -> Vec<u8> {
        match self.framing {
            Framing::WebSocket(_) => websocket::frame(TEXT, bytes),
            _ => bytes.to_vec(),
        }
    }

    /// Sends something that the server ignores.
    pub fn show_life(&mut self) {
        match self.framing {
            Framing::WebSocket(_) => self.answer(PONG, b""),
            _ => self.socket.write_all(b"x").unwrap(),
        }
    }

    /// The server may have closed by now.
    fn answer(&mut self, opcode: u8, payload: &[u8]) {
        let _ = self.socket.write_all(&websocket::frame(opcode, payload));
    }

    fn websocket(&mut self) -> &mut WebSocket {
        match &mut self.framing {
            Framing::WebSocket(socket) => socket,
            _ => panic!("a response in HTTP"),
        }
    }
}
