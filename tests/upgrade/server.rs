//! A server, whatever process it is at the moment.

use std::fs;
use std::io::Write;
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use crate::clients::TRANSPORTS;
use crate::support::process::{Process, command, command_at, config};
use crate::support::{API_KEY, Answer, eventually, request, transport};

/// For an upgrade with a short `upgrade_timeout`.
const MOST_ATTEMPTS: usize = 10;

/// The public addresses, and how streams use them.
#[derive(Clone, Copy, Debug)]
pub struct Addresses {
    pub plain: SocketAddr,
    pub tls: SocketAddr,
}

pub struct Server {
    first: Process,
    /// The processes that were started by an upgrade.
    later: Vec<Pid>,
    pub addresses: Addresses,
    pub admin: SocketAddr,
    /// Upgrades that have failed.
    pub failed: usize,
}

impl Server {
    /// Starts with `more` at the top of the configuration.
    pub fn start(more: &str) -> Self {
        Self::start_config(command(), &config(&with_limits(more)))
    }

    /// Starts a copy of the binary.
    pub fn start_program(program: &Path) -> Self {
        Self::start_config(command_at(program), &config(&with_limits("")))
    }

    /// Starts with a section at the end of the configuration.
    pub fn start_with_section(section: &str) -> Self {
        let config = format!("{}{section}", config(&with_limits("")));
        Self::start_config(command(), &config)
    }

    /// Starts with more lines in the section `[auth]`.
    pub fn start_with_auth(lines: &str) -> Self {
        let auth = format!("[auth]\n{lines}");
        let config = config(&with_limits("")).replace("[auth]\n", &auth);
        Self::start_config(command(), &config)
    }

    fn start_config(mut command: Command, config: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let config = format!("{config}[compression]\nenabled = true\n");
        let file = transport::with_tls_listener(&config, directory.path());
        fs::write(directory.path().join("idlewild.toml"), file).unwrap();
        command
            .arg("serve")
            .arg("--config")
            .arg(directory.path().join("idlewild.toml"));
        let first = Process::start(command, directory);
        Self {
            addresses: Addresses {
                plain: first.plain().tcp,
                tls: first.tls().tcp,
            },
            admin: first.admin(),
            first,
            later: Vec::new(),
            failed: 0,
        }
    }

    /// The process that serves.
    pub fn pid(&self) -> Pid {
        self.later.last().copied().unwrap_or(self.first.pid())
    }

    /// Asks for an upgrade, and returns when the new process serves and the old one has ended.
    pub fn upgrade(&mut self) {
        let old = self.pid();
        self.begin_upgrade();
        let new = self.wait_for_successor();
        self.later.push(new);
        self.wait_for_end(old);
    }

    /// Asks for an upgrade.
    pub fn begin_upgrade(&self) {
        kill_process(self.pid(), Signal::USR2).unwrap();
    }

    /// A request to the admin side without its end. An upgrade waits a moment for it.
    pub fn unfinished_request(&self) -> TcpStream {
        let mut request = TcpStream::connect(self.admin).unwrap();
        let head = format!(
            "POST /v1/events HTTP/1.1\r\nHost: test\r\nAuthorization: Bearer {API_KEY}\r\n\
             Content-Length: 100\r\n\r\n"
        );
        request.write_all(head.as_bytes()).unwrap();
        request
    }

    /// Asks for an upgrade, again if `upgrade_timeout` was too short for the new process to be ready. Returns the
    /// process that was ready last, even if the outcome is open.
    fn begin_until_ready(&mut self) -> Pid {
        let before = self.newest();
        for _ in 0..MOST_ATTEMPTS {
            self.begin_upgrade();
            let failed = || self.log().matches("not upgraded").count();
            eventually("the new process is ready, or late", || {
                self.newest() != before || failed() > self.failed
            });
            if self.newest() != before {
                return self.newest().unwrap();
            }
            assert!(self.log().contains("within upgrade_timeout"));
            self.failed = failed();
        }
        panic!("the new process was never ready in time");
    }

    /// Upgrades, again if `upgrade_timeout` was too short.
    pub fn upgrade_in_time(&mut self) {
        let old = self.pid();
        for _ in 0..MOST_ATTEMPTS {
            let new = self.begin_until_ready();
            if self.has_taken_over() {
                self.later.push(new);
                self.wait_for_end(old);
                return;
            }
            self.failed = self.log().matches("not upgraded").count();
        }
        panic!("no upgrade was done in time");
    }

    /// Waits for the outcome of an upgrade; true if it was done.
    fn has_taken_over(&self) -> bool {
        let has_taken_over = || self.log().matches(" upgraded pid=").count() > self.later.len();
        eventually("the upgrade ends in one way or the other", || {
            has_taken_over() || self.log().matches("not upgraded").count() > self.failed
        });
        has_taken_over()
    }

