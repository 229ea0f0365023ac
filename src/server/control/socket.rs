//! The control socket's place and rights. Its file belongs to the server's user and has mode 0600 from the moment it
//! exists. It gets its name when the socket listens, so whoever finds the name is never refused by a server that is
//! still starting.

use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, fchmod};
use socket2::{Domain, SockAddr, Socket, Type};

use crate::config::{Config, Endpoint, control_path};
use crate::net::{BindError, clear_path};
use crate::server::ServerError;

/// The owner may connect, and root, to whom no mode applies.
const MODE: u32 = 0o600;
/// Length of the kernel's accept queue. Requests are rare, and each connection is accepted at once.
const ACCEPT_QUEUE: i32 = 16;

/// What happens if another server listens at the path.
#[derive(Clone, Copy, Debug)]
pub(crate) enum SocketClaim {
    /// It keeps its socket, and binding fails.
    IfFree,
    /// Its socket loses the name to the new one, without a moment at which nobody listens there.
    TakeOver,
}

/// Binds the socket that `config` asks for. If none is configured, and the default place cannot be used, the server
/// has none: another server, or a package, may have made that directory.
///
/// # Errors
/// [`ServerError::Bind`] if the configured socket cannot be bound.
pub(crate) fn of_config(
    config: &Config,
    claim: SocketClaim,
) -> Result<Option<UnixListener>, ServerError> {
    let Some(path) = control_path(config.control.as_deref()) else {
        return Ok(None);
    };
    match bind(&path, claim) {
        Ok(listener) => Ok(Some(listener)),
        Err(error) if config.control.is_none() => {
            tracing::warn!(%error, "no control socket, so `idlewild upgrade` cannot be used; set `control` to another path");
            Ok(None)
        }
        Err(source) => Err(ServerError::Bind {
            key: "control",
            source,
        }),
    }
}

/// Binds the control socket at `path`, and replaces one on which nobody listens. The socket is non-blocking.
///
/// # Errors
/// [`BindError`]; whatever is at the path stays there.
fn bind(path: &Path, claim: SocketClaim) -> Result<UnixListener, BindError> {
    let endpoint = Endpoint::Unix(path.to_owned());
    let failed = |source| BindError::Io {
        endpoint: endpoint.clone(),
        source,
    };
    match claim {
        SocketClaim::IfFree => clear_path(&endpoint, path)?,
        SocketClaim::TakeOver if is_other_file(path) => {
            return Err(BindError::NotASocket(endpoint.clone()));
        }
        SocketClaim::TakeOver => {}
    }
    let temporary = Temporary::of(path);
    // A process with this id may have left it behind.
    clear_path(&Endpoint::Unix(temporary.0.clone()), &temporary.0)?;
    let listener = listen(&temporary.0).map_err(failed)?;
    let named = match claim {
        // Unlike a rename, a link never replaces the socket of a server that starts at the same time.
        SocketClaim::IfFree => fs::hard_link(&temporary.0, path),
        SocketClaim::TakeOver => fs::rename(&temporary.0, path),
    };
    named.map_err(|error| match error.kind() {
        io::ErrorKind::AlreadyExists => BindError::InUse(endpoint.clone()),
        _ => failed(error),
    })?;
    Ok(listener)
}

fn is_other_file(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok_and(|found| !found.file_type().is_socket())
}

fn listen(path: &Path) -> io::Result<UnixListener> {
    let socket = bound(path)?;
    // In case the umask takes the owner's rights away. Until the socket listens, nobody can connect.
    fs::set_permissions(path, fs::Permissions::from_mode(MODE))?;
    socket.listen(ACCEPT_QUEUE)?;
    Ok(UnixListener::from(OwnedFd::from(socket)))
}

/// A socket whose file gives nobody more rights than [`MODE`].
fn bound(path: &Path) -> io::Result<Socket> {
    let socket = Socket::new(Domain::UNIX, Type::STREAM.nonblocking(), None)?;
    // `bind` gives the file the socket's own mode, less the umask. No manual page says so, hence the test below.
    fchmod(&socket, Mode::from_raw_mode(MODE))?;
    socket.bind(&SockAddr::unix(path)?)?;
    Ok(socket)
}

