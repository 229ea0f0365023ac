//! The control socket and `idlewild upgrade`: who may ask, what is answered, and where the socket is.

use std::fs;
use std::io::{Read, Write};
use std::net::Shutdown;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::process::Signal;
use tempfile::TempDir;

use crate::support::process::{Process, config, copy_binary, directory, idlewild};
use crate::support::{eventually, is_redis, request};

/// The answer to a valid request, once the configuration [cannot be used](Controlled::spoil).
const DECLINED: &str = "the new process declined: max_connections: ";
/// A user who is neither root nor the server's.
const NOBODY: u32 = 65_534;

/// A server with a control socket in a directory of its own.
struct Controlled {
    process: Process,
    place: TempDir,
}

impl Controlled {
    fn start() -> Self {
        let place = tempfile::tempdir().unwrap();
        let process = Process::serve(&key(&socket_in(&place)));
        Self { process, place }
    }

    /// Lets every later process decline: no machine has so many descriptors.
    fn spoil(&self) {
        let file = self.process.config_file();
        let config = fs::read_to_string(&file).unwrap();
        fs::write(file, format!("max_connections = 4000000000\n{config}")).unwrap();
    }

    fn socket(&self) -> PathBuf {
        socket_in(&self.place)
    }

    /// Sends these bytes and the end of input, and returns all of the answer.
    fn ask(&self, bytes: &[u8]) -> String {
        let mut stream = UnixStream::connect(self.socket()).unwrap();
        // The server may have answered and closed before it has read everything.
        let _ = stream.write_all(bytes);
        let _ = stream.shutdown(Shutdown::Write);
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);
        String::from_utf8(answer).unwrap()
    }

    /// The numbers of upgrades: done, declined, failed.
    fn counts(&self) -> Vec<String> {
        let page = request(self.process.admin(), "GET", "/metrics", &[], "").body;
        let lines = page.lines();
        lines
            .filter_map(|line| line.strip_prefix("idlewild_upgrades_total{outcome=\""))
            .map(|line| line.replace("\"}", ""))
            .collect()
    }

    /// The descriptors of the server. With Redis, it opens and closes connections there at its own pace, so that their
    /// number says nothing: `None`.
    fn descriptors(&self) -> Option<usize> {
        let pid = self.process.pid().as_raw_nonzero();
        let count = fs::read_dir(format!("/proc/{pid}/fd")).unwrap().count();
        (!is_redis()).then_some(count)
    }

    /// The sockets bound in the directory: the one that listens, and the server's end of each connection, as long as it
    /// is open.
    fn sockets(&self) -> usize {
        let all = fs::read_to_string("/proc/net/unix").unwrap();
        let place = self.place.path().to_str().unwrap();
        let paths = all
            .lines()
            .filter_map(|line| line.split_whitespace().nth(7));
        paths.filter(|named| named.starts_with(place)).count()
    }
}

fn socket_in(place: &TempDir) -> PathBuf {
    place.path().join("control.sock")
}

/// The line of the configuration.
fn key(path: &Path) -> String {
    format!("control = \"{}\"", path.display())
}

#[test]
fn only_the_owner_has_rights_on_the_socket_and_nothing_else_is_left_there() {
    let served = Controlled::start();
    let mode = fs::symlink_metadata(served.socket()).unwrap().mode();
    assert_eq!(mode & 0o777, 0o600, "{mode:o}");
    assert_eq!(fs::read_dir(served.place.path()).unwrap().count(), 1);
}

#[test]
fn a_socket_that_a_killed_server_has_left_is_replaced() {
    let mut served = Controlled::start();
    served.process.signal(Signal::KILL);
    served.process.wait();
    assert!(UnixStream::connect(served.socket()).is_err());
    let process = Process::serve(&key(&served.socket()));
    let served = Controlled { process, ..served };
    assert!(served.ask(b"\n").contains("it is empty"));
}

#[test]
fn the_socket_of_a_server_that_runs_is_not_taken() {
    let served = Controlled::start();
    let second = directory(&config(&key(&served.socket())));
    let file = second.path().join("idlewild.toml");
    let ended = idlewild(&["serve", "--config", file.to_str().unwrap()], &[], "");
    assert_eq!(ended.code, Some(2), "{}", ended.stderr);
    let named = format!("control: unix:{}", served.socket().display());
    assert!(ended.stderr.contains(&named), "{}", ended.stderr);
    assert!(
        ended.stderr.contains("another process listens there"),
        "{}",
        ended.stderr
    );
    assert!(served.ask(b"\n").contains("it is empty"));
}

#[test]
fn a_file_at_the_path_stays_and_is_an_error() {
    let place = tempfile::tempdir().unwrap();
    fs::write(socket_in(&place), "kept").unwrap();
    let files = directory(&config(&key(&socket_in(&place))));
    let file = files.path().join("idlewild.toml");
    let ended = idlewild(&["serve", "--config", file.to_str().unwrap()], &[], "");
    assert_eq!(ended.code, Some(2), "{}", ended.stderr);
    assert!(ended.stderr.contains("is not a socket"), "{}", ended.stderr);
    assert_eq!(fs::read_to_string(socket_in(&place)).unwrap(), "kept");
}

