//! Listening sockets: one per shard and TCP address (`SO_REUSEPORT`), one per unix path.

use std::fs;
use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use socket2::{Domain, Protocol, Socket, Type};
use thiserror::Error;

use crate::config::Endpoint;

/// Connections that wait in the kernel to be accepted; it caps this at `net.core.somaxconn`.
const ACCEPT_QUEUE: i32 = 4_096;
/// Who may connect to a unix socket: the owner and the group (nginx).
const UNIX_MODE: u32 = 0o660;

/// A bound socket that listens.
#[derive(Debug)]
pub enum Listener {
    /// TCP.
    Tcp(std::net::TcpListener),
    /// A unix socket, one of several descriptors of it, and what all of those share.
    Unix(UnixListener, Arc<Shared>),
}

/// Tells the last descriptor of a shared listener from the others.
#[derive(Debug, Default)]
pub struct Shared;

/// Why an endpoint cannot be listened on.
#[derive(Debug, Error)]
#[allow(missing_docs)] // each message says it
pub enum BindError {
    #[error("{endpoint}: {source}")]
    Io {
        endpoint: Endpoint,
        source: io::Error,
    },
    #[error("{0}: another process listens there; stop it or choose another path")]
    InUse(Endpoint),
    #[error("{0}: stands in the way and is no socket; remove it or choose another path")]
    NotASocket(Endpoint),
}

/// What every connection of a listener inherits.
#[derive(Clone, Copy, Debug)]
pub struct SocketOptions {
    /// `SO_SNDBUF` in bytes; 0 leaves it to the kernel.
    pub send_buffer: usize,
    /// `TCP_USER_TIMEOUT`: how long sent bytes may stay unacknowledged.
    pub user_timeout: Duration,
}

/// Binds `endpoint` for `count` shards; the sockets share one address.
///
/// # Errors
/// [`BindError`].
pub fn bind(
    endpoint: &Endpoint,
    count: usize,
    options: SocketOptions,
) -> Result<Vec<Listener>, BindError> {
    let failed = |source| BindError::Io {
        endpoint: endpoint.clone(),
        source,
    };
    match endpoint {
        Endpoint::Tcp(address) => bind_tcp(*address, count, options).map_err(failed),
        Endpoint::Unix(path) => {
            clear_path(endpoint, path)?;
            bind_unix(path, count, options).map_err(failed)
        }
    }
}

impl Listener {
    /// Where clients find it; port 0 has become a number.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn endpoint(&self) -> io::Result<Endpoint> {
        Ok(match self {
            Self::Tcp(listener) => Endpoint::Tcp(listener.local_addr()?),
            Self::Unix(listener, _) => {
                let address = listener.local_addr()?;
                Endpoint::Unix(address.as_pathname().unwrap_or(Path::new("")).into())
            }
        })
    }
}

fn bind_tcp(
    address: SocketAddr,
    count: usize,
    options: SocketOptions,
) -> io::Result<Vec<Listener>> {
    let mut address = address;
    let mut listeners = Vec::with_capacity(count);
    for _ in 0..count {
        let socket = Socket::new(
            Domain::for_address(address),
            Type::STREAM.nonblocking(),
            Some(Protocol::TCP),
        )?;
        socket.set_reuse_address(true)?;
        // Only where shards share the address: alone, a second server on the port is an error.
        socket.set_reuse_port(count > 1)?;
        // The kernel hands these down to every accepted socket, which saves three calls each.
        socket.set_tcp_nodelay(true)?;
        socket.set_tcp_user_timeout(Some(options.user_timeout))?;
        if options.send_buffer > 0 {
            socket.set_send_buffer_size(options.send_buffer)?;
        }
        socket.bind(&address.into())?;
        socket.listen(ACCEPT_QUEUE)?;
        let listener: std::net::TcpListener = socket.into();
        // The first one finds the port where it was 0.
        address = listener.local_addr()?;
        listeners.push(Listener::Tcp(listener));
    }
    Ok(listeners)
}

/// All shards accept from one queue: unix sockets have no `SO_REUSEPORT`.
fn bind_unix(path: &Path, count: usize, options: SocketOptions) -> io::Result<Vec<Listener>> {
    let socket = Socket::new(Domain::UNIX, Type::STREAM.nonblocking(), None)?;
    if options.send_buffer > 0 {
        socket.set_send_buffer_size(options.send_buffer)?;
    }
    socket.bind(&socket2::SockAddr::unix(path)?)?;
    fs::set_permissions(path, fs::Permissions::from_mode(UNIX_MODE))?;
    socket.listen(ACCEPT_QUEUE)?;
    let shared = Arc::default();
    let first: UnixListener = std::os::fd::OwnedFd::from(socket).into();
    let mut listeners = Vec::with_capacity(count);
    for _ in 1..count {
        listeners.push(Listener::Unix(first.try_clone()?, Arc::clone(&shared)));
    }
    listeners.push(Listener::Unix(first, shared));
    Ok(listeners)
}

/// Removes a socket file that nobody listens on; leaves everything else alone.
fn clear_path(endpoint: &Endpoint, path: &Path) -> Result<(), BindError> {
    let failed = |source| BindError::Io {
        endpoint: endpoint.clone(),
        source,
    };
    let metadata = match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        other => other.map_err(failed)?,
    };
    if !metadata.file_type().is_socket() {
        return Err(BindError::NotASocket(endpoint.clone()));
    }
    match UnixStream::connect(path) {
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
            fs::remove_file(path).map_err(failed)
        }
        Ok(_) => Err(BindError::InUse(endpoint.clone())),
        Err(source) => Err(failed(source)),
    }
}
