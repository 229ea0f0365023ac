//! Descriptor tables per shard, and running out of descriptors.

use std::collections::HashSet;
use std::fs;
use std::io::Write;
use std::net::{SocketAddr, TcpStream};

use rustix::process::{Resource, Rlimit, Signal, prlimit};

use crate::admin_connections::is_closed;
use crate::support::process::{Process, command, config, directory, idlewild};
use crate::support::{API_KEY, Client, NOTIFICATIONS, SECRET, Stream, eventually, request};

const CLIENTS: usize = 160;

fn stream(process: &Process, user: usize) -> Stream {
    let ended = idlewild(
        &["token", "--user", &user.to_string()],
        &[("IDLEWILD_AUTH__SECRET", SECRET)],
        "",
    );
    let path = format!("{NOTIFICATIONS}?token={}", ended.stdout.trim());
    let mut stream = Client::connect(process.public()).open(&path);
    assert_eq!(stream.status, 200, "{}", stream.head);
    stream.next().unwrap();
    stream
}

fn publish(process: &Process, event: &str) {
    let key = format!("Bearer {API_KEY}");
    let headers = [("Authorization", key.as_str())];
    let answer = request(process.admin(), "POST", "/v1/events", &headers, event);
    assert_eq!(answer.status, 202, "{}", answer.body);
}

/// The descriptors in each shard thread's table, by the thread's name.
fn tables(process: &Process) -> Vec<(String, HashSet<String>)> {
    let pid = process.pid().as_raw_nonzero();
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).unwrap();
    let mut tables = Vec::new();
    for task in tasks {
        let task = task.unwrap().path();
        let name = fs::read_to_string(task.join("comm")).unwrap();
        if name.starts_with("shard-") {
            let fds = fs::read_dir(task.join("fd")).unwrap();
            // The link's target identifies a socket: `socket:[inode]`.
            let targets = fds
                .filter_map(|fd| fs::read_link(fd.unwrap().path()).ok())
                .map(|target| target.to_string_lossy().into_owned())
                .collect();
            tables.push((name.trim().to_owned(), targets));
        }
    }
    tables
}

