//! Under a supervisor such as systemd: passed sockets, and what it is told.

use std::fs::File;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::process::{Command, Stdio};

use rustix::process::Signal;
use tempfile::TempDir;

use crate::support::process::{Process, command, config, token_signed_with};
use crate::support::{API_KEY, Client, NOTIFICATIONS, PATIENCE, SECRET, request};

/// `idlewild serve` with descriptors 3 and 4 as `sd_listen_fds(3)` passes them: a shell moves them
/// there and becomes the server.
fn activated(names: &str, public: OwnedFd, admin: OwnedFd, config: &Path) -> Command {
    let serve = command();
    let mut shell = Command::new("sh");
    shell
        .arg("-c")
        .arg(
            "exec 3<&0 4<&1 </dev/null >/dev/null; \
             LISTEN_PID=$$ LISTEN_FDS=2 exec \"$0\" serve --config \"$1\"",
        )
        .arg(serve.get_program())
        .arg(config)
        .envs(
            serve
                .get_envs()
                .filter_map(|(name, value)| Some((name, value?))),
        )
        .env("LISTEN_FDNAMES", names)
        .stdin(Stdio::from(public))
        .stdout(Stdio::from(admin));
    shell
}

fn directory(config: &str) -> TempDir {
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("idlewild.toml"), config).unwrap();
    directory
}

fn listener() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    (listener, address)
}

fn copy(listener: &TcpListener) -> OwnedFd {
    listener.try_clone().unwrap().into()
}

fn health(address: SocketAddr) -> u16 {
    request(address, "GET", "/healthz", &[], "").status
}

#[test]
fn passed_sockets_take_the_place_of_the_configured_and_outlive_the_server() {
    let (public, public_address) = listener();
    let (admin, admin_address) = listener();
    let start = || {
        let directory = directory(&config("shards = 3"));
        let file = directory.path().join("idlewild.toml");
        let command = activated("public:admin", copy(&public), copy(&admin), &file);
        Process::start(command, directory)
    };
    let mut first = start();
    assert_eq!(first.public(), public_address);
    assert_eq!(first.admin(), admin_address);
    for _ in 0..20 {
        assert_eq!(health(public_address), 200);
    }
    let key = format!("Bearer {API_KEY}");
    let stats = request(
        admin_address,
        "GET",
        "/v1/stats",
        &[("Authorization", &key)],
        "",
    );
    assert_eq!(stats.status, 200);
    first.signal(Signal::TERM);
    assert_eq!(first.wait().code(), Some(0));

    // Nobody listens now, and nobody is refused.
    let mut waiting = TcpStream::connect(public_address).unwrap();
    waiting.set_read_timeout(Some(PATIENCE)).unwrap();
    waiting
        .write_all(b"GET /healthz HTTP/1.1\r\nHost: t\r\nConnection: close\r\n\r\n")
        .unwrap();
    let _second = start();
    let mut answer = String::new();
    waiting.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
}

#[test]
fn private_descriptor_tables_serve_passed_sockets_too() {
    let (public, public_address) = listener();
    let (admin, _) = listener();
    let directory = directory(&config(
        "shards = 3\nmax_connections = 100\nfd_tables = \"per-shard\"",
    ));
    let file = directory.path().join("idlewild.toml");
    let command = activated("any:admin", copy(&public), copy(&admin), &file);
    let mut process = Process::start(command, directory);
    let token = token_signed_with(SECRET, "42");
    let streams: Vec<_> = (0..5)
        .map(|_| {
            let stream =
                Client::connect(public_address).open(&format!("{NOTIFICATIONS}?token={token}"));
            assert_eq!(stream.status, 200);
            stream
        })
        .collect();
    process.signal(Signal::TERM);
    for mut stream in streams {
        assert!(stream.rest().last().unwrap().starts_with("retry: "));
    }
    assert_eq!(process.wait().code(), Some(0));
}

