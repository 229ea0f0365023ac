//! Listening sockets: one per shard and TCP address (`SO_REUSEPORT`), one per unix path, or those that
//! a supervisor has bound and passed.

use std::fs;
use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use socket2::{Domain, Protocol, Socket, Type};
use thiserror::Error;

use crate::config::Endpoint;

/// Length of the kernel's accept queue, which `net.core.somaxconn` limits as well.
const ACCEPT_QUEUE: i32 = 4_096;
/// The owner and the group (nginx) may connect to a unix socket.
const UNIX_MODE: u32 = 0o660;

/// A listening socket.
#[derive(Debug)]
pub struct Listener {
    pub(super) socket: Socket,
    pub(super) owner: Owner,
    pub(super) preface: Preface,
}

/// What a connection has to begin with, before any request.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Preface {
    /// A PROXY header, before anything else.
    pub proxy_header: bool,
    /// A TLS handshake.
    pub tls: bool,
}

/// Who shuts the socket down.
#[derive(Clone, Debug)]
pub(super) enum Owner {
    /// This process. All descriptors of a socket share the `Arc`; the last one shuts the socket down.
    Us(Arc<SharedSocket>),
    /// The supervisor. The socket outlives this process, and connections wait in it for the next one.
    Supervisor,
}

/// Counts the descriptors of a socket, by its `Arc`.
#[derive(Debug, Default)]
pub(super) struct SharedSocket {
    /// True once another process accepts from it.
    pub(super) is_passed_on: AtomicBool,
}

/// Why an endpoint cannot be listened on.
#[derive(Debug, Error)]
#[allow(missing_docs)] // each message says it
pub enum BindError {
    #[error("{endpoint}: {source}")]
    Io {
        endpoint: Endpoint,
        source: io::Error,
    },
    #[error("{0}: another process listens there; stop it or choose another address")]
    InUse(Endpoint),
    #[error("{0}: exists and is not a socket; remove it or choose another path")]
    NotASocket(Endpoint),
    #[error("a passed socket is not a listening stream socket (its unit needs ListenStream=)")]
    NotAListener,
    #[error("a passed socket cannot be used: {0}")]
    Passed(io::Error),
}

/// Options that every connection inherits from its listener.
#[derive(Clone, Copy, Debug)]
pub struct SocketOptions {
    /// `SO_SNDBUF` in bytes; 0 leaves it to the kernel.
    pub send_buffer: usize,
    /// `TCP_USER_TIMEOUT`: how long sent bytes may stay unacknowledged.
    pub user_timeout: Duration,
}

/// Binds `endpoint` for `count` shards.
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
        Endpoint::Tcp(address) => {
            bind_tcp(*address, count, options).map_err(|error| match error.kind() {
                io::ErrorKind::AddrInUse => BindError::InUse(endpoint.clone()),
                _ => failed(error),
            })
        }
        Endpoint::Unix(path) => {
            clear_path(endpoint, path)?;
            bind_unix(path, count, options).map_err(failed)
        }
    }
}

