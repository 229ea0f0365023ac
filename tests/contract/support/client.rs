//! Clients: raw connections, and readers of streams.

mod arrived;
mod frames;
mod gzip;
mod socket;
mod websocket;

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;

use super::NOTIFICATIONS;
use super::transport::Address;
use frames::WebSocket;
use gzip::Inflater;

pub use socket::Socket;

/// A connection that sends raw bytes.
pub struct Client {
    pub socket: Socket,
    address: Address,
}

/// A complete response.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    /// Status line and header.
    pub head: String,
    pub body: String,
}

/// A response that is read as it arrives. A WebSocket reads like the same stream over SSE.
pub struct Stream {
    pub socket: Socket,
    pub status: u16,
    /// Status line and header.
    pub head: String,
    received: Vec<u8>,
    framing: Framing,
    /// If the stream is compressed.
    inflater: Option<Inflater>,
    text: String,
    /// True if the body ended as its framing requires, and was not cut off.
    pub is_complete: bool,
    /// The position from the stream's first block, if it has an id.
    pub position: String,
    /// True if the connection was cut off: by a reset, or without `close_notify` over TLS.
    is_cut_off: bool,
}

/// How a response is framed.
enum Framing {
    /// Up to the end of the connection.
    Raw,
    Chunked,
    WebSocket(WebSocket),
}

impl Address {
    /// The text of a GET with these header lines. A request for the notifications stream asks for a WebSocket if
    /// clients of this address use one.
    pub fn get(&self, path: &str, lines: &str) -> String {
        let handshake = self
            .is_websocket
            .then(|| websocket::handshake(path, lines))
            .flatten();
        let accepted = if self.is_gzip {
            "Accept-Encoding: gzip\r\n"
        } else {
            ""
        };
        handshake.unwrap_or_else(|| {
            format!("GET {path} HTTP/1.1\r\nHost: test\r\n{accepted}{lines}\r\n")
        })
    }
}

impl Client {
    pub fn connect(address: impl Into<Address>) -> Self {
        let address = address.into();
        Self::with(Socket::connect(address), address)
    }

    /// Uses an existing connection.
    pub fn over(tcp: TcpStream, address: Address) -> Self {
        Self::with(Socket::over(tcp, address.is_tls), address)
    }

    /// The same, with the caller's socket.
    pub fn with(socket: Socket, address: Address) -> Self {
        Self { socket, address }
    }

    pub fn send(&mut self, bytes: impl AsRef<[u8]>) -> &mut Self {
        self.socket.write_all(bytes.as_ref()).unwrap();
        self
    }

    /// Sends a GET with these header lines; see [`Address::get`].
    pub fn get(&mut self, path: &str, lines: &str) -> &mut Self {
        let request = self.address.get(path, lines);
        self.send(request)
    }

    /// Sends a GET and reads the head of the response.
    pub fn open(mut self, path: &str) -> Stream {
        self.get(path, "");
        self.stream()
    }

    /// Opens the notifications stream after an event, as EventSource does, and reads the head.
    pub fn reconnect(mut self, token: &str, last_event_id: &str) -> Stream {
        let path = format!("{NOTIFICATIONS}?token={token}");
        self.get(&path, &format!("Last-Event-ID: {last_event_id}\r\n"));
        self.stream()
    }

    /// Reads the head of a response; frames are read later, one by one.
    pub fn stream(self) -> Stream {
        let mut stream = self.unanswered();
        stream.read_head();
        stream
    }

    /// The same; `None` if the connection ended instead.
    pub fn answered(self) -> Option<Stream> {
        let mut stream = self.unanswered();
        stream.follow().then_some(stream)
    }

    fn unanswered(self) -> Stream {
        Stream {
            socket: self.socket,
            status: 0,
            head: String::new(),
            received: Vec::new(),
            framing: Framing::Raw,
            inflater: None,
            text: String::new(),
            is_complete: false,
            position: String::new(),
            is_cut_off: false,
        }
    }

    /// All bytes until the server closes.
    pub fn read_to_end(&mut self) -> Vec<u8> {
        let mut bytes = Vec::new();
        match self.socket.read_to_end(&mut bytes) {
            Ok(_) => {}
            Err(error) if is_cut_off(&error) => {}
            Err(error) => panic!(
                "the server did not close: {error}; read {} bytes",
                bytes.len()
            ),
        }
        bytes
    }
}

