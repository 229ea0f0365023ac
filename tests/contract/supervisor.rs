//! Under a supervisor such as systemd: passed sockets and notifications.

use std::fs::File;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr as UnixAddr, UnixDatagram, UnixListener, UnixStream};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::mpsc;

use rustix::process::Signal;
use tempfile::TempDir;

use crate::support::process::{Process, command, config, directory, token_signed_with};
use crate::support::transport;
use crate::support::{
    API_KEY, Address, Client, NOTIFICATIONS, PATIENCE, SECRET, eventually, request,
};

/// Runs `idlewild serve` with descriptors 3 and 4, as `sd_listen_fds(3)` defines. A shell moves them
/// there and then becomes the server.
fn activated(names: &str, public: OwnedFd, admin: OwnedFd, config: &Path) -> Command {
    let serve = command();
    let mut shell = Command::new("sh");
    shell
        .arg("-c")
        .arg(
            "exec 3<&0 4<&1 </dev/null >/dev/null; \
             LISTEN_PID=${LISTEN_PID:-$$} LISTEN_FDS=2 exec \"$0\" serve --config \"$1\"",
        )
        .arg(serve.get_program())
        .arg(config)
        .stdin(Stdio::from(public))
        .stdout(Stdio::from(admin));
    for (name, value) in serve.get_envs() {
        match value {
            Some(value) => shell.env(name, value),
            None => shell.env_remove(name),
        };
    }
    shell.env("LISTEN_FDNAMES", names);
    shell
}

/// A server with these sockets; they replace those of `config`.
fn start(names: &str, public: OwnedFd, admin: &TcpListener, config: &str) -> Process {
    let directory = plain_directory(config);
    let file = directory.path().join("idlewild.toml");
    Process::start(activated(names, public, copy(admin), &file), directory)
}

/// The error message of a server that refuses to start with these sockets.
fn refusal(public: OwnedFd, admin: &TcpListener, config: &str) -> String {
    refusal_as("public:admin", public, admin, config)
}

fn refusal_as(names: &str, public: OwnedFd, admin: &TcpListener, config: &str) -> String {
    let directory = plain_directory(config);
    let file = directory.path().join("idlewild.toml");
    let output = activated(names, public, copy(admin), &file)
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
        .wait_with_output()
        .unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert_eq!(said.lines().count(), 1, "{said}");
    said
}

/// Without TLS, because `tls` is itself the name of a socket here (see tls/listeners.rs).
fn plain_directory(config: &str) -> TempDir {
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("idlewild.toml"), config).unwrap();
    directory
}

fn listener_of_tcp() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    (listener, address)
}

fn copy(listener: &TcpListener) -> OwnedFd {
    listener.try_clone().unwrap().into()
}

fn health(address: impl Into<Address>) -> u16 {
    request(address, "GET", "/healthz", &[], "").status
}

#[test]
fn passed_sockets_replace_the_configured_ones_and_outlive_the_server() {
    let (public, public_address) = listener_of_tcp();
    let (admin, admin_address) = listener_of_tcp();
    let start = || start("public:admin", copy(&public), &admin, &config("shards = 3"));
    let mut first = start();
    assert_eq!(first.plain(), Address::of_plain(public_address));
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

    // No server listens now, and no client is refused.
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
    let (public, _) = listener_of_tcp();
    let (admin, _) = listener_of_tcp();
    let config = config("shards = 3\nmax_connections = 100\nfd_tables = \"per-shard\"");
    let mut process = start("any:admin", copy(&public), &admin, &config);
    let token = token_signed_with(SECRET, "42");
    let streams: Vec<_> = (0..5)
        .map(|_| {
            let stream =
                Client::connect(process.plain()).open(&format!("{NOTIFICATIONS}?token={token}"));
            assert_eq!(stream.status, 200);
            stream
        })
        .collect();
    process.signal(Signal::TERM);
    for mut stream in streams {
        assert!(stream.last().last().unwrap().starts_with("retry: "));
    }
    assert_eq!(process.wait().code(), Some(0));
}

#[test]
fn a_passed_unix_socket_outlives_the_server_too() {
    let sockets = tempfile::tempdir().unwrap();
    let path = sockets.path().join("public.sock");
    let listener = UnixListener::bind(&path).unwrap();
    let (admin, _) = listener_of_tcp();
    let health = || {
        let mut client = UnixStream::connect(&path).unwrap();
        client.set_read_timeout(Some(PATIENCE)).unwrap();
        client
            .write_all(b"GET /healthz HTTP/1.1\r\nHost: t\r\nConnection: close\r\n\r\n")
            .unwrap();
        client
    };
    for _ in 0..2 {
        // Before a server accepts.
        let mut waiting = health();
        let public = listener.try_clone().unwrap().into();
        let mut process = start("public:admin", public, &admin, &config("shards = 2"));
        let mut answer = String::new();
        waiting.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
        drop(waiting);
        process.signal(Signal::TERM);
        assert_eq!(process.wait().code(), Some(0));
    }
}

