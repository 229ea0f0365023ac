//! The real binary, which is killed and restarted.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use super::common::admin::Admin;
use super::plan::CLIENTS;

pub const SECRET: &str = "a secret of more than thirty-two bytes";
pub const API_KEY: &str = "a key for the chaos test only";

/// Longest time until the server is ready, including recovery and a port that is briefly in use.
const START_PATIENCE: Duration = Duration::from_secs(20);
const POLL: Duration = Duration::from_millis(5);

/// `idlewild serve` on the same two ports at every start.
pub struct Server {
    child: Child,
    directory: TempDir,
    pub public: SocketAddr,
    pub admin: SocketAddr,
    starts: usize,
    /// The counters of earlier processes.
    counted: Counted,
}

/// The server's counters; a process that is killed loses its own.
#[derive(Clone, Copy, Debug, Default)]
pub struct Counted {
    pub slow: u64,
    pub stalled: u64,
    pub client_closed: u64,
    pub error: u64,
    pub replayed: u64,
    pub gaps: u64,
}

impl Server {
    pub fn start() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let free = SocketAddr::from(([127, 0, 0, 1], 0));
        write_config(directory.path(), free, free);
        let child = spawn(directory.path(), 0);
        let mut server = Self {
            child,
            directory,
            public: free,
            admin: free,
            starts: 1,
            counted: Counted::default(),
        };
        assert!(server.comes_up(), "{}", server.log());
        server.public = server.endpoint("public listener");
        server.admin = server.endpoint("admin listener");
        write_config(server.directory.path(), server.public, server.admin);
        server
    }

    /// Kills the process as the kernel does when it is out of memory, and restarts it. `between` is called
    /// while no process runs.
    pub fn kill_and_restart(&mut self, between: impl FnOnce()) {
        self.counted = self.counted();
        kill_process(Pid::from_child(&self.child), Signal::KILL).unwrap();
        self.child.wait().unwrap();
        between();
        let tries = START_PATIENCE.as_millis() / POLL.as_millis();
        for _ in 0..tries {
            self.child = spawn(self.directory.path(), self.starts);
            self.starts += 1;
            if self.comes_up() {
                return;
            }
            let log = self.log();
            assert!(log.contains("in use"), "{log}");
            std::thread::sleep(POLL);
        }
        panic!("its port stays taken: {}", self.log());
    }

    /// The counters of all processes so far.
    pub fn counted(&self) -> Counted {
        let page = self.metrics();
        let reason = |reason: &str| {
            value(
                &page,
                &format!("idlewild_disconnects_total{{reason=\"{reason}\"}}"),
            )
        };
        let before = self.counted;
        Counted {
            slow: before.slow + reason("slow"),
            stalled: before.stalled + reason("stalled"),
            client_closed: before.client_closed + reason("client_closed"),
            error: before.error + reason("error"),
            replayed: before.replayed + value(&page, "idlewild_replayed_total"),
            gaps: before.gaps + value(&page, "idlewild_replay_gaps_total"),
        }
    }

    /// The counters of the running process.
    pub fn counted_since_start(&self) -> Counted {
        let (all, before) = (self.counted(), self.counted);
        Counted {
            slow: all.slow - before.slow,
            stalled: all.stalled - before.stalled,
            client_closed: all.client_closed - before.client_closed,
            error: all.error - before.error,
            replayed: all.replayed - before.replayed,
            gaps: all.gaps - before.gaps,
        }
    }

    /// The number of open streams, according to the server.
    pub fn connections(&self) -> u64 {
        let page = self.metrics();
        value(&page, "idlewild_connections{transport=\"sse\"}")
    }

    /// Keeps logs and configuration, to investigate a failure.
    pub fn keep_directory(&mut self) -> PathBuf {
        self.directory.disable_cleanup(true);
        self.directory.path().to_owned()
    }

    fn metrics(&self) -> String {
        let answer = Admin::new(self.admin, API_KEY).request("GET", "/metrics", "");
        answer.unwrap().body
    }

    /// Waits until it is ready; false if it ended instead.
    fn comes_up(&mut self) -> bool {
        let tries = START_PATIENCE.as_millis() / POLL.as_millis();
        for _ in 0..tries {
            if self.child.try_wait().unwrap().is_some() {
                return false;
            }
            if self.log().contains("admin listener") {
                return true;
            }
            std::thread::sleep(POLL);
        }
        panic!("it does not serve: {}", self.log());
    }

    fn log(&self) -> String {
        fs::read_to_string(log_file(self.directory.path(), self.starts - 1)).unwrap()
    }

    fn endpoint(&self, listener: &str) -> SocketAddr {
        let log = self.log();
        let line = log.lines().find(|line| line.contains(listener)).unwrap();
        let (_, endpoint) = line.split_once("endpoint=").unwrap();
        endpoint.split(' ').next().unwrap().parse().unwrap()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It has ended already if it did not start.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn spawn(directory: &Path, start: usize) -> Child {
    let log = fs::File::create(log_file(directory, start)).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_idlewild"));
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("IDLEWILD_") {
            command.env_remove(name);
        }
    }
    command
        .arg("serve")
        .arg("--config")
        .arg(directory.join("idlewild.toml"))
        .stderr(log)
        .spawn()
        .unwrap()
}

fn log_file(directory: &Path, start: usize) -> PathBuf {
    directory.join(format!("log-{start}"))
}

/// Short times and small buffers, so that half a minute covers what otherwise takes an hour.
fn write_config(directory: &Path, public: SocketAddr, admin: SocketAddr) {
    let history = directory.join("history");
    let config = format!(
        r#"
listen = ["{public}"]
admin_listen = ["{admin}"]
shards = 2
max_connections = {}
# Half-open ones count until they are reaped.
max_connections_per_user = 100
heartbeat = "1s"
stall_timeout = "2s"
retry_min = "100ms"
retry_max = "300ms"
max_backlog_bytes = "16KiB"
send_buffer = "8KiB"

[auth]
secret = "{SECRET}"

[admin]
api_key = "{API_KEY}"

[history]
path = "{}"
fsync = "interval"
"#,
        2 * CLIENTS,
        history.display()
    );
    fs::write(directory.join("idlewild.toml"), config).unwrap();
}

fn value(page: &str, name: &str) -> u64 {
    let line = page
        .lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(' '))
        .unwrap_or_else(|| panic!("{name} is not on the page"));
    line.parse().unwrap()
}