impl Stream {
    /// The next frame, up to and including its blank line; `None` at the end of the body.
    pub fn next(&mut self) -> Option<String> {
        loop {
            if let Some(end) = self.text.find("\n\n") {
                let rest = self.text.split_off(end + 2);
                return Some(std::mem::replace(&mut self.text, rest));
            }
            if self.is_complete || !self.decode_more() {
                return None;
            }
        }
    }

    /// Reads a stream's first block: a heartbeat with the retry delay and, usually, the
    /// position.
    #[track_caller]
    pub fn begin(&mut self) -> &mut Self {
        assert_eq!(self.status, 200, "{}", self.head);
        let first = self.next().expect("the first block");
        let (id, rest) = match first.strip_prefix("id: ") {
            None => ("", first.as_str()),
            Some(rest) => rest.split_once('\n').unwrap(),
        };
        let delay = rest
            .strip_prefix("retry: ")
            .and_then(|rest| rest.strip_suffix("\nevent: heartbeat\ndata: {}\n\n"));
        let delay: Option<u64> = delay.and_then(|delay| delay.parse().ok());
        assert!(delay.is_some(), "not a first block: {first:?}");
        id.clone_into(&mut self.position);
        self
    }

    /// Returns true if nothing has arrived by now. Bytes that were sent before the response to a later
    /// request have arrived when that response has been read. Loopback keeps the order only per socket, so
    /// make a round trip first.
    pub fn is_silent(&mut self) -> bool {
        self.text.is_empty() && self.received.is_empty() && !self.socket.is_readable()
    }

    /// Reads the body of a response with a `Content-Length`, and no further.
    pub fn body(&mut self) -> String {
        let length = self
            .header("content-length")
            .map_or(0, |length| length.parse().unwrap());
        while self.received.len() < length {
            assert!(
                self.receive(),
                "closed inside a body of {length} bytes: {}",
                self.head
            );
        }
        let rest = self.received.split_off(length);
        String::from_utf8(std::mem::replace(&mut self.received, rest)).unwrap()
    }

    /// Reads the head of the next response on this connection; false if the connection has ended.
    pub fn follow(&mut self) -> bool {
        if self.received.is_empty() && !self.receive() {
            return false;
        }
        self.read_head();
        true
    }

    /// Closes the connection; see [`Socket::close`].
    pub fn close(self) {
        self.socket.close();
    }

    /// Closes the connection with a RST.
    pub fn reset(self) {
        self.socket.reset();
    }

    /// The value of a header field of the response.
    pub fn header(&self, name: &str) -> Option<&str> {
        header(&self.head, name)
    }

    fn read_head(&mut self) {
        let end = loop {
            if let Some(end) = find(&self.received, b"\r\n\r\n") {
                break end + 4;
            }
            assert!(
                self.receive(),
                "closed inside the head: {:?}",
                String::from_utf8_lossy(&self.received)
            );
        };
        let rest = self.received.split_off(end);
        self.head = String::from_utf8(std::mem::replace(&mut self.received, rest)).unwrap();
        self.status = self.head[9..12].parse().unwrap();
        self.framing = match self.header("transfer-encoding") {
            Some("chunked") => Framing::Chunked,
            _ => Framing::Raw,
        };
        let is_gzip = self.header("content-encoding") == Some("gzip");
        self.inflater = is_gzip.then(Inflater::new);
        self.is_complete = false;
        if self.status == 101 {
            self.read_opening();
        }
    }

    /// Decodes more of the body; false at its end.
    fn decode_more(&mut self) -> bool {
        match self.framing {
            Framing::Raw => self.decode_raw(),
            Framing::Chunked => self.decode_chunk(),
            Framing::WebSocket(_) => self.decode_frame(),
        }
    }

    fn decode_raw(&mut self) -> bool {
        let text = String::from_utf8(std::mem::take(&mut self.received)).unwrap();
        if text.is_empty() && !self.receive() {
            // With raw framing, the end of the connection is the end of the body.
            self.is_complete = !self.is_cut_off;
            return false;
        }
        self.text.push_str(&text);
        true
    }

