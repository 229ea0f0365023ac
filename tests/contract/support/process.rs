//! The real binary, as operators run it: a configuration file, signals, an exit code.

use std::fs;
use std::io::Read;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU8, Ordering};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use super::store;
use super::transport::{self, Address};
use super::{API_KEY, PATIENCE, SECRET, Stream, eventually};

/// A running `idlewild serve`.
pub struct Process {
    child: Child,
    pub directory: TempDir,
}

/// The output and exit code of a command that has ended.
pub struct Ended {
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

/// Runs a command until it ends, in an empty directory.
pub fn idlewild(args: &[&str], env: &[(&str, &str)], stdin: &str) -> Ended {
    use std::io::Write;
    let directory = tempfile::tempdir().unwrap();
    let mut child = command()
        .current_dir(&directory)
        .args(args)
        .envs(env.iter().copied())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // A command that does not read its input may have ended already.
    let _ = child.stdin.take().unwrap().write_all(stdin.as_bytes());
    let pid = Pid::from_child(&child);
    let (ended, is_ended) = std::sync::mpsc::channel::<()>();
    // A command that serves instead of failing must not block the test.
    let watch = std::thread::spawn(move || {
        if is_ended.recv_timeout(PATIENCE) == Err(std::sync::mpsc::RecvTimeoutError::Timeout) {
            let _ = kill_process(pid, Signal::KILL);
        }
    });
    let output = child.wait_with_output().unwrap();
    drop(ended);
    watch.join().unwrap();
    Ended {
        code: output.status.code(),
        stdout: String::from_utf8(output.stdout).unwrap(),
        stderr: String::from_utf8(output.stderr).unwrap(),
    }
}

/// A token from `idlewild token`.
pub fn token_signed_with(secret: &str, user: &str) -> String {
    let ended = idlewild(
        &["token", "--user", user],
        &[("IDLEWILD_AUTH__SECRET", secret)],
        "",
    );
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    ended.stdout.trim().to_owned()
}

/// A directory with this configuration, including a listener for these tests' clients.
pub fn directory(config: &str) -> TempDir {
    let directory = tempfile::tempdir().unwrap();
    let config = transport::with_listener(config, directory.path());
    let config = store::with_store(&config);
    fs::write(directory.path().join("idlewild.toml"), config).unwrap();
    directory
}

/// The configuration that [`Process::serve`] writes: free ports, the tests' secret and key.
pub fn config(more: &str) -> String {
    format!(
        "listen = [\"127.0.0.1:0\"]\nadmin_listen = [\"127.0.0.1:0\"]\n{more}\n\
         [auth]\nsecret = \"{SECRET}\"\n[admin]\napi_key = \"{API_KEY}\"\n"
    )
}

/// Port 0 of a loopback address that nobody else binds, so that a port which was free there stays free until
/// it is bound again.
pub fn own_address() -> SocketAddr {
    static ADDRESSES: AtomicU8 = AtomicU8::new(64);
    let [.., high, low] = std::process::id().to_be_bytes();
    let nth = ADDRESSES.fetch_add(1, Ordering::Relaxed);
    SocketAddr::from(([127, nth, high, low], 0))
}

impl Process {
    /// Serves with `more` at the top of the configuration, and waits until it listens.
    pub fn serve(more: &str) -> Self {
        Self::serve_config(&config(more))
    }

    pub fn serve_config(config: &str) -> Self {
        Self::serve_with(config, &[])
    }

    /// Serves with these variables in addition to the file.
    pub fn serve_with(config: &str, env: &[(&str, &str)]) -> Self {
        let directory = directory(config);
        let mut command = command();
        command
            .arg("serve")
            .arg("--config")
            .arg(directory.path().join("idlewild.toml"))
            .envs(env.iter().copied());
        Self::start(command, directory)
    }

    /// Starts a command that serves, in `directory`, and waits until it listens; its log goes there.
    pub fn start(command: Command, directory: TempDir) -> Self {
        let current = directory.path().to_owned();
        Self::start_in(command, &current, directory)
    }

