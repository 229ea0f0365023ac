//! Starts the new process. Its end of the private connection is its standard input: so no other process inherits it,
//! and it has no name that another process could open.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};

use rustix::net::AddressFamily;
use rustix::net::sockopt::socket_domain;

use super::error::HandoverError;

/// The variable that tells the new process that it continues this one. Its value is this process's id, so that it
/// means nothing to processes that inherit it later. It does not begin with `IDLEWILD_`: it is no configuration.
const VARIABLE: &str = "UPGRADED_FROM_PID";
/// The id of the process with which its namespace ends (pid_namespaces(7)).
const FIRST_OF_CONTAINER: u32 = 1;
/// Variables that concern the old process only (sd_listen_fds(3), sd_watchdog_enabled(3)).
const OF_OLD: [&str; 4] = ["LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES", "WATCHDOG_PID"];

/// The program that this process runs, by the path that it had at the start: another version may be there by now.
#[derive(Clone, Debug)]
pub(in crate::server) struct Program(PathBuf);

impl Program {
    /// Called at the start.
    ///
    /// # Errors
    /// The kernel does not tell the path.
    pub(in crate::server) fn of_this_process() -> io::Result<Self> {
        std::env::current_exe().map(Self)
    }

    pub(super) fn path(&self) -> &Path {
        &self.0
    }
}

/// Starts a program with this process's arguments. Returns this process's end of the connection.
///
/// # Errors
/// The program cannot be started; or this process is the first of its container. The kernel ends the container together
/// with that process, and so the new one with all clients.
pub(super) fn start(program: &Path) -> Result<(Child, UnixStream), HandoverError> {
    let failed = |source| HandoverError::Start {
        program: program.to_owned(),
        source,
    };
    if std::process::id() == FIRST_OF_CONTAINER {
        return Err(HandoverError::FirstOfContainer);
    }
    let (ours, theirs) = UnixStream::pair().map_err(failed)?;
    let mut arguments = std::env::args_os();
    let mut command = Command::new(program);
    if let Some(name) = arguments.next() {
        command.arg0(name);
    }
    command
        .args(arguments)
        .stdin(OwnedFd::from(theirs))
        .env(VARIABLE, std::process::id().to_string());
    for variable in OF_OLD {
        command.env_remove(variable);
    }
    let child = command.spawn().map_err(failed)?;
    Ok((child, ours))
}

/// The connection to the old process, if this one was started by it. Called once, before any file is opened.
///
/// # Errors
/// The standard input is not the connection.
pub(super) fn connection_to_old() -> io::Result<Option<UnixStream>> {
    let Ok(old) = std::env::var(VARIABLE) else {
        return Ok(None);
    };
    let stdin = io::stdin().as_fd().try_clone_to_owned()?;
    if old != std::os::unix::process::parent_id().to_string() {
        if socket_domain(&stdin).is_ok_and(|domain| domain == AddressFamily::UNIX) {
            return Err(io::Error::other("the old process has ended"));
        }
        // Inherited by way of another program.
        return Ok(None);
    }
    let nothing = std::fs::File::open("/dev/null")?;
    // Nobody else reads the connection.
    rustix::stdio::dup2_stdin(&nothing)?;
    let stream = UnixStream::from(stdin);
    // Another descriptor would fail here.
    stream.peer_addr()?;
    Ok(Some(stream))
}