#[test]
fn what_does_not_listen_is_refused() {
    let (admin, _) = listener();
    let (public, public_address) = listener();
    let connected = TcpStream::connect(public_address).unwrap();
    drop(public);
    let file: OwnedFd = File::open("/dev/null").unwrap().into();
    for passed in [file, connected.into()] {
        let directory = directory(&config(""));
        let file = directory.path().join("idlewild.toml");
        let output = activated("public:admin", passed, copy(&admin), &file)
            .stderr(Stdio::piped())
            .spawn()
            .unwrap()
            .wait_with_output()
            .unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{said}");
        assert!(
            said.contains("listen: a passed socket is none that listens"),
            "{said}"
        );
        assert_eq!(said.lines().count(), 1, "{said}");
    }
}

#[test]
fn a_proxy_header_on_a_socket_that_was_not_passed_is_refused() {
    let (public, _) = listener();
    let (admin, _) = listener();
    let proxied = config("proxy_protocol = [\"127.0.0.1:0\"]");
    let directory = directory(&proxied);
    let file = directory.path().join("idlewild.toml");
    let output = activated("public:admin", copy(&public), copy(&admin), &file)
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
        .wait_with_output()
        .unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(
        said.contains("proxy_protocol: `127.0.0.1:0` is none of"),
        "{said}"
    );
}

/// What `systemd` would hear.
struct Supervisor {
    socket: UnixDatagram,
    directory: TempDir,
}

impl Supervisor {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let socket = UnixDatagram::bind(directory.path().join("notify")).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        Self { socket, directory }
    }

    fn serve(&self, config: &str, env: &[(&str, &str)]) -> Process {
        let directory = directory(config);
        let mut command = command();
        command
            .arg("serve")
            .arg("--config")
            .arg(directory.path().join("idlewild.toml"))
            .env("NOTIFY_SOCKET", self.directory.path().join("notify"))
            .envs(env.iter().copied());
        Process::start(command, directory)
    }

    fn hear(&self) -> String {
        let mut message = [0; 4_096];
        let read = self.socket.recv(&mut message).expect("told something");
        String::from_utf8(message[..read].to_vec()).unwrap()
    }
}

#[test]
fn a_supervisor_is_told_when_it_serves_reloads_and_drains() {
    let supervisor = Supervisor::new();
    let mut process = supervisor.serve(&config("drain_timeout = \"20s\""), &[]);
    let ready = supervisor.hear();
    assert!(ready.starts_with("READY=1\nSTATUS=serving on "), "{ready}");
    assert!(ready.contains(&process.public().to_string()), "{ready}");
    process.signal(Signal::HUP);
    let reloading = supervisor.hear();
    assert!(
        reloading.starts_with("RELOADING=1\nMONOTONIC_USEC="),
        "{reloading}"
    );
    assert_eq!(supervisor.hear().trim_end(), "READY=1");
    process.signal(Signal::TERM);
    let stopping = supervisor.hear();
    assert!(
        stopping.starts_with("STOPPING=1\nEXTEND_TIMEOUT_USEC=25000000\n"),
        "{stopping}"
    );
    assert_eq!(process.wait().code(), Some(0));
}

#[test]
fn the_watchdog_hears_that_the_shards_live_also_in_a_drain() {
    let supervisor = Supervisor::new();
    let limits = config("drain_rate = 1\ndrain_timeout = \"10s\"");
    let mut process = supervisor.serve(&limits, &[("WATCHDOG_USEC", "40000")]);
    assert!(supervisor.hear().starts_with("READY=1"));
    for _ in 0..3 {
        assert_eq!(supervisor.hear().trim_end(), "WATCHDOG=1");
    }
    let token = token_signed_with(SECRET, "42");
    let open = || Client::connect(process.public()).open(&format!("{NOTIFICATIONS}?token={token}"));
    // One stream is ended at once; the other keeps the drain going for a moment.
    let streams = [open(), open(), open()];
    process.signal(Signal::TERM);
    while !supervisor.hear().starts_with("STOPPING=1") {}
    for _ in 0..3 {
        assert_eq!(supervisor.hear().trim_end(), "WATCHDOG=1");
    }
    drop(streams);
    assert_eq!(process.wait().code(), Some(0));
}