    fn decode_chunk(&mut self) -> bool {
        loop {
            if let Some(line_end) = find(&self.received, b"\r\n") {
                let line = std::str::from_utf8(&self.received[..line_end]).unwrap();
                let size = usize::from_str_radix(line, 16).unwrap();
                let end = line_end + 2 + size + 2;
                if self.received.len() >= end {
                    let chunk = self.received[line_end + 2..end - 2].to_vec();
                    assert_eq!(&self.received[end - 2..end], b"\r\n");
                    self.received.drain(..end);
                    if size == 0 {
                        if let Some(inflater) = &mut self.inflater {
                            inflater.finish();
                        }
                        self.is_complete = true;
                        return false;
                    }
                    match &mut self.inflater {
                        Some(inflater) => self.text.push_str(&inflater.decode(&chunk)),
                        None => self.text.push_str(std::str::from_utf8(&chunk).unwrap()),
                    }
                    return true;
                }
            }
            if !self.receive() {
                return false;
            }
        }
    }

    fn receive(&mut self) -> bool {
        let mut buffer = [0; 16 * 1024];
        match self.socket.read(&mut buffer) {
            Ok(0) => false,
            Ok(read) => {
                self.received.extend_from_slice(&buffer[..read]);
                true
            }
            Err(error) if is_cut_off(&error) => {
                // An answer to a close may find that the server has closed the socket, and the kernel's reset for
                // it may overtake the FIN.
                let is_over = self.is_complete && matches!(self.framing, Framing::WebSocket(_));
                self.is_cut_off = !is_over;
                false
            }
            Err(error) => panic!("nothing came: {error}"),
        }
    }
}

impl Answer {
    pub fn header(&self, name: &str) -> Option<&str> {
        header(&self.head, name)
    }

    pub fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.body))
    }
}

/// The whole response.
impl From<Stream> for Answer {
    fn from(mut stream: Stream) -> Self {
        let body = match stream.status {
            200 => std::iter::from_fn(|| stream.next()).collect(),
            _ => stream.body(),
        };
        Self {
            status: stream.status,
            head: stream.head,
            body,
        }
    }
}

/// A heartbeat with this position.
pub fn heartbeat(position: &str) -> String {
    format!("id: {position}\nevent: heartbeat\ndata: {{}}\n\n")
}

/// Sends one request on a new connection.
pub fn request(
    address: impl Into<Address>,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: &str,
) -> Answer {
    let mut client = Client::connect(address);
    let mut lines = String::new();
    for (name, value) in headers {
        lines.push_str(&format!("{name}: {value}\r\n"));
    }
    let is_stream = method == "GET" && body.is_empty() && websocket::handshake(path, "").is_some();
    if client.address.is_websocket && is_stream {
        client.get(path, &lines);
        return client.stream().into();
    }
    if !body.is_empty() {
        lines.push_str(&format!("Content-Length: {}\r\n", body.len()));
    }
    client.send(format!(
        "{method} {path} HTTP/1.1\r\nHost: test\r\nConnection: close\r\n{lines}\r\n{body}"
    ));
    let bytes = client.read_to_end();
    let text = String::from_utf8(bytes).unwrap();
    let (head, body) = text
        .split_once("\r\n\r\n")
        .unwrap_or_else(|| panic!("no head in {text:?}"));
    Answer {
        status: head[9..12].parse().unwrap(),
        head: head.to_owned(),
        body: body.to_owned(),
    }
}

/// Returns true if a read ended without a proper end: with a reset, or without `close_notify` over TLS.
fn is_cut_off(error: &std::io::Error) -> bool {
    use ErrorKind::{BrokenPipe, ConnectionReset, UnexpectedEof};
    matches!(error.kind(), BrokenPipe | ConnectionReset | UnexpectedEof)
}

fn header<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    head.lines().find_map(|line| {
        let (field, value) = line.split_once(':')?;
        field.eq_ignore_ascii_case(name).then(|| value.trim())
    })
}

fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    haystack
        .windows(needle.len())
        .position(|window| window == needle)
}
