//! A client's socket.

use std::io::ErrorKind;
use std::net::{Ipv4Addr, SocketAddr, TcpStream as StdStream};
use std::time::Duration;

use socket2::{SockFilter, SockRef};
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpSocket, TcpStream};

use super::book::Id;
use super::kernel::has_connection;
use super::stream::Incoming;

/// The receive buffer of a client whose kernel accepts little.
const NARROW_BYTES: u32 = 4 * 1024;
/// Largest read.
const BUFFER: usize = 16 * 1024;

/// How a client connects.
pub struct Dialing<'a> {
    pub server: SocketAddr,
    pub from: Ipv4Addr,
    pub token: &'a str,
    pub last: Option<Id>,
    /// Its kernel accepts only a few kilobytes, so the server soon notices when it stops reading.
    pub is_narrow: bool,
    /// Sends credential and last id in the query instead of the header.
    pub uses_query: bool,
}

pub struct Connection {
    socket: TcpStream,
    pub incoming: Incoming,
    /// True once the first frame has arrived.
    pub has_begun: bool,
}

impl Connection {
    /// Connects and requests the stream.
    pub async fn open(dialing: &Dialing<'_>) -> std::io::Result<Self> {
        let socket = TcpSocket::new_v4()?;
        if dialing.is_narrow {
            // Set before connecting, so that the window is small from the start.
            socket.set_recv_buffer_size(NARROW_BYTES)?;
        }
        socket.bind(SocketAddr::from((dialing.from, 0)))?;
        let mut socket = socket.connect(dialing.server).await?;
        socket.write_all(dialing.request().as_bytes()).await?;
        Ok(Self {
            socket,
            incoming: Incoming::default(),
            has_begun: false,
        })
    }

    /// The client's address.
    pub fn address(&self) -> SocketAddr {
        self.socket.local_addr().unwrap()
    }

    /// Reads once, at most `max` bytes. An error is the end of the connection. Dropping the future loses
    /// no bytes.
    pub async fn read(&mut self, max: usize) -> Result<(), String> {
        loop {
            self.socket.readable().await.map_err(|e| e.to_string())?;
            match self.try_read(max) {
                Ok(0) => return Err("closed".to_owned()),
                Ok(_) => return Ok(()),
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(error) => return Err(error.to_string()),
            }
        }
    }

    /// Separate, so that a waiting client does not hold the buffer.
    fn try_read(&mut self, max: usize) -> std::io::Result<usize> {
        let mut buffer = [0; BUFFER];
        let read = self.socket.try_read(&mut buffer[..max])?;
        self.incoming.push(&buffer[..read]);
        Ok(read)
    }

    /// Returns true if the kernel still has the server's end of the connection.
    pub fn is_known_to(&self, server: SocketAddr) -> bool {
        has_connection(server, self.address())
    }

    /// Makes the close a reset.
    pub fn reset_on_close(&self) {
        SockRef::from(&self.socket)
            .set_linger(Some(Duration::ZERO))
            .unwrap();
    }

    /// The open socket, with a filter that drops all packets.
    pub fn deafen(self, filter: &[SockFilter]) -> StdStream {
        SockRef::from(&self.socket).attach_filter(filter).unwrap();
        self.socket.into_std().unwrap()
    }
}

impl Dialing<'_> {
    fn request(&self) -> String {
        const PATH: &str = "/api/v1/auth/sse/notifications/";
        let token = self.token;
        let last = self.last.map(|(ms, sequence)| format!("{ms}-{sequence}"));
        if self.uses_query {
            let last = last.map_or_else(String::new, |last| format!("&last_event_id={last}"));
            format!("GET {PATH}?token={token}{last} HTTP/1.1\r\nHost: test\r\n\r\n")
        } else {
            let last = last.map_or_else(String::new, |last| format!("Last-Event-ID: {last}\r\n"));
            format!(
                "GET {PATH} HTTP/1.1\r\nHost: test\r\nAuthorization: Bearer {token}\r\n{last}\r\n"
            )
        }
    }
}