#[test]
fn sockets_that_were_passed_to_another_process_are_ignored() {
    let (public, public_address) = listener_of_tcp();
    let (admin, _) = listener_of_tcp();
    let directory = plain_directory(&config(""));
    let file = directory.path().join("idlewild.toml");
    let mut command = activated("public:admin", copy(&public), copy(&admin), &file);
    command.env("LISTEN_PID", "1");
    let process = Process::start(command, directory);
    assert_ne!(process.plain(), public_address.into());
    assert_eq!(health(process.plain()), 200);
}

#[test]
fn if_only_public_sockets_are_passed_the_admin_listener_is_bound_as_configured() {
    let (public, _) = listener_of_tcp();
    let (other, other_address) = listener_of_tcp();
    let process = start("web:idlewild.socket", copy(&public), &other, &config(""));
    assert_eq!(health(other_address), 200);
    assert_ne!(process.admin(), other_address);
    assert_eq!(health(process.admin()), 200);
}

#[test]
fn a_passed_socket_may_require_proxy_headers() {
    let (public, address) = listener_of_tcp();
    let (admin, _) = listener_of_tcp();
    let config = config(&format!("proxy_protocol = [\"{address}\"]"));
    let _process = start("public:admin", copy(&public), &admin, &config);
    let answer = |header: &str| {
        let mut client = TcpStream::connect(address).unwrap();
        client.set_read_timeout(Some(PATIENCE)).unwrap();
        client
            .write_all(
                format!("{header}GET /healthz HTTP/1.1\r\nHost: t\r\nConnection: close\r\n\r\n")
                    .as_bytes(),
            )
            .unwrap();
        let mut answer = Vec::new();
        // A socket that is closed with unread bytes is reset.
        let _ = client.read_to_end(&mut answer);
        String::from_utf8(answer).unwrap()
    };
    assert!(answer("PROXY TCP4 192.0.2.7 192.0.2.1 1 2\r\n").starts_with("HTTP/1.1 200 "));
    assert_eq!(answer(""), "");
}

#[test]
fn a_passed_socket_named_tls_is_for_tls_and_needs_certificates() {
    let (public, address) = listener_of_tcp();
    let (admin, _) = listener_of_tcp();
    let certificates = tempfile::tempdir().unwrap();
    let file = transport::with_tls_listener(&config(""), certificates.path());
    let process = start("tls:admin", copy(&public), &admin, &file);
    assert_eq!(process.tls(), Address::of_tls(address));
    assert_eq!(health(Address::of_tls(address)), 200);
    drop(process);
    let said = refusal_as("tls:admin", copy(&public), &admin, &config(""));
    assert!(
        said.contains("tls.certificates: is empty, but a socket for TLS was passed"),
        "{said}"
    );
}

#[test]
fn a_passed_descriptor_that_does_not_listen_is_refused() {
    let (admin, _) = listener_of_tcp();
    let (public, public_address) = listener_of_tcp();
    let connected = TcpStream::connect(public_address).unwrap();
    drop(public);
    let file: OwnedFd = File::open("/dev/null").unwrap().into();
    for passed in [file, connected.into()] {
        let said = refusal(passed, &admin, &config(""));
        assert!(
            said.contains("listen: a passed socket is not a listening stream socket"),
            "{said}"
        );
    }
}

#[test]
fn a_proxy_header_on_a_socket_that_was_not_passed_is_refused() {
    let (public, public_address) = listener_of_tcp();
    let (admin, _) = listener_of_tcp();
    let proxied = config("proxy_protocol = [\"127.0.0.1:0\"]");
    let said = refusal(copy(&public), &admin, &proxied);
    let there = format!(
        "proxy_protocol: `127.0.0.1:0` is not a public listener; use one of: {public_address}"
    );
    assert!(said.contains(&there), "{said}");
}

/// A socket that receives notifications as `systemd` does.
struct Supervisor {
    socket: UnixDatagram,
    name: String,
    _directory: TempDir,
}

impl Supervisor {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("notify");
        let socket = UnixDatagram::bind(&path).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        Self {
            socket,
            name: path.to_str().unwrap().to_owned(),
            _directory: directory,
        }
    }

    fn serve(&self, config: &str, env: &[(&str, &str)]) -> Process {
        let directory = directory(config);
        let mut command = command();
        command
            .arg("serve")
            .arg("--config")
            .arg(directory.path().join("idlewild.toml"))
            .env("NOTIFY_SOCKET", &self.name)
            .envs(env.iter().copied());
        Process::start(command, directory)
    }

    fn hear(&self) -> String {
        receive(&self.socket).expect("told something")
    }

    /// The same from a thread that receives all messages at once, so that none finds the socket full.
    fn listen(&self) -> impl Fn() -> String + use<> {
        let socket = self.socket.try_clone().unwrap();
        let (heard, messages) = mpsc::channel();
        std::thread::spawn(move || {
            while let Ok(message) = receive(&socket)
                && heard.send(message).is_ok()
            {}
        });
        move || messages.recv_timeout(PATIENCE).expect("told something")
    }
}

