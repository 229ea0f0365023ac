//! A process of the Debian packages `redis-server` and `redis-sentinel`, in a directory of its own.

use std::fs;
use std::io::ErrorKind;
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use crate::last_lines::show_if_failed;
use crate::pause::pause;
use crate::support::eventually;
use crate::support::process::own_address;

/// Ports that are tried before a start fails.
const MAX_PORTS: usize = 5;
const CONFIG: &str = "server.conf";
const LOG: &str = "server.log";

/// A server with a configuration file. It is killed when this value is dropped.
pub struct Daemon {
    program: &'static str,
    child: Child,
    directory: TempDir,
    pub address: SocketAddr,
}

impl Daemon {
    /// Starts a server with the configuration for an address and a directory, and waits until it answers.
    pub fn start(
        program: &'static str,
        config: impl Fn(SocketAddr, &Path) -> String,
        answers: impl Fn(SocketAddr, &Path) -> bool,
    ) -> Self {
        for _ in 0..MAX_PORTS {
            let directory = tempfile::tempdir().unwrap();
            let address = free_address();
            fs::write(
                directory.path().join(CONFIG),
                config(address, directory.path()),
            )
            .unwrap();
            let child = spawn(program, directory.path());
            let mut daemon = Self {
                program,
                child,
                directory,
                address,
            };
            if daemon.comes_up(&answers) {
                return daemon;
            }
            // Another process took the port first.
            let log = daemon.log();
            assert!(log.contains("Address already in use"), "{log}");
        }
        panic!("no free port in {MAX_PORTS} tries");
    }

    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// Ends the process as a crash does.
    pub fn kill(&mut self) {
        self.signal(Signal::KILL);
        self.child.wait().unwrap();
    }

    /// Ends the process in an orderly way.
    pub fn stop(&mut self) {
        self.signal(Signal::TERM);
        self.child.wait().unwrap();
    }

    /// Stops the process without ending it. The kernel still accepts connections for it.
    pub fn pause(&self) {
        pause(Pid::from_child(&self.child));
    }

    pub fn resume(&self) {
        self.signal(Signal::CONT);
    }

    /// Starts it again on the same address and directory, after it has ended.
    pub fn start_again(&mut self, answers: impl Fn(SocketAddr, &Path) -> bool) {
        assert!(self.child.try_wait().unwrap().is_some(), "it still runs");
        self.child = spawn(self.program, self.directory.path());
        assert!(self.comes_up(answers), "{} ended", self.program);
    }

    pub fn log(&self) -> String {
        fs::read_to_string(self.directory.path().join(LOG)).unwrap()
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    /// Waits until it answers; false if it ended instead.
    fn comes_up(&mut self, answers: impl Fn(SocketAddr, &Path) -> bool) -> bool {
        let mut has_ended = false;
        eventually(&format!("{} answers", self.program), || {
            has_ended = self.child.try_wait().unwrap().is_some();
            has_ended || answers(self.address, self.directory.path())
        });
        !has_ended
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // In some tests, the process has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
        let server = format!("{} {}", self.program, self.address);
        show_if_failed(&server, &self.directory.path().join(LOG));
    }
}

/// An address that nobody listens on.
fn free_address() -> SocketAddr {
    let listener = TcpListener::bind(own_address()).unwrap();
    listener.local_addr().unwrap()
}

fn spawn(program: &str, directory: &Path) -> Child {
    let log = fs::File::options()
        .create(true)
        .append(true)
        .open(directory.join(LOG))
        .unwrap();
    let spawned = Command::new(program)
        .arg(CONFIG)
        .current_dir(directory)
        .stdin(Stdio::null())
        .stdout(log)
        .stderr(Stdio::null())
        .spawn();
    match spawned {
        Ok(child) => child,
        Err(error) if error.kind() == ErrorKind::NotFound => {
            panic!("{program} is missing; it is in Debian's package {program} (scripts/setup)")
        }
        Err(error) => panic!("{program}: {error}"),
    }
}
