//! A client's socket.

use std::fs;
use std::io::ErrorKind;
use std::net::{SocketAddr, SocketAddrV4, TcpStream as StdStream};
use std::time::Duration;

use socket2::{SockFilter, SockRef};
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpSocket, TcpStream};

use crate::http::CLIENT_ADDRESSES;
use crate::stream::Incoming;
use crate::world::{Id, World};

/// The receive buffer of a client whose kernel accepts little.
const NARROW_BYTES: u32 = 4 * 1024;
/// Largest read.
const BUFFER: usize = 16 * 1024;

pub(super) struct Connection {
    socket: TcpStream,
    pub(super) incoming: Incoming,
    /// The number of the server.
    pub(super) server: u32,
    /// True once the first frame has arrived.
    pub(super) has_begun: bool,
    pub(super) has_stalled: bool,
}

impl Connection {
    /// Connects and requests the stream.
    pub(super) async fn open(
        world: &World,
        client: usize,
        token: &str,
        last: Option<Id>,
    ) -> std::io::Result<Self> {
        let person = &world.plan.clients[client];
        let server = world.servers.current();
        let socket = TcpSocket::new_v4()?;
        if person.is_narrow {
            // Set before connecting, so that the window is small from the start.
            socket.set_recv_buffer_size(NARROW_BYTES)?;
        }
        let address = CLIENT_ADDRESSES[client % CLIENT_ADDRESSES.len()];
        socket.bind(SocketAddr::from((address, 0)))?;
        let mut socket = socket.connect(world.public).await?;
        let request = request(person.uses_query, token, last);
        socket.write_all(request.as_bytes()).await?;
        Ok(Self {
            socket,
            incoming: Incoming::default(),
            server,
            has_begun: false,
            has_stalled: false,
        })
    }

    /// The client's address.
    pub(super) fn address(&self) -> SocketAddr {
        self.socket.local_addr().unwrap()
    }

    /// Reads once, at most `max` bytes. An error is the end of the connection. Dropping the future loses
    /// no bytes.
    pub(super) async fn read(&mut self, max: usize) -> Result<(), String> {
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
    pub(super) fn is_known_to(&self, server: SocketAddr) -> bool {
        let SocketAddr::V4(client) = self.address() else {
            return false;
        };
        let SocketAddr::V4(server) = server else {
            return false;
        };
        let ends = format!("{} {} ", in_hexadecimal(server), in_hexadecimal(client));
        fs::read_to_string("/proc/net/tcp").unwrap().contains(&ends)
    }

    /// Makes the close a reset.
    pub(super) fn reset_on_close(&self) {
        SockRef::from(&self.socket)
            .set_linger(Some(Duration::ZERO))
            .unwrap();
    }

    /// The open socket, with a filter that drops all packets.
    pub(super) fn deafen(self, filter: &[SockFilter]) -> StdStream {
        SockRef::from(&self.socket).attach_filter(filter).unwrap();
        self.socket.into_std().unwrap()
    }
}

/// An address as `/proc/net/tcp` writes it.
fn in_hexadecimal(address: SocketAddrV4) -> String {
    let ip = u32::from_ne_bytes(address.ip().octets());
    format!("{ip:08X}:{:04X}", address.port())
}

fn request(uses_query: bool, token: &str, last: Option<Id>) -> String {
    const PATH: &str = "/api/v1/auth/sse/notifications/";
    let last = last.map(|(ms, sequence)| format!("{ms}-{sequence}"));
    if uses_query {
        let last = last.map_or_else(String::new, |last| format!("&last_event_id={last}"));
        format!("GET {PATH}?token={token}{last} HTTP/1.1\r\nHost: chaos\r\n\r\n")
    } else {
        let last = last.map_or_else(String::new, |last| format!("Last-Event-ID: {last}\r\n"));
        format!("GET {PATH} HTTP/1.1\r\nHost: chaos\r\nAuthorization: Bearer {token}\r\n{last}\r\n")
    }
}
