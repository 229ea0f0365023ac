//! A connection to the admin listener. It is kept open, and opened again when it breaks.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::time::Duration;

use socket2::{Domain, Socket, Type};

/// Some of the machine's other loopback addresses belong to the clients. From the server's own address, a
/// connect to a port without a listener may get that port as its own and connect to itself. The server
/// could then not bind it again.
pub const CLIENT_ADDRESSES: [Ipv4Addr; 4] = [
    Ipv4Addr::new(127, 0, 0, 2),
    Ipv4Addr::new(127, 0, 0, 3),
    Ipv4Addr::new(127, 0, 0, 4),
    Ipv4Addr::new(127, 0, 0, 5),
];

/// Longest wait for a response. If the server was killed, the error arrives at once.
const PATIENCE: Duration = Duration::from_secs(10);

pub struct Admin {
    address: SocketAddr,
    api_key: &'static str,
    patience: Duration,
    connection: Option<TcpStream>,
}

pub struct Answer {
    pub status: u16,
    pub body: String,
}

impl Admin {
    pub fn new(address: SocketAddr, api_key: &'static str) -> Self {
        Self {
            address,
            api_key,
            patience: PATIENCE,
            connection: None,
        }
    }

    /// Waits at most this long for a response.
    pub fn with_patience(self, patience: Duration) -> Self {
        Self { patience, ..self }
    }

    /// Sends one request. After an error, the server may or may not have processed it.
    pub fn request(&mut self, method: &str, path: &str, body: &str) -> io::Result<Answer> {
        let mut connection = match self.connection.take() {
            Some(connection) => connection,
            None => self.connect()?,
        };
        let head = format!(
            "{method} {path} HTTP/1.1\r\nHost: test\r\nAuthorization: Bearer {}\r\n\
             Content-Length: {}\r\n\r\n",
            self.api_key,
            body.len()
        );
        connection.write_all(format!("{head}{body}").as_bytes())?;
        let answer = read_answer(&mut connection)?;
        self.connection = Some(connection);
        Ok(answer)
    }

    fn connect(&self) -> io::Result<TcpStream> {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
        socket.bind(&SocketAddr::from((CLIENT_ADDRESSES[0], 0)).into())?;
        socket.connect_timeout(&self.address.into(), self.patience)?;
        socket.set_read_timeout(Some(self.patience))?;
        socket.set_tcp_nodelay(true)?;
        Ok(socket.into())
    }
}

fn read_answer(connection: &mut TcpStream) -> io::Result<Answer> {
    let mut received = Vec::new();
    loop {
        if let Some(answer) = parse(&received) {
            return Ok(answer);
        }
        let mut buffer = [0; 16 * 1024];
        match connection.read(&mut buffer) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(read) => received.extend_from_slice(&buffer[..read]),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

/// A complete response; every response of the admin listener has a `Content-Length`.
fn parse(received: &[u8]) -> Option<Answer> {
    let text = std::str::from_utf8(received).ok()?;
    let (head, body) = text.split_once("\r\n\r\n")?;
    let length = head
        .lines()
        .find_map(|line| {
            let (name, value) = line.split_once(':')?;
            name.eq_ignore_ascii_case("content-length")
                .then(|| value.trim().parse::<usize>())
        })
        .expect("a Content-Length")
        .expect("a number");
    (body.len() == length).then(|| Answer {
        status: head[9..12].parse().expect("a status"),
        body: body.to_owned(),
    })
}