fn receive(socket: &UnixDatagram) -> io::Result<String> {
    let mut message = [0; 4_096];
    let read = loop {
        match socket.recv(&mut message) {
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            read => break read?,
        }
    };
    Ok(String::from_utf8(message[..read].to_vec()).unwrap())
}

#[test]
fn a_supervisor_is_notified_of_start_reload_and_drain() {
    let supervisor = Supervisor::new();
    let certificates = tempfile::tempdir().unwrap();
    let file = config("drain_timeout = \"20s\"");
    let file = transport::with_tls_listener(&file, certificates.path());
    let mut process = supervisor.serve(&file, &[]);
    let ready = supervisor.hear();
    assert!(ready.starts_with("READY=1\nSTATUS=serving on "), "{ready}");
    assert!(
        ready.contains(&process.plain().to_string())
            && ready.contains(&format!("{} (TLS)", process.tls())),
        "{ready}"
    );
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
fn the_supervisors_socket_may_be_abstract() {
    let mut supervisor = Supervisor::new();
    let name = format!("idlewild-test-{}", std::process::id());
    let address = UnixAddr::from_abstract_name(&name).unwrap();
    supervisor.socket = UnixDatagram::bind_addr(&address).unwrap();
    supervisor.socket.set_read_timeout(Some(PATIENCE)).unwrap();
    supervisor.name = format!("@{name}");
    let _process = supervisor.serve(&config(""), &[]);
    assert!(supervisor.hear().starts_with("READY=1"));
}

#[test]
fn a_supervisor_that_does_not_read_delays_nothing() {
    let supervisor = Supervisor::new();
    let mut process = supervisor.serve(&config(""), &[("WATCHDOG_USEC", "4000")]);
    // Until its socket and the queue of messages are full.
    let queue = std::fs::read_to_string("/proc/sys/net/unix/max_dgram_qlen").unwrap();
    let messages = queue.trim().parse::<u32>().unwrap() + 64;
    std::thread::sleep(std::time::Duration::from_millis(2) * messages);
    process.signal(Signal::HUP);
    eventually("it reloads", || process.log().contains("reloaded"));
    assert_eq!(health(process.public()), 200);
    process.signal(Signal::TERM);
    assert_eq!(process.wait().code(), Some(0));

    let gone = Supervisor::new();
    std::fs::remove_file(&gone.name).unwrap();
    let mut process = gone.serve(&config(""), &[("WATCHDOG_USEC", "4000")]);
    eventually("it is said", || process.log().contains("NOTIFY_SOCKET"));
    process.signal(Signal::TERM);
    assert_eq!(process.wait().code(), Some(0));
    assert_eq!(process.log().matches("NOTIFY_SOCKET").count(), 1);
}

#[test]
fn the_watchdog_gets_messages_while_the_shards_run_and_during_a_drain() {
    let supervisor = Supervisor::new();
    // One shard ends one stream at once and the next a second later.
    let config = config("shards = 1\ndrain_rate = 1\ndrain_timeout = \"10s\"");
    let hear = supervisor.listen();
    let mut process = supervisor.serve(&config, &[("WATCHDOG_USEC", "80000")]);
    assert!(hear().starts_with("READY=1"));
    for _ in 0..3 {
        assert_eq!(hear(), "WATCHDOG=1");
    }
    let token = token_signed_with(SECRET, "42");
    let path = format!("{NOTIFICATIONS}?token={token}");
    let streams = [(); 3].map(|()| Client::connect(process.public()).open(&path));
    process.signal(Signal::TERM);
    while !hear().starts_with("STOPPING=1") {}
    for _ in 0..3 {
        assert_eq!(hear(), "WATCHDOG=1");
    }
    drop(streams);
    assert_eq!(process.wait().code(), Some(0));
}

#[test]
fn a_watchdog_of_another_process_or_without_a_time_gets_no_messages() {
    let supervisor = Supervisor::new();
    for watchdog in [
        [("WATCHDOG_USEC", "0"), ("WATCHDOG_PID", "")],
        [("WATCHDOG_USEC", "4000"), ("WATCHDOG_PID", "1")],
    ] {
        let mut process = supervisor.serve(&config(""), &watchdog);
        assert!(supervisor.hear().starts_with("READY=1"));
        process.signal(Signal::TERM);
        assert!(supervisor.hear().starts_with("STOPPING=1"));
        assert_eq!(process.wait().code(), Some(0));
        assert!(!process.log().contains("ERROR"), "{}", process.log());
    }
}
