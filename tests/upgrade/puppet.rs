//! A new process that says what it should up to a certain message, and then nothing more, as if it hung there.
//!
//! It is this test program: [`program`] makes a script that runs [`puppet`] alone. Its standard input is the connection
//! to the old process. One that hangs at `entries` waits before that until it [may go on](go_on), so that there are some.

use std::fs;
use std::io::{IoSliceMut, Read, Write};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};
use serde_json::{Value, json};

use crate::support::{PATIENCE, eventually};

/// The name of the message after which it hangs.
const HANGS_AT: &str = "PUPPET_HANGS_AT";
/// The control socket. A puppet that may serve gives its name to a socket of its own before it hangs.
const CONTROL: &str = "PUPPET_CONTROL";
/// What the log says when a puppet waits for [`go_on`]. It has got a copy of the log by then.
pub const WAITS: &str = "puppet waits\n";
/// The file in the control socket's directory that lets it go on.
const GO_ON: &str = "go-on";
/// The length of a message and the number of its descriptors.
const HEADER_BYTES: usize = 8;

/// Makes a program in `directory`, where the control socket `sock` is, that hangs when it gets this message.
pub fn program(directory: &Path, hangs_at: &str) -> PathBuf {
    let path = directory.join(format!("puppet-{hangs_at}"));
    let tests = std::env::current_exe().unwrap();
    let script = format!(
        "#!/bin/sh\n{CONTROL}='{}' {HANGS_AT}={hangs_at} exec '{}' --exact puppet::puppet --ignored --nocapture >/dev/null\n",
        directory.join("sock").display(),
        tests.display()
    );
    // Another process writes it, as in `copy_binary`.
    let mut write = Command::new("sh");
    write
        .args(["-c", "printf %s \"$1\" >\"$0\" && chmod 755 \"$0\""])
        .arg(&path)
        .arg(script);
    assert!(write.status().unwrap().success());
    path
}

/// What the log says once the puppet hangs.
pub fn line(hangs_at: &str) -> String {
    format!("puppet hangs at {hangs_at}\n")
}

/// Lets a puppet in this directory go on.
pub fn go_on(directory: &Path) {
    fs::write(directory.join(GO_ON), "").unwrap();
}

/// Answers as a new process does.
#[test]
#[ignore = "other tests run it as a program"]
#[allow(clippy::print_stderr)] // it goes to the log of the server
fn puppet() {
    let Ok(hangs_at) = std::env::var(HANGS_AT) else {
        return;
    };
    let stdin = std::io::stdin().as_fd().try_clone_to_owned().unwrap();
    let mut old = UnixStream::from(stdin);
    let control = PathBuf::from(std::env::var(CONTROL).unwrap());
    // The other ends are closed when it ends, and no sooner.
    let mut descriptors = Vec::new();
    loop {
        let message = receive(&mut old, &mut descriptors);
        let name = match &message {
            Value::Object(fields) => fields.keys().next().unwrap().as_str(),
            message => message.as_str().unwrap(),
        };
        if name == hangs_at {
            break;
        }
        if name == "restore" && hangs_at == "entries" {
            eprint!("{WAITS}");
            let go_on = control.with_file_name(GO_ON);
            eventually("it may go on", || go_on.exists());
        }
        let answer = match name {
            "start" => json!({"ready": {"pid": std::process::id(), "version": "0", "shards": 1}}),
            "restore" => json!("restored"),
            "entries" => json!("taken"),
            "finish" => json!("taken_over"),
            "commit" => json!("serving"),
            _ => continue,
        };
        let answer = answer.to_string();
        let length = u32::try_from(answer.len()).unwrap();
        let header = [length.to_le_bytes(), [0; 4]].concat();
        old.write_all(&header).unwrap();
        old.write_all(answer.as_bytes()).unwrap();
    }
    let mut sockets = Vec::new();
    if hangs_at == "commit" {
        let ours = control.with_extension("puppet");
        sockets.push(UnixListener::bind(&ours).unwrap());
        fs::rename(&ours, &control).unwrap();
    }
    eprint!("{}", line(&hangs_at));
    // It is killed, unless the test was killed before.
    std::thread::sleep(2 * PATIENCE);
}

/// Receives a message. Its descriptors come with its first bytes.
fn receive(old: &mut UnixStream, descriptors: &mut Vec<OwnedFd>) -> Value {
    let mut header = [0; HEADER_BYTES];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(128))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let mut parts = [IoSliceMut::new(&mut header)];
    let received = recvmsg(&*old, &mut parts, &mut control, RecvFlags::WAITALL).unwrap();
    assert_eq!(received.bytes, HEADER_BYTES, "the old process is gone");
    for message in control.drain() {
        if let RecvAncillaryMessage::ScmRights(some) = message {
            descriptors.extend(some);
        }
    }
    let length = u32::from_le_bytes(header[..4].try_into().unwrap());
    let mut bytes = vec![0; usize::try_from(length).unwrap()];
    old.read_exact(&mut bytes).unwrap();
    serde_json::from_slice(&bytes).unwrap()
}
