//! A node: the real binary with one shard, on the same two addresses at every start.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tempfile::TempDir;

use crate::last_lines::show_if_failed;
use crate::pause::pause;
use crate::support::process::{Process, command, own_address};
use crate::support::{API_KEY, Answer, SECRET, eventually, request};

/// Where Debian installs libfaketime, by architecture.
const FAKETIME: [&str; 2] = [
    "/usr/lib/x86_64-linux-gnu/faketime/libfaketimeMT.so.1",
    "/usr/lib/aarch64-linux-gnu/faketime/libfaketimeMT.so.1",
];

/// How a node is configured.
#[derive(Clone, Debug)]
pub struct Settings {
    top: String,
    engine: String,
    /// The limit on streams per user.
    limit: usize,
    heartbeat: &'static str,
    /// How far the node's clock is ahead of the machine's, in seconds.
    ahead_s: i32,
}

pub struct Node {
    /// `None` while it does not run.
    process: Option<Process>,
    /// The process that has taken over from it. The node can be killed or stopped only before that.
    later: Option<Pid>,
    /// Where the log of the last upgrade begins, in bytes.
    log_from: usize,
    directory: TempDir,
    ahead_s: i32,
    pub public: SocketAddr,
    pub admin: SocketAddr,
}

impl Settings {
    /// A node that keeps its events itself.
    pub fn memory() -> Self {
        Self {
            top: String::new(),
            engine: String::new(),
            // Enough that clients hop without being refused.
            limit: 100,
            // Short, so that clients notice soon when a node is stuck.
            heartbeat: "1s",
            ahead_s: 0,
        }
    }

    /// A node on Redis.
    pub fn redis(url: &str) -> Self {
        Self::memory()
            .engine("kind = \"redis\"")
            .engine(&format!("url = \"{url}\""))
    }

    /// A line of the table `[engine]`.
    pub fn engine(mut self, line: &str) -> Self {
        self.engine += line;
        self.engine.push('\n');
        self
    }

    /// A line before all tables.
    pub fn top(mut self, line: &str) -> Self {
        self.top += line;
        self.top.push('\n');
        self
    }

    /// The limit on streams per user.
    pub fn limit(mut self, limit: usize) -> Self {
        self.limit = limit;
        self
    }

    /// The time between heartbeats of a quiet stream.
    pub fn heartbeat(mut self, heartbeat: &'static str) -> Self {
        self.heartbeat = heartbeat;
        self
    }

    /// A clock that is this many seconds ahead of the machine's.
    pub fn clock_ahead(mut self, seconds: i32) -> Self {
        self.ahead_s = seconds;
        self
    }

    /// Short times, so that clients hop quickly.
    fn config(&self, public: SocketAddr, admin: SocketAddr) -> String {
        let Self {
            top,
            engine,
            limit,
            heartbeat,
            ..
        } = self;
        format!(
            r#"
listen = ["{public}"]
admin_listen = ["{admin}"]
shards = 1
max_connections_per_user = {limit}
heartbeat = "{heartbeat}"
retry_min = "100ms"
retry_max = "300ms"
{top}
[auth]
secret = "{SECRET}"

[admin]
api_key = "{API_KEY}"

[engine]
{engine}
"#
        )
    }
}

