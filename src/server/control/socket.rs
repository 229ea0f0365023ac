//! The control socket's place and rights. Its file belongs to the server's user and has mode 0600 from the moment it
//! exists. It gets its name when the socket listens, so whoever finds the name is never refused by a server that is
//! still starting.

use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, fchmod};
use serde::{Deserialize, Serialize};
use socket2::{Domain, SockAddr, Socket, Type};

use crate::config::{Config, Endpoint, control_path};
use crate::net::{BindError, clear_path};
use crate::server::ServerError;

/// The owner may connect, and root, to whom no mode applies.
const MODE: u32 = 0o600;
/// Length of the kernel's accept queue. Requests are rare, and each connection is accepted at once.
const ACCEPT_QUEUE: i32 = 16;

/// What happens if a server listens at the path.
#[derive(Clone, Copy, Debug)]
pub(crate) enum SocketClaim {
    /// It keeps its socket, and binding fails.
    IfFree,
    /// If its socket is this one, it loses the name to the new one, without a moment at which nobody listens there. Any
    /// other server keeps its socket.
    TakeOver(SocketFile),
}

/// A control socket's file, whatever name it has. No other file is the same while its server listens.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct SocketFile {
    device: u64,
    inode: u64,
}

/// A control socket's file and the name that it was given. The name can be another's by now.
#[derive(Clone, Debug)]
pub(crate) struct NamedSocket {
    pub(crate) file: SocketFile,
    pub(super) path: PathBuf,
}

/// The control socket of this process, which listens.
#[derive(Debug)]
pub(crate) struct ControlSocket {
    /// Non-blocking.
    pub(crate) listener: UnixListener,
    named: NamedSocket,
}

impl SocketFile {
    pub(super) fn at(path: &Path) -> io::Result<Self> {
        let found = fs::symlink_metadata(path)?;
        Ok(Self {
            device: found.dev(),
            inode: found.ino(),
        })
    }
}

impl ControlSocket {
    /// Its file and name, for a process that takes over from this one.
    pub(crate) fn named(&self) -> &NamedSocket {
        &self.named
    }
}