#[test]
fn invalid_requests_get_one_line_that_says_why_and_leave_no_descriptor() {
    let served = Controlled::start();
    let waiting = UnixStream::connect(served.socket()).unwrap();
    assert_eq!(served.sockets(), 2);
    drop(waiting);
    // The runtime opens nothing more after the first connection.
    served.ask(b"\n");
    let before = served.descriptors();
    let too_long = vec![b'x'; 100 * 1024];
    for (bytes, reason) in [
        (&b""[..], "it is empty"),
        (b"\n", "it is empty"),
        (b"upgrade\n", "expected value"),
        (b"GET / HTTP/1.1\r\n\r\n", "expected value"),
        (b"{\"command\":\"stop\"}\n", "unknown variant `stop`"),
        (b"\xff\xfe\n", "expected value"),
        (
            b"{\"command\":\"upgrade\",\"binary\":\"x\"}\n",
            "does not begin with /",
        ),
        (&too_long, "longer than"),
    ] {
        let answer = served.ask(bytes);
        assert!(answer.starts_with("{\"error\":\""), "{answer}");
        assert!(answer.contains(reason), "{answer}");
        assert_eq!(answer.matches('\n').count(), 1, "{answer}");
    }
    // Peers that leave at once.
    for _ in 0..50 {
        drop(UnixStream::connect(served.socket()).unwrap());
    }
    eventually("all are closed", || served.sockets() == 1);
    eventually("no descriptor is left", || served.descriptors() == before);
    assert_eq!(served.counts(), ["done 0", "declined 0", "failed 0"]);
}

#[test]
fn the_command_prints_the_servers_line_and_fails() {
    let served = Controlled::start();
    served.spoil();
    let file = served.process.config_file();
    let (file, socket) = (file.to_str().unwrap(), served.socket());
    let socket = socket.to_str().unwrap();
    for (args, env, reason) in [
        (vec!["upgrade", "--control", socket], vec![], DECLINED),
        // With the configuration of the server, whatever else is in it.
        (vec!["upgrade", "--config", file], vec![], DECLINED),
        (
            vec!["upgrade"],
            vec![("IDLEWILD_CONTROL", socket)],
            DECLINED,
        ),
        (
            vec!["upgrade", "--control", socket, "--binary", "next"],
            vec![],
            "/next: No such file or directory",
        ),
    ] {
        let ended = idlewild(&args, &env, "");
        assert_eq!(ended.code, Some(1), "{args:?}: {}", ended.stderr);
        let mut lines = ended.stderr.lines();
        let line = lines.next_back().unwrap();
        assert!(line.contains(reason), "{args:?}: {}", ended.stderr);
        assert_eq!(lines.next(), None, "{args:?}: {}", ended.stderr);
        assert_eq!(ended.stdout, "");
    }
    assert_eq!(served.counts(), ["done 0", "declined 4", "failed 0"]);
    let log = served.process.log();
    let requested = log
        .lines()
        .filter(|line| line.contains("upgrade requested"));
    let named = requested.filter_map(|line| line.split_once("binary="));
    let programs: Vec<_> = named.map(|(_, program)| program).collect();
    assert_eq!(programs.len(), 1, "{log}");
    assert!(
        programs[0].starts_with('/') && programs[0].contains("/next"),
        "{log}"
    );
}

#[test]
fn sigusr2_upgrades_as_well_and_logs_the_result() {
    let served = Controlled::start();
    served.spoil();
    served.process.signal(Signal::USR2);
    eventually("the result is logged", || {
        let log = served.process.log();
        let mut lines = log.lines();
        lines.any(|line| line.contains("not upgraded") && line.contains(DECLINED))
    });
    assert!(served.process.log().contains("upgrade requested"));
    assert_eq!(served.counts(), ["done 0", "declined 1", "failed 0"]);
}

#[test]
fn other_users_are_kept_out_by_the_mode_and_by_the_kernels_word() {
    if !rustix::process::geteuid().is_root() {
        eprintln!("not run: only root can become another user");
        return;
    }
    let served = Controlled::start();
    let open = |path: &Path, mode| {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    };
    open(served.place.path(), 0o755);
    // The directory of the binary may be closed to others.
    let program = served.place.path().join("idlewild");
    copy_binary(&program);
    open(&program, 0o755);
    let as_nobody = || {
        let mut command = Command::new(&program);
        command.arg("upgrade").arg("--control").arg(served.socket());
        let output = command.uid(NOBODY).gid(NOBODY).output().unwrap();
        assert_eq!(output.status.code(), Some(1));
        String::from_utf8(output.stderr).unwrap()
    };
    let refused = as_nobody();
    assert!(
        refused.contains("permission denied (run this as root, or as the server's user)"),
        "{refused}"
    );
    open(&served.socket(), 0o666);
    let refused = as_nobody();
    assert!(
        refused.contains("the user with id 65534 may not control this server"),
        "{refused}"
    );
    assert!(served.process.log().contains("control: refused"));
    assert_eq!(served.counts(), ["done 0", "declined 0", "failed 0"]);
}

#[test]
fn a_server_that_drains_no_longer_listens_there() {
    let mut served = Controlled::start();
    served.process.signal(Signal::TERM);
    assert_eq!(served.process.wait().code(), Some(0));
    let socket = served.socket();
    let ended = idlewild(&["upgrade", "--control", socket.to_str().unwrap()], &[], "");
    assert_eq!(ended.code, Some(1));
    assert!(
        ended.stderr.contains("no server listens there"),
        "{}",
        ended.stderr
    );
}