#[test]
fn an_event_reaches_every_client_of_eight_private_tables() {
    // No heartbeat comes while the streams are opened, each with a token from a process of its own.
    let process = Process::serve(
        "shards = 8\nfd_tables = \"per-shard\"\nheartbeat = \"24h\"\nstall_timeout = \"24h\"",
    );
    let mut streams: Vec<Stream> = (0..CLIENTS).map(|user| stream(&process, user)).collect();
    publish(&process, r#"{"to": {"all": true}, "data": "to all"}"#);
    for stream in &mut streams {
        assert!(stream.next().unwrap().contains("data: to all\n"));
    }
    for user in [0, CLIENTS - 1] {
        publish(
            &process,
            &format!(r#"{{"to": {{"user": {user}}}, "data": "to one"}}"#),
        );
        assert!(streams[user].next().unwrap().contains("data: to one\n"));
    }
    let tables = tables(&process);
    assert_eq!(tables.len(), 8);
    let listeners_and_clients: usize = tables.iter().map(|(_, targets)| targets.len()).sum();
    let distinct: HashSet<&String> = tables.iter().flat_map(|(_, targets)| targets).collect();
    assert!(
        distinct.len() < listeners_and_clients,
        "what was made before the threads stands in every table"
    );
    for (name, targets) in &tables {
        assert!(targets.len() < CLIENTS, "{name} sees other shards' clients");
    }
}

#[test]
fn a_shared_table_is_shared() {
    let process = Process::serve("shards = 3");
    let _streams: Vec<Stream> = (0..8).map(|user| stream(&process, user)).collect();
    let tables = tables(&process);
    assert_eq!(tables.len(), 3);
    assert!(tables.windows(2).all(|pair| pair[0].1 == pair[1].1));
}

#[test]
fn running_out_of_descriptors_neither_spins_nor_ends_a_shard() {
    let process = Process::serve("shards = 2");
    let mut before = stream(&process, 0);
    let mut admin = Client::connect(process.admin()).open("/metrics");
    admin.body();
    let limit = limit_of(&process);
    // The soft limit is so low that every new descriptor exceeds it.
    let lowered = Rlimit {
        current: Some(3),
        maximum: limit.maximum,
    };
    prlimit(Some(process.pid()), Resource::Nofile, lowered).unwrap();
    let public = process.public();
    // On a thread of its own, because a TLS handshake has to wait as well.
    let waiting = std::thread::spawn(move || Client::connect(public).open("/healthz").status);
    let mut errors = 0;
    eventually("accepting has failed a few times", || {
        errors = metric(&mut admin, "idlewild_accept_errors_total");
        errors >= 3
    });
    // With ten attempts per second and listener, this takes a moment. A busy loop makes thousands.
    assert!(errors < 100, "{errors} tries");
    prlimit(Some(process.pid()), Resource::Nofile, limit).unwrap();
    assert_eq!(waiting.join().unwrap(), 200);
    publish(&process, r#"{"to": {"all": true}, "data": "alive"}"#);
    assert!(before.next().unwrap().contains("alive"));
}

/// The process's limit of open descriptors, from `/proc`.
fn limit_of(process: &Process) -> Rlimit {
    let pid = process.pid().as_raw_nonzero();
    let limits = fs::read_to_string(format!("/proc/{pid}/limits")).unwrap();
    let line = limits
        .lines()
        .find_map(|line| line.strip_prefix("Max open files"))
        .unwrap();
    let mut numbers = line.split_whitespace().map(|number| number.parse().ok());
    Rlimit {
        current: numbers.next().unwrap(),
        maximum: numbers.next().unwrap(),
    }
}

/// Reads a metric over an open connection.
fn metric(admin: &mut Stream, name: &str) -> u64 {
    admin
        .socket
        .write_all(b"GET /metrics HTTP/1.1\r\nHost: test\r\n\r\n")
        .unwrap();
    assert!(admin.follow());
    let page = admin.body();
    page.lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.parse().ok())
        .unwrap()
}

/// Starts with exactly as many descriptors as the configuration check requires, and fills every
/// place.
#[test]
fn the_required_descriptors_suffice_when_every_place_is_taken() {
    /// Connections to the admin listeners.
    const ADMIN: usize = 24;
    let limits = format!(
        "shards = 2\nmax_connections = 20\nmax_handshakes = 10\nadmin_max_connections = {ADMIN}"
    );
    let file = config(&limits).replace(
        "admin_listen = [\"127.0.0.1:0\"]",
        "admin_listen = [\"127.0.0.1:0\", \"127.0.0.1:0\", \"127.0.0.1:0\"]",
    );
    let directory = directory(&file);
    let path = directory.path().join("idlewild.toml");
    let serve = |descriptors: &str| {
        let idlewild = command();
        let mut shell = std::process::Command::new("sh");
        shell
            .arg("-c")
            .arg("ulimit -n \"$1\" && exec \"$0\" serve --config \"$2\"")
            .arg(idlewild.get_program())
            .arg(descriptors)
            .arg(&path);
        for (name, value) in idlewild.get_envs() {
            match value {
                Some(value) => shell.env(name, value),
                None => shell.env_remove(name),
            };
        }
        shell
    };
    let refused = serve("50").output().unwrap();
    assert_eq!(refused.status.code(), Some(2));
    let said = String::from_utf8(refused.stderr).unwrap();
    let needed = said.split("ulimit -n ").nth(1).unwrap();
    let needed: String = needed.chars().take_while(char::is_ascii_digit).collect();
    let enough = serve(&needed);
    let process = Process::start(enough, directory);
    // Each listener has a line of its own.
    eventually("all admin listeners are named", || {
        process.log().matches("admin listener").count() == 3
    });
    let log = process.log();
    let admin: Vec<SocketAddr> = log
        .lines()
        .filter(|line| line.contains("admin listener"))
        .map(|line| {
            line.split("endpoint=")
                .nth(1)
                .unwrap()
                .trim()
                .parse()
                .unwrap()
        })
        .collect();
    let streams: Vec<_> = (0..20).map(|user| stream(&process, user)).collect();
    let handshakes: Vec<_> = (0..30).map(|_| Client::connect(process.public())).collect();
    let flood: Vec<_> = (0..400)
        .map(|number| TcpStream::connect(admin[number % 3]).unwrap())
        .collect();
    // One that is not accepted yet would take the place of an earlier one, perhaps of a request below.
    eventually("the flood is accepted", || {
        flood.iter().filter(|socket| !is_closed(socket)).count() <= ADMIN
    });
    for address in &admin {
        assert_eq!(request(*address, "GET", "/readyz", &[], "").status, 200);
    }
    process.signal(Signal::HUP);
    eventually("it reloads", || process.log().contains("reloaded"));
    let log = process.log();
    assert!(!log.contains("not reloaded"), "{log}");
    assert!(!log.contains("cannot accept"), "{log}");
    let page = request(admin[0], "GET", "/metrics", &[], "").body;
    assert!(
        page.contains("\nidlewild_accept_errors_total 0\n"),
        "{page}"
    );
    drop((streams, handshakes, flood));
}