/// Takes over a listening socket that a supervisor has bound. The shards share its queue.
///
/// # Errors
/// [`BindError`] if it is not a listening TCP or unix socket.
pub(crate) fn adopt(
    fd: OwnedFd,
    count: usize,
    options: SocketOptions,
) -> Result<Vec<Listener>, BindError> {
    let socket = Socket::from(fd);
    let listens = socket
        .is_listener()
        .and_then(|it| Ok((it, socket.r#type()?)));
    match listens {
        Ok((true, Type::STREAM)) => {}
        Ok(_) => return Err(BindError::NotAListener),
        // Not a socket at all.
        Err(error) if error.raw_os_error() == Some(libc::ENOTSOCK) => {
            return Err(BindError::NotAListener);
        }
        Err(error) => return Err(BindError::Passed(error)),
    }
    adopt_listening(&socket, count, options).map_err(BindError::Passed)
}

impl Listener {
    /// The address for clients; port 0 has been replaced by the actual number.
    ///
    /// # Errors
    /// The kernel does not tell.
    pub fn endpoint(&self) -> io::Result<Endpoint> {
        endpoint(&self.socket)
    }

    /// Requires a PROXY header at the start of each connection.
    pub fn require_proxy_header(&mut self) {
        self.preface.proxy_header = true;
    }

    /// Requires a TLS handshake at the start of each connection.
    pub fn require_tls(&mut self) {
        self.preface.tls = true;
    }

    /// Returns true if its connections are encrypted.
    pub fn is_tls(&self) -> bool {
        self.preface.tls
    }

    fn ours(socket: Socket, shared: &Arc<SharedSocket>) -> Self {
        Self {
            socket,
            owner: Owner::Us(Arc::clone(shared)),
            preface: Preface::default(),
        }
    }
}

impl SocketOptions {
    /// Sets options on the listener, since accepted sockets inherit them. That saves calls for each.
    pub(super) fn apply(self, socket: &Socket, is_tcp: bool) -> io::Result<()> {
        if is_tcp {
            socket.set_tcp_nodelay(true)?;
            socket.set_tcp_user_timeout(Some(self.user_timeout))?;
        }
        if self.send_buffer > 0 {
            socket.set_send_buffer_size(self.send_buffer)?;
        }
        Ok(())
    }
}

/// The address of a listening socket, for clients.
pub(super) fn endpoint(socket: &Socket) -> io::Result<Endpoint> {
    let address = socket.local_addr()?;
    Ok(match address.as_socket() {
        Some(address) => Endpoint::Tcp(address),
        None => Endpoint::Unix(address.as_pathname().unwrap_or(Path::new("")).into()),
    })
}

fn adopt_listening(
    socket: &Socket,
    count: usize,
    options: SocketOptions,
) -> io::Result<Vec<Listener>> {
    let is_tcp = socket.domain()? != Domain::UNIX;
    options.apply(socket, is_tcp)?;
    socket.set_nonblocking(true)?;
    (0..count)
        .map(|_| {
            Ok(Listener {
                socket: socket.try_clone()?,
                owner: Owner::Supervisor,
                preface: Preface::default(),
            })
        })
        .collect()
}

fn bind_tcp(
    address: SocketAddr,
    count: usize,
    options: SocketOptions,
) -> io::Result<Vec<Listener>> {
    let mut address = address;
    let mut listeners = Vec::with_capacity(count);
    for number in 0..count {
        let socket = Socket::new(
            Domain::for_address(address),
            Type::STREAM.nonblocking(),
            Some(Protocol::TCP),
        )?;
        socket.set_reuse_address(true)?;
        options.apply(&socket, true)?;
        // The first socket does not share its address until it listens. So of two servers that start at the
        // same time, one fails. Sockets of past connections are no obstacle (SO_REUSEADDR).
        let is_first = number == 0;
        socket.set_reuse_port(!is_first)?;
        socket.bind(&address.into())?;
        socket.listen(ACCEPT_QUEUE)?;
        if is_first && count > 1 {
            socket.set_reuse_port(true)?;
        }
        // The first socket determines the port if it was 0.
        address = socket.local_addr()?.as_socket().unwrap_or(address);
        // Each TCP socket has its own queue in the kernel.
        listeners.push(Listener::ours(socket, &Arc::default()));
    }
    Ok(listeners)
}

/// Unix sockets have no `SO_REUSEPORT`, so all shards accept from one queue.
fn bind_unix(path: &Path, count: usize, options: SocketOptions) -> io::Result<Vec<Listener>> {
    let socket = Socket::new(Domain::UNIX, Type::STREAM.nonblocking(), None)?;
    options.apply(&socket, false)?;
    socket.bind(&socket2::SockAddr::unix(path)?)?;
    fs::set_permissions(path, fs::Permissions::from_mode(UNIX_MODE))?;
    socket.listen(ACCEPT_QUEUE)?;
    let shared = Arc::default();
    let mut listeners = Vec::with_capacity(count);
    for _ in 1..count {
        listeners.push(Listener::ours(socket.try_clone()?, &shared));
    }
    listeners.push(Listener::ours(socket, &shared));
    Ok(listeners)
}

/// Removes a socket file if no process listens on it. Leaves everything else alone.
///
/// # Errors
/// [`BindError`] if the path cannot be bound now.
pub(crate) fn clear_path(endpoint: &Endpoint, path: &Path) -> Result<(), BindError> {
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
    // A process that does not accept has a full queue. A blocking connect would wait for it.
    let connect = || {
        let socket = Socket::new(Domain::UNIX, Type::STREAM.nonblocking(), None)?;
        socket.connect(&socket2::SockAddr::unix(path)?)
    };
    match connect().map_err(|error| (error.kind(), error)) {
        Err((io::ErrorKind::ConnectionRefused, _)) => fs::remove_file(path).map_err(failed),
        Ok(()) | Err((io::ErrorKind::WouldBlock, _)) => Err(BindError::InUse(endpoint.clone())),
        Err((_, source)) => Err(failed(source)),
    }
}