/// The socket's name until it listens. Removed when dropped.
struct Temporary(PathBuf);

impl Temporary {
    /// The configuration leaves room for this ending (`config::control`).
    fn of(path: &Path) -> Self {
        let mut name = path.as_os_str().to_owned();
        name.push(format!(".{}", std::process::id()));
        Self(name.into())
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        // After a rename there is nothing to remove.
        let _ = fs::remove_file(&self.0);
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt;
    use std::os::unix::net::UnixStream;

    use super::*;

    /// The path of a socket in a new directory.
    fn place() -> (tempfile::TempDir, PathBuf) {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("control.sock");
        (directory, path)
    }

    /// The names in a directory.
    fn names(directory: &Path) -> Vec<String> {
        let entries = fs::read_dir(directory).unwrap();
        let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        names.collect()
    }

    #[test]
    fn nobody_else_has_rights_on_the_file_at_any_moment() {
        let (_directory, path) = place();
        let _socket = bound(&path).unwrap();
        let mode = fs::symlink_metadata(&path).unwrap().mode();
        assert_eq!(mode & 0o777 & !MODE, 0, "{mode:o}");
    }

    #[test]
    fn only_the_owner_may_connect_and_no_other_name_is_left() {
        for claim in [SocketClaim::IfFree, SocketClaim::TakeOver] {
            let (directory, path) = place();
            let _listener = bind(&path, claim).unwrap();
            let mode = fs::symlink_metadata(&path).unwrap().mode();
            assert_eq!(mode & 0o777, MODE, "{mode:o}");
            assert_eq!(names(directory.path()), ["control.sock"]);
            UnixStream::connect(&path).unwrap();
        }
    }

    #[test]
    fn a_socket_on_which_nobody_listens_is_replaced() {
        let (directory, path) = place();
        drop(bind(&path, SocketClaim::IfFree).unwrap());
        assert!(UnixStream::connect(&path).is_err());
        // A process with the same id was killed before its socket had its name.
        drop(UnixListener::bind(Temporary::of(&path).0.clone()).unwrap());
        let _listener = bind(&path, SocketClaim::IfFree).unwrap();
        UnixStream::connect(&path).unwrap();
        assert_eq!(names(directory.path()), ["control.sock"]);
    }

    #[test]
    fn a_server_that_listens_keeps_its_socket_unless_it_is_taken_over() {
        let (directory, path) = place();
        let first = bind(&path, SocketClaim::IfFree).unwrap();
        let error = bind(&path, SocketClaim::IfFree).unwrap_err();
        assert!(matches!(error, BindError::InUse(_)), "{error}");
        let second = bind(&path, SocketClaim::TakeOver).unwrap();
        // Connections, except for the probe above, are the second one's.
        first.accept().unwrap();
        UnixStream::connect(&path).unwrap();
        second.accept().unwrap();
        assert!(first.accept().is_err());
        assert_eq!(names(directory.path()), ["control.sock"]);
    }

    #[test]
    fn a_server_that_does_not_accept_is_not_waited_for() {
        let (_directory, path) = place();
        let _first = bind(&path, SocketClaim::IfFree).unwrap();
        let connect = || {
            let socket = Socket::new(Domain::UNIX, Type::STREAM.nonblocking(), None).unwrap();
            let connected = socket.connect(&SockAddr::unix(&path).unwrap());
            connected.map(|()| socket)
        };
        let waiting: Vec<_> = std::iter::from_fn(|| connect().ok()).collect();
        assert!(waiting.len() > 1);
        let error = bind(&path, SocketClaim::IfFree).unwrap_err();
        assert!(matches!(error, BindError::InUse(_)), "{error}");
    }

    #[test]
    fn a_file_that_is_not_a_socket_stays() {
        for claim in [SocketClaim::IfFree, SocketClaim::TakeOver] {
            let (directory, path) = place();
            fs::write(&path, "kept").unwrap();
            let error = bind(&path, claim).unwrap_err();
            assert!(matches!(error, BindError::NotASocket(_)), "{error}");
            assert_eq!(fs::read_to_string(&path).unwrap(), "kept");
            assert_eq!(names(directory.path()), ["control.sock"]);
        }
    }
}