/// Binds the socket that `config` asks for. If none is configured, and the default place cannot be used, the server
/// has none: another server, or a package, may have made that directory.
///
/// # Errors
/// [`ServerError::Bind`] if the configured socket cannot be bound.
pub(crate) fn of_config(
    config: &Config,
    claim: SocketClaim,
) -> Result<Option<ControlSocket>, ServerError> {
    let Some(path) = control_path(config.control.as_deref()) else {
        return Ok(None);
    };
    match bind(&path, claim) {
        Ok(socket) => Ok(Some(socket)),
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

/// Binds the control socket at `path`, and replaces one on which nobody listens.
///
/// # Errors
/// [`BindError`]; whatever is at the path stays there.
pub(super) fn bind(path: &Path, claim: SocketClaim) -> Result<ControlSocket, BindError> {
    let endpoint = Endpoint::Unix(path.to_owned());
    let failed = |source| BindError::Io {
        endpoint: endpoint.clone(),
        source,
    };
    let takes_over = match claim {
        SocketClaim::IfFree => false,
        SocketClaim::TakeOver(old) => SocketFile::at(path).is_ok_and(|there| there == old),
    };
    if !takes_over {
        clear_path(&endpoint, path)?;
    }
    let temporary = Temporary::of(path);
    // A process with this id may have left it behind.
    clear_path(&Endpoint::Unix(temporary.0.clone()), &temporary.0)?;
    let listener = listen(&temporary.0).map_err(failed)?;
    let file = SocketFile::at(&temporary.0).map_err(failed)?;
    let named = if takes_over {
        fs::rename(&temporary.0, path)
    } else {
        // Unlike a rename, a link never replaces the socket of a server that starts at the same time.
        fs::hard_link(&temporary.0, path)
    };
    named.map_err(|error| match error.kind() {
        io::ErrorKind::AlreadyExists => BindError::InUse(endpoint.clone()),
        _ => failed(error),
    })?;
    let path = path.to_owned();
    let named = NamedSocket { file, path };
    Ok(ControlSocket { listener, named })
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
pub(super) mod tests {
    use std::os::unix::net::UnixStream;

    use rustix::net::{Shutdown, shutdown};

    use super::*;

    /// Nobody listens any more. Closing would not be enough: a process that another test starts has a copy of the socket
    /// until it executes its program.
    pub(in crate::server::control) fn abandon(listener: UnixListener) {
        shutdown(&listener, Shutdown::Both).unwrap();
        drop(listener);
    }

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
        for is_taken_over in [false, true] {
            let (directory, path) = place();
            let first = bind(&path, SocketClaim::IfFree).unwrap();
            let _second = is_taken_over
                .then(|| bind(&path, SocketClaim::TakeOver(first.named().file)).unwrap());
            let mode = fs::symlink_metadata(&path).unwrap().mode();
            assert_eq!(mode & 0o777, MODE, "{mode:o}");
            assert_eq!(names(directory.path()), ["control.sock"]);
            UnixStream::connect(&path).unwrap();
        }
    }

    #[test]
    fn a_socket_on_which_nobody_listens_is_replaced() {
        let (directory, path) = place();
        abandon(bind(&path, SocketClaim::IfFree).unwrap().listener);
        assert!(UnixStream::connect(&path).is_err());
        // A process with the same id was killed before its socket had its name.
        abandon(UnixListener::bind(Temporary::of(&path).0.clone()).unwrap());
        let _socket = bind(&path, SocketClaim::IfFree).unwrap();
        UnixStream::connect(&path).unwrap();
        assert_eq!(names(directory.path()), ["control.sock"]);
    }

    #[test]
    fn a_server_that_listens_keeps_its_socket_unless_it_is_taken_over() {
        let (directory, path) = place();
        let first = bind(&path, SocketClaim::IfFree).unwrap();
        let error = bind(&path, SocketClaim::IfFree).unwrap_err();
        assert!(matches!(error, BindError::InUse(_)), "{error}");
        let second = bind(&path, SocketClaim::TakeOver(first.named().file)).unwrap();
        // Connections, except for the probe above, are the second one's.
        first.listener.accept().unwrap();
        UnixStream::connect(&path).unwrap();
        second.listener.accept().unwrap();
        assert!(first.listener.accept().is_err());
        assert_eq!(names(directory.path()), ["control.sock"]);
    }

    #[test]
    fn no_other_server_than_the_old_one_loses_its_socket() {
        let (_directory, path) = place();
        let (_elsewhere, other_path) = place();
        let old = bind(&path, SocketClaim::IfFree).unwrap();
        let other = bind(&other_path, SocketClaim::IfFree).unwrap();
        let error = bind(&other_path, SocketClaim::TakeOver(old.named().file)).unwrap_err();
        assert!(matches!(error, BindError::InUse(_)), "{error}");
        assert_eq!(SocketFile::at(&other_path).unwrap(), other.named().file);
        // At a free path there is nobody to take over from.
        abandon(other.listener);
        let new = bind(&other_path, SocketClaim::TakeOver(old.named().file)).unwrap();
        assert_eq!(SocketFile::at(&other_path).unwrap(), new.named().file);
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
        let (_elsewhere, old_path) = place();
        let old = bind(&old_path, SocketClaim::IfFree).unwrap();
        for claim in [SocketClaim::IfFree, SocketClaim::TakeOver(old.named().file)] {
            let (directory, path) = place();
            fs::write(&path, "kept").unwrap();
            let error = bind(&path, claim).unwrap_err();
            assert!(matches!(error, BindError::NotASocket(_)), "{error}");
            assert_eq!(fs::read_to_string(&path).unwrap(), "kept");
            assert_eq!(names(directory.path()), ["control.sock"]);
        }
    }
}