    /// The same in another directory.
    pub fn start_in(mut command: Command, current: &Path, directory: TempDir) -> Self {
        let log = fs::File::create(directory.path().join("log")).unwrap();
        let child = command.current_dir(current).stderr(log).spawn().unwrap();
        let mut process = Self { child, directory };
        eventually("the server serves", || {
            assert!(
                process.child.try_wait().unwrap().is_none(),
                "{}",
                process.log()
            );
            process.log().contains("admin listener")
        });
        process
    }

    pub fn config_file(&self) -> PathBuf {
        self.directory.path().join("idlewild.toml")
    }

    pub fn log_file(&self) -> PathBuf {
        self.directory.path().join("log")
    }

    pub fn log(&self) -> String {
        let mut log = String::new();
        let mut file = fs::File::open(self.log_file()).unwrap();
        file.read_to_string(&mut log).unwrap();
        log
    }

    /// The public address, over the transport of this test run.
    pub fn public(&self) -> Address {
        if transport::is_tls() {
            self.tls()
        } else {
            self.plain()
        }
    }

    /// The public address without TLS.
    pub fn plain(&self) -> Address {
        Address::of_plain(self.endpoint("public listener"))
    }

    pub fn admin(&self) -> SocketAddr {
        self.endpoint("admin listener")
    }

    pub fn pid(&self) -> Pid {
        Pid::from_child(&self.child)
    }

    pub fn signal(&self, signal: Signal) {
        kill_process(self.pid(), signal).unwrap();
    }

    /// The status of the process if it has ended.
    pub fn status(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().unwrap()
    }

    /// Waits until the process ends.
    pub fn wait(&mut self) -> ExitStatus {
        self.wait_with(&mut [])
    }

    /// The same, while these clients answer the server.
    pub fn wait_with(&mut self, clients: &mut [Stream]) -> ExitStatus {
        let mut status = None;
        let log = self.log_file();
        eventually(
            &format!("the server ends; its log is {}", log.display()),
            || {
                clients.iter_mut().for_each(Stream::respond);
                status = self.status();
                status.is_some()
            },
        );
        status.unwrap()
    }

    /// The public address with TLS, whatever the other clients use.
    pub fn tls(&self) -> Address {
        Address::of_tls(self.endpoint("public TLS listener"))
    }

    fn endpoint(&self, listener: &str) -> SocketAddr {
        let log = self.log();
        let line = log.lines().find(|line| line.contains(listener)).unwrap();
        // `endpoint=…` in text, `"endpoint":"…"` in JSON.
        let (_, endpoint) = line.split_once("endpoint").unwrap();
        let endpoint = endpoint.trim_start_matches(['=', '"', ':']);
        let end = endpoint.find([' ', '"']).unwrap_or(endpoint.len());
        endpoint[..end].parse().unwrap()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // In most tests, the process has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Copies the binary. Another process does that: this one would hold the copy open for writing, and so would each that
/// another test is just starting. Such a file cannot be run.
pub fn copy_binary(to: &Path) {
    let mut copy = Command::new("cp");
    copy.arg(env!("CARGO_BIN_EXE_idlewild")).arg(to);
    assert!(copy.status().unwrap().success());
}

/// The binary, without the environment variables of the test run.
pub fn command() -> Command {
    command_at(Path::new(env!("CARGO_BIN_EXE_idlewild")))
}

/// The same for a copy of the binary.
pub fn command_at(program: &Path) -> Command {
    clean(Command::new(program))
}

/// The same, with a limit on file sizes that this shell code sets. Exceeding it is an error, not a
/// signal.
pub fn limited(limit: &str) -> Command {
    let mut command = Command::new("sh");
    let code = format!("trap '' XFSZ; {limit} exec \"$0\" \"$@\"");
    command.args(["-c", &code, env!("CARGO_BIN_EXE_idlewild")]);
    clean(command)
}

fn clean(mut command: Command) -> Command {
    for (name, _) in std::env::vars_os() {
        // Variables of the server, of a supervisor, for trusted authorities, and for the key log.
        let obeyed = [
            "IDLEWILD_",
            "NOTIFY_SOCKET",
            "WATCHDOG_",
            "LISTEN_",
            "SSL_CERT_",
            "SSLKEYLOGFILE",
        ];
        let name_text = name.to_string_lossy();
        if obeyed.iter().any(|start| name_text.starts_with(start)) {
            command.env_remove(name);
        }
    }
    command
}