impl Node {
    /// Starts a node and waits until it listens. It may not be ready.
    pub fn start(settings: &Settings) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let (public, admin) = (own_address(), own_address());
        let mut node = Self {
            process: None,
            later: None,
            log_from: 0,
            directory,
            ahead_s: settings.ahead_s,
            public,
            admin,
        };
        node.configure(settings);
        node.start_again();
        node.public = node.process().plain().tcp;
        node.admin = node.process().admin();
        node.configure(settings);
        node
    }

    /// Starts several nodes with the same settings, and waits until all are ready.
    pub fn start_ready(number: usize, settings: &Settings) -> Vec<Self> {
        let nodes: Vec<Self> = (0..number).map(|_| Self::start(settings)).collect();
        nodes.iter().for_each(Self::wait_until_ready);
        nodes
    }

    /// What `idlewild check --engine` says of its configuration.
    pub fn check_engine(&self) -> String {
        let output = command()
            .args(["check", "--engine", "--config"])
            .arg(self.directory.path().join("idlewild.toml"))
            .output()
            .unwrap();
        let all = [output.stdout, output.stderr].concat();
        String::from_utf8(all).unwrap()
    }

    /// Changes the configuration, for its next start.
    pub fn configure(&self, settings: &Settings) {
        let config = settings.config(self.public, self.admin);
        fs::write(self.directory.path().join("idlewild.toml"), config).unwrap();
    }

    /// Ends the process as a crash does.
    pub fn kill(&mut self) {
        self.end(Signal::KILL);
    }

    /// Drains the node and ends the process.
    pub fn stop(&mut self) {
        let status = self.end(Signal::TERM);
        assert!(status.success(), "{status}");
    }

    /// Stops the process without ending it. The kernel still accepts connections for it.
    pub fn pause(&self) {
        pause(self.process().pid());
    }

    pub fn resume(&self) {
        self.process().signal(Signal::CONT);
    }

    /// Starts it again on the same addresses, after it has ended.
    pub fn start_again(&mut self) {
        assert!(self.process.is_none(), "it still runs");
        self.log_from = 0;
        let mut command = command();
        set_clock_ahead(&mut command, self.ahead_s);
        command
            .arg("serve")
            .arg("--config")
            .arg(self.directory.path().join("idlewild.toml"));
        // The log of each run is in a directory of its own.
        let log = tempfile::tempdir().unwrap();
        let process = Process::start_in(command, self.directory.path(), log);
        self.process = Some(process);
    }

    /// Lets a new process take over, and waits until the old one has ended.
    pub fn upgrade(&mut self) {
        self.begin_upgrade();
        let new = self.wait_for_pid(" upgraded pid=");
        self.follow(new);
    }

    /// Asks for an upgrade.
    pub fn begin_upgrade(&mut self) {
        self.log_from = self.log().len();
        kill_process(self.pid(), Signal::USR2).unwrap();
    }

    /// The log since the upgrade began.
    pub fn log_of_upgrade(&self) -> String {
        self.log().split_off(self.log_from)
    }

    /// Waits until the log of the upgrade has a process's number after this text, and returns it.
    pub fn wait_for_pid(&self, before: &str) -> Pid {
        let mut found = None;
        eventually(before, || {
            let log = self.log_of_upgrade();
            let number = log.split_once(before).map(|(_, rest)| {
                let end = rest.find(|c: char| !c.is_ascii_digit());
                rest[..end.unwrap_or(rest.len())].parse().unwrap()
            });
            found = number.and_then(Pid::from_raw);
            found.is_some()
        });
        found.unwrap()
    }

    /// Waits until the old process has ended. From now on, `new` is the node's.
    pub fn follow(&mut self, new: Pid) {
        let old = self.pid();
        eventually("the old process ends", || {
            self.process.as_mut().expect("it runs").status();
            !is_running(old)
        });
        self.later = Some(new);
    }

    /// The process that serves.
    pub fn pid(&self) -> Pid {
        self.later.unwrap_or_else(|| self.process().pid())
    }

    pub fn wait_until_ready(&self) {
        eventually("the node is ready", || self.not_ready().is_none());
    }

    pub fn wait_until_not_ready(&self) {
        eventually("the node is not ready", || self.not_ready().is_some());
    }

    /// The reason in `/readyz`; `None` if it is ready.
    pub fn not_ready(&self) -> Option<String> {
        let answer = request(self.admin, "GET", "/readyz", &[], "");
        let reason = answer.json()["reason"].as_str().map(ToOwned::to_owned);
        (answer.status != 200).then(|| reason.expect("a reason"))
    }

    /// The value of a metric, `name{labels}` as written on the page; `None` if it is missing.
    pub fn metric(&self, name: &str) -> Option<f64> {
        let page = request(self.admin, "GET", "/metrics", &[], "").body;
        page.lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.parse().ok())
    }

    /// The answer of `GET /v1/nodes`.
    pub fn nodes(&self) -> Value {
        let answer = self.request("GET", "/v1/nodes", "");
        assert_eq!(answer.status, 200, "{}", answer.body);
        answer.json()
    }

    /// Sends one request with the API key to the admin listener, on a new connection.
    pub fn request(&self, method: &str, path: &str, body: &str) -> Answer {
        let key = format!("Bearer {API_KEY}");
        request(self.admin, method, path, &[("Authorization", &key)], body)
    }

    /// The log of this run.
    pub fn log(&self) -> String {
        self.process().log()
    }

    /// Waits until the process that has taken over has ended.
    pub fn forget(&mut self) {
        let later = self.later.take();
        eventually("the new process ends", || !later.is_some_and(is_running));
        self.process = None;
    }

    fn end(&mut self, signal: Signal) -> std::process::ExitStatus {
        let mut process = self.process.take().expect("it runs");
        process.signal(signal);
        process.wait()
    }

    fn process(&self) -> &Process {
        self.process.as_ref().expect("it runs")
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        if let Some(later) = self.later {
            let _ = kill_process(later, Signal::KILL);
        }
        if let Some(process) = &self.process {
            show_if_failed(&format!("node {}", self.admin), &process.log_file());
        }
    }
}

/// Returns true if the process exists and is no zombie. The first thread of a process that was killed may be one while
/// the others still have its sockets.
fn is_running(pid: Pid) -> bool {
    let path = format!("/proc/{}", pid.as_raw_nonzero());
    let stat = fs::read_to_string(format!("{path}/stat")).unwrap_or_default();
    let state = stat.rsplit_once(')').map(|(_, rest)| rest.trim_start());
    let threads = fs::read_dir(format!("{path}/task")).map_or(0, Iterator::count);
    threads > 1 || state.is_some_and(|state| !state.starts_with(['Z', 'X']))
}

/// Makes a process see another time of day. Its timers are not affected.
fn set_clock_ahead(command: &mut std::process::Command, seconds: i32) {
    if seconds == 0 {
        return;
    }
    let library = FAKETIME.iter().find(|path| Path::new(path).exists());
    let library = library.expect(
        "libfaketime is missing; install the package faketime, or all packages with scripts/setup",
    );
    command
        .env("LD_PRELOAD", library)
        .env("FAKETIME", format!("{seconds:+}s"))
        .env("FAKETIME_DONT_FAKE_MONOTONIC", "1");
}
