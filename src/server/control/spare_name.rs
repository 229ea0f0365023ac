//! A second name of the control socket during an upgrade. The new process gives the first one to its own socket before it
//! serves; if it ends without having served, the old process's socket needs it again.

use std::fs;
use std::io;
use std::path::PathBuf;

use super::socket::{NamedSocket, SocketFile};
use crate::config::Endpoint;
use crate::net::{BindError, clear_path};

/// Ends the spare name. The configuration leaves room for more (`config::control`).
const ENDING: &str = ".old";

/// Another name of a control socket. Removed when dropped.
#[derive(Debug)]
pub(crate) struct SpareName {
    spare: PathBuf,
    socket: NamedSocket,
}

impl SpareName {
    /// Gives a socket another name. `None` if its own name is another's by now.
    ///
    /// # Errors
    /// An error of the file system.
    pub(crate) fn of(socket: &NamedSocket) -> io::Result<Option<Self>> {
        if !SocketFile::at(&socket.path).is_ok_and(|there| there == socket.file) {
            return Ok(None);
        }
        let mut name = socket.path.as_os_str().to_owned();
        name.push(ENDING);
        let spare = PathBuf::from(name);
        // A process that was killed may have left it behind.
        let _ = fs::remove_file(&spare);
        fs::hard_link(&socket.path, &spare)?;
        Ok(Some(Self {
            spare,
            socket: socket.clone(),
        }))
    }

    /// Gives the socket its first name back, unless it still has it, or somebody listens at another one that has it.
    ///
    /// # Errors
    /// [`BindError`]
    pub(crate) fn restore(self) -> Result<(), BindError> {
        let path = &self.socket.path;
        if SocketFile::at(path).is_ok_and(|there| there == self.socket.file) {
            return Ok(());
        }
        let endpoint = Endpoint::Unix(path.clone());
        clear_path(&endpoint, path)?;
        fs::hard_link(&self.spare, path).map_err(|source| BindError::Io { endpoint, source })
    }
}

impl Drop for SpareName {
    fn drop(&mut self) {
        // Nobody depends on whether it is gone.
        let _ = fs::remove_file(&self.spare);
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::{UnixListener, UnixStream};

    use super::super::socket::tests::abandon;
    use super::super::socket::{SocketClaim, bind};
    use super::*;

    #[test]
    fn a_socket_gets_its_name_back_from_one_that_nobody_serves() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("control.sock");
        let ours = bind(&path, SocketClaim::IfFree).unwrap();
        let spare = SpareName::of(ours.named()).unwrap().unwrap();
        let theirs = bind(&path, SocketClaim::TakeOver(ours.named().file)).unwrap();
        abandon(theirs.listener);
        UnixStream::connect(&path).unwrap_err();
        assert!(SpareName::of(ours.named()).unwrap().is_none());
        spare.restore().unwrap();
        UnixStream::connect(&path).unwrap();
        let entries = fs::read_dir(directory.path()).unwrap();
        assert_eq!(entries.count(), 1, "only the socket itself is left");
    }

    #[test]
    fn a_socket_that_another_server_listens_on_keeps_its_name() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("control.sock");
        let ours = bind(&path, SocketClaim::IfFree).unwrap();
        let spare = SpareName::of(ours.named()).unwrap().unwrap();
        fs::remove_file(&path).unwrap();
        let another = UnixListener::bind(&path).unwrap();
        spare.restore().unwrap_err();
        UnixStream::connect(&path).unwrap();
        another.accept().unwrap();
    }

    #[test]
    fn a_name_that_was_never_lost_stays() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("control.sock");
        let ours = bind(&path, SocketClaim::IfFree).unwrap();
        SpareName::of(ours.named())
            .unwrap()
            .unwrap()
            .restore()
            .unwrap();
        UnixStream::connect(&path).unwrap();
    }
}
