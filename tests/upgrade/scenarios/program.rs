//! The program that takes over is the one that is at the server's path by then.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rustix::process::Pid;

use crate::clients::{address, next_data, open, token};
use crate::server::Server;
use crate::support::process::copy_binary;

/// Puts a copy of the binary at a path as package managers do: beside it first, and then in the place of the old file.
/// Returns the file's inode.
fn install(path: &Path) -> u64 {
    let new = path.with_extension("new");
    copy_binary(&new);
    fs::rename(&new, path).unwrap();
    path.metadata().unwrap().ino()
}

/// The path of a process's program, and the inode of its file, which may have no name any more.
fn program_of(pid: Pid) -> (PathBuf, u64) {
    let exe = PathBuf::from(format!("/proc/{}/exe", pid.as_raw_nonzero()));
    (exe.read_link().unwrap(), exe.metadata().unwrap().ino())
}

#[test]
fn a_program_that_was_replaced_hands_over_to_its_replacement() {
    // Binaries can run there, unlike perhaps in /tmp.
    let place = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let path = place.path().join("idlewild");
    let first = install(&path);
    let mut server = Server::start_program(&path);
    assert_eq!(program_of(server.pid()), (path.clone(), first));
    let mut stream = open(address(server.addresses, "sse"), &token("1", None, &[]), "");
    for _ in 0..2 {
        let replacement = install(&path);
        let (shown, _) = program_of(server.pid());
        assert_ne!(shown, path, "the old file has no name any more");
        server.upgrade();
        assert_eq!(program_of(server.pid()), (path.clone(), replacement));
        server.publish(r#"{"to":{"user":"1"},"data":"after"}"#);
        assert_eq!(next_data(&mut stream), "after");
    }
}
