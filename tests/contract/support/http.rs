//! A threaded HTTP server, for requests that the server under test makes.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use rustls::{ServerConfig, ServerConnection, StreamOwned};

/// An HTTP server that runs until the tests end.
pub struct HttpServer {
    pub address: SocketAddr,
    scheme: &'static str,
    connections: Arc<AtomicUsize>,
}

/// A complete request.
pub struct Request {
    /// Request line and header.
    pub head: String,
    pub body: Vec<u8>,
}

/// The reaction to a request.
#[derive(Clone, Debug)]
pub enum Reply {
    /// Sends these bytes and keeps the connection open.
    Bytes(Vec<u8>),
    /// Sends these bytes and closes the connection.
    Last(Vec<u8>),
    /// Never responds.
    Nothing,
}

trait Socket: Read + Write {}
impl<S: Read + Write> Socket for S {}

impl HttpServer {
    pub fn start(answer: impl Fn(&Request) -> Reply + Send + Sync + 'static) -> Self {
        Self::listen("http", |socket| Box::new(socket), answer)
    }

    pub fn start_tls(
        config: ServerConfig,
        answer: impl Fn(&Request) -> Reply + Send + Sync + 'static,
    ) -> Self {
        let config = Arc::new(config);
        let wrap = move |socket| -> Box<dyn Socket> {
            let tls = ServerConnection::new(Arc::clone(&config)).unwrap();
            Box::new(StreamOwned::new(tls, socket))
        };
        Self::listen("https", wrap, answer)
    }

    fn listen(
        scheme: &'static str,
        wrap: impl Fn(TcpStream) -> Box<dyn Socket> + Send + Sync + 'static,
        answer: impl Fn(&Request) -> Reply + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let connections = Arc::new(AtomicUsize::new(0));
        let shared = Arc::new((wrap, answer, Arc::clone(&connections)));
        std::thread::spawn(move || {
            for socket in listener.incoming() {
                let shared = Arc::clone(&shared);
                std::thread::spawn(move || {
                    let (wrap, answer, connections) = &*shared;
                    connections.fetch_add(1, Ordering::Relaxed);
                    serve(&mut *wrap(socket.unwrap()), answer);
                });
            }
        });
        Self {
            address,
            scheme,
            connections,
        }
    }

    pub fn url(&self, path: &str) -> String {
        format!("{}://{}{path}", self.scheme, self.address)
    }

    pub fn connections(&self) -> usize {
        self.connections.load(Ordering::Relaxed)
    }
}

impl Reply {
    /// A response without a body.
    pub fn status(status: u16) -> Self {
        Self::body(status, "")
    }

    pub fn body(status: u16, body: &str) -> Self {
        let length = body.len();
        let head = format!("HTTP/1.1 {status} Whatever\r\nContent-Length: {length}\r\n\r\n");
        Self::Bytes((head + body).into_bytes())
    }
}

impl Request {
    /// The value of a header field.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.fields()
            .find(|(field, _)| field.eq_ignore_ascii_case(name))
            .map(|(_, value)| value)
    }

    /// The header fields, in order.
    pub fn fields(&self) -> impl Iterator<Item = (&str, &str)> {
        let lines = self.head.lines().skip(1);
        lines.filter_map(|line| {
            let (name, value) = line.split_once(':')?;
            Some((name, value.trim()))
        })
    }

    /// Removes a request from the start of `bytes`, if it is complete.
    fn take(bytes: &mut Vec<u8>) -> Option<Self> {
        let head_end = bytes.windows(4).position(|window| window == b"\r\n\r\n")? + 4;
        let mut request = Self {
            head: String::from_utf8(bytes[..head_end].to_vec()).unwrap(),
            body: Vec::new(),
        };
        let length = request.header("content-length");
        let end = head_end + length.map_or(0, |length| length.parse().unwrap());
        request.body = bytes.get(head_end..end)?.to_vec();
        bytes.drain(..end);
        Some(request)
    }
}

/// Answers requests until the connection ends.
fn serve(socket: &mut dyn Socket, answer: &impl Fn(&Request) -> Reply) {
    let mut bytes = Vec::new();
    let mut buffer = [0; 16 * 1024];
    loop {
        while let Some(request) = Request::take(&mut bytes) {
            let sent = match answer(&request) {
                Reply::Bytes(reply) => socket.write_all(&reply),
                Reply::Last(reply) => {
                    let _ = socket.write_all(&reply);
                    return;
                }
                Reply::Nothing => Ok(()),
            };
            if sent.is_err() {
                return;
            }
        }
        match socket.read(&mut buffer) {
            Ok(0) | Err(_) => return,
            Ok(read) => bytes.extend_from_slice(&buffer[..read]),
        }
    }
}