    /// Asks for an upgrade, sends a signal to the new process that long after it is ready, and waits for the outcome.
    /// Returns the new process, and whether it has taken over.
    pub fn upgrade_with_signal(&mut self, after: Duration, signal: Signal) -> (Pid, bool) {
        let new = self.begin_until_ready();
        // The test has no business with the exact moment, only with many of them.
        std::thread::sleep(after);
        // A short `upgrade_timeout` may be over.
        let _ = kill_process(new, signal);
        (new, self.has_taken_over())
    }

    /// Waits until a new process has taken over, and returns it.
    pub fn wait_for_successor(&mut self) -> Pid {
        let done = self.later.len() + 1;
        eventually("the new process takes over", || {
            self.reap();
            let log = self.log();
            assert!(log.matches("not upgraded").count() <= self.failed, "{log}");
            log.matches(" upgraded pid=").count() == done
        });
        let log = self.log();
        let line = log.lines().rfind(|line| line.contains(" upgraded pid="));
        pid_in(line.unwrap(), "pid=")
    }

    /// The process that was started last, even if it does not serve yet.
    pub fn newest(&self) -> Option<Pid> {
        let log = self.log();
        let line = log
            .lines()
            .rfind(|line| line.contains("is ready to take"))?;
        Some(pid_in(line, "process "))
    }

    /// Counts `new` as the process that serves.
    pub fn follow(&mut self, new: Pid) {
        self.later.push(new);
    }

    /// Waits until a process has ended.
    pub fn wait_for_end(&mut self, pid: Pid) {
        eventually("the process ends", || {
            self.reap();
            !is_running(pid)
        });
    }

    pub fn reap(&mut self) {
        self.first.status();
    }

    /// The log of all processes.
    pub fn log(&self) -> String {
        self.first.log()
    }

    /// Changes the configuration of the next process.
    #[track_caller]
    pub fn reconfigure(&self, before: &str, after: &str) {
        let file = fs::read_to_string(self.config_file()).unwrap();
        assert!(file.contains(before), "{file}");
        fs::write(self.config_file(), file.replace(before, after)).unwrap();
    }

    pub fn config_file(&self) -> PathBuf {
        self.first.config_file()
    }

    /// A request to the admin side, on a connection of its own.
    pub fn admin(&self, method: &str, path: &str, body: &str) -> Answer {
        let key = format!("Bearer {API_KEY}");
        let headers = [("Authorization", key.as_str())];
        request(self.admin, method, path, &headers, body)
    }

    /// Publishes an event and returns its id.
    #[track_caller]
    pub fn publish(&self, event: &str) -> String {
        let answer = self.admin("POST", "/v1/events", event);
        assert_eq!(answer.status, 202, "{}", answer.body);
        answer.json()["id"].as_str().unwrap().to_owned()
    }

    /// The number of the user's streams.
    pub fn connections(&self, user: &str) -> usize {
        let answer = self.admin("GET", &format!("/v1/users/{user}"), "");
        answer.json()["connections"].as_array().unwrap().len()
    }
}

impl Drop for Server {
    #[allow(clippy::print_stderr)] // for whoever looks at a test that has failed
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("{}", self.log());
        }
        // A test that fails may not have followed the last one. Most have ended.
        let newest = self.newest();
        for pid in self.later.iter().copied().chain(newest) {
            let _ = kill_process(pid, Signal::KILL);
        }
    }
}

/// Adds limits, unless `more` has them. A user may have two streams over each transport: one that is about to be noticed
/// as gone, and its successor. A client that reads late or asks slowly is not cut off, because a busy machine takes
/// its time.
fn with_limits(more: &str) -> String {
    let limits = [
        (
            "max_connections_per_user",
            (2 * TRANSPORTS.len()).to_string(),
        ),
        ("stall_timeout", "\"24h\"".to_owned()),
        ("handshake_timeout", "\"10m\"".to_owned()),
    ];
    let missing = limits.iter().filter(|(name, _)| !more.contains(name));
    let lines: Vec<String> = missing
        .map(|(name, value)| format!("{name} = {value}\n"))
        .collect();
    lines.concat() + more
}

/// Returns true if the process exists and is no zombie. The first thread of a process that was killed may be one while
/// the others still have its files.
pub fn is_running(pid: Pid) -> bool {
    let path = format!("/proc/{}", pid.as_raw_nonzero());
    let stat = fs::read_to_string(format!("{path}/stat")).unwrap_or_default();
    let state = stat.rsplit_once(')').map(|(_, rest)| rest.trim_start());
    let threads = fs::read_dir(format!("{path}/task")).map_or(0, Iterator::count);
    threads > 1 || state.is_some_and(|state| !state.starts_with(['Z', 'X']))
}

fn pid_in(line: &str, before: &str) -> Pid {
    let (_, rest) = line.split_once(before).unwrap();
    let end = rest.find(|c: char| !c.is_ascii_digit());
    let number = rest[..end.unwrap_or(rest.len())].parse().unwrap();
    Pid::from_raw(number).unwrap()
}
