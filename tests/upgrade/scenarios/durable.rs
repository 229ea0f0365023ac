//! Upgrades of a server that keeps its history in a directory.

use std::io::{self, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use rustix::process::{Signal, kill_process};

use crate::clients::{Publisher, TRANSPORTS, address, next_data, open, token};
use crate::common::admin::Admin;
use crate::server::Server;
use crate::support::{API_KEY, Address, Client, NOTIFICATIONS, Stream, eventually};

/// Upgrades with a kill of one process: after so many milliseconds.
const KILLS_AFTER_MS: [u64; 10] = [0, 5, 20, 40, 60, 80, 100, 140, 180, 240];
/// The user of the tests with kills.
const USER: &str = "42";

fn serve(history: &Path) -> Server {
    let path = history.join("history");
    Server::start_with_section(&format!("[history]\npath = \"{}\"\n", path.display()))
}

/// Ends the server's process, and starts another one over its directory.
fn restart(mut server: Server, history: &Path, signal: Signal) -> Server {
    let pid = server.pid();
    let _ = kill_process(pid, signal);
    server.wait_for_end(pid);
    serve(history)
}

/// Opens the user's stream with the id that it has.
fn come_back(server: &Server, id: &str) -> Stream {
    let client = Client::connect(address(server.addresses, "sse"));
    let mut stream = client.reconnect(&token(USER, None, &[]), id);
    stream.begin();
    stream
}

fn id_of(frame: &str) -> &str {
    let id = frame.lines().find_map(|line| line.strip_prefix("id: "));
    id.expect("an event has an id")
}

#[test]
fn streams_receive_each_event_once_and_in_order_and_a_restart_replays_all_of_them() {
    let history = tempfile::tempdir().unwrap();
    let path = history.path().join("history");
    let mut server = Server::start_with_section(&format!(
        "[history]\npath = \"{}\"\nmax_bytes = \"256MiB\"\n",
        path.display()
    ));
    let user = USER.to_owned();
    let mut streams: Vec<_> = TRANSPORTS
        .iter()
        .map(|transport| {
            let address = address(server.addresses, transport);
            open(address, &token(&user, None, &[]), "")
        })
        .collect();
    let start = streams[0].position.clone();
    // Someone has to read, because nothing may be dropped for its size.
    let readers: Vec<_> = streams
        .drain(..)
        .map(|mut stream| {
            std::thread::spawn(move || {
                let mut received = 0;
                loop {
                    match next_data(&mut stream).as_str() {
                        "last" => return received,
                        data => assert_eq!(data, received.to_string()),
                    }
                    received += 1;
                }
            })
        })
        .collect();
    let publisher = Publisher::start(server.admin, vec![user]);
    for _ in 0..3 {
        server.upgrade();
    }
    let sent = publisher.finish()[0];
    let last = format!(r#"{{"to":{{"user":"{USER}"}},"data":"last"}}"#);
    server.publish(&last);
    for reader in readers {
        assert_eq!(reader.join().unwrap(), sent);
    }
    for signal in [Signal::TERM, Signal::KILL] {
        server = restart(server, history.path(), signal);
        let mut stream = come_back(&server, &start);
        for event in 0..sent {
            assert_eq!(next_data(&mut stream), event.to_string());
        }
        assert_eq!(next_data(&mut stream), "last");
    }
}

#[test]
fn sessions_and_publishers_ids_go_on_in_the_new_process_and_after_a_restart() {
    let history = tempfile::tempdir().unwrap();
    let mut server = serve(history.path());
    let publish = |server: &Server, id: &str| {
        let event = format!(r#"{{"to":{{"user":"{USER}"}},"data":"x","id":"{id}"}}"#);
        let answer = server.admin("POST", "/v1/events", &event);
        assert_eq!(answer.status, 202, "{}", answer.body);
        answer.json()["id"].as_str().unwrap().to_owned()
    };
    let session = |server: &Server, name: &str| {
        let body = format!(r#"{{"session_id":"{name}"}}"#);
        let path = format!("/v1/users/{USER}/session");
        let answer = server.admin("PUT", &path, &body);
        assert_eq!(answer.status, 200, "{}", answer.body);
    };
    let status = |server: &Server, session: &str| {
        let client = Client::connect(address(server.addresses, "sse"));
        let token = token(USER, Some(session), &[]);
        client
            .open(&format!("{NOTIFICATIONS}?token={token}"))
            .status
    };
    session(&server, "a");
    let first = publish(&server, "first");
    session(&server, "b");
    server.upgrade();
    assert_eq!(publish(&server, "first"), first);
    assert_eq!((status(&server, "a"), status(&server, "b")), (401, 200));
    let second = publish(&server, "second");
    session(&server, "c");
    server.upgrade();
    assert_eq!(publish(&server, "second"), second);
    assert_eq!((status(&server, "b"), status(&server, "c")), (401, 200));
    let server = restart(server, history.path(), Signal::KILL);
    assert_eq!(publish(&server, "first"), first);
    assert_eq!(publish(&server, "second"), second);
    assert_eq!((status(&server, "b"), status(&server, "c")), (401, 200));
    assert!(!server.log().contains("damaged"), "{}", server.log());
}

#[test]
fn another_directory_or_none_is_declined_by_name() {
    let history = tempfile::tempdir().unwrap();
    let mut server = serve(history.path());
    let good = std::fs::read_to_string(server.config_file()).unwrap();
    let (others, _) = good.split_once("[history]").unwrap();
    let elsewhere = history.path().join("elsewhere");
    for (config, named) in [
        (others.to_owned(), "this process keeps its events in memory"),
        (
            format!("{others}[history]\npath = \"{}\"\n", elsewhere.display()),
            "/elsewhere` and the old one in `",
        ),
    ] {
        std::fs::write(server.config_file(), config).unwrap();
        server.begin_upgrade();
        eventually("the upgrade is declined", || {
            let log = server.log();
            let mut declined = log.lines().filter(|line| line.contains("not upgraded"));
            declined.any(|line| line.contains("history.path: ") && line.contains(named))
        });
        server.publish(r#"{"to":{"user":"1"},"data":"after"}"#);
    }
    // It is the same directory under another name.
    let link = history.path().join("link");
    std::os::unix::fs::symlink(history.path().join("history"), &link).unwrap();
    let config = format!("{others}[history]\npath = \"{}\"\n", link.display());
    std::fs::write(server.config_file(), config).unwrap();
    server.failed = server.log().matches("not upgraded").count();
    server.upgrade();
}

#[test]
fn a_server_without_a_history_gets_none_by_an_upgrade() {
    let history = tempfile::tempdir().unwrap();
    let server = Server::start_with_section("[history]\n");
    let config = std::fs::read_to_string(server.config_file()).unwrap();
    let path = history.path().join("history");
    let config = config.replace(
        "[history]\n",
        &format!("[history]\npath = \"{}\"\n", path.display()),
    );
    std::fs::write(server.config_file(), config).unwrap();
    server.begin_upgrade();
    eventually("the upgrade is declined", || {
        server.log().contains("and the old one in memory")
    });
    assert!(!path.exists());
    server.publish(r#"{"to":{"user":"1"},"data":"after"}"#);
}

/// Publishes numbered events without a pause. An event that was not answered is published again under its id.
struct Insisting {
    is_over: Arc<AtomicBool>,
    accepted: Arc<AtomicUsize>,
    thread: JoinHandle<usize>,
}

impl Insisting {
    fn start(admin: SocketAddr) -> Self {
        let is_over = Arc::new(AtomicBool::new(false));
        let accepted = Arc::new(AtomicUsize::new(0));
        let (flag, count) = (Arc::clone(&is_over), Arc::clone(&accepted));
        let publish = move || {
            let mut admin = Admin::new(admin, API_KEY);
            let mut number = 0;
            while !flag.load(Ordering::Relaxed) {
                let event = format!(
                    r#"{{"to":{{"user":"{USER}"}},"data":"{number}","id":"number {number}"}}"#
                );
                // A connection may be cut off, but no request is refused.
                if let Ok(answer) = admin.request("POST", "/v1/events", &event) {
                    assert_eq!(answer.status, 202, "{}", answer.body);
                    number += 1;
                    count.store(number, Ordering::Relaxed);
                }
            }
            number
        };
        Self {
            is_over,
            accepted,
            thread: std::thread::spawn(publish),
        }
    }

    /// The number of events that were accepted so far.
    fn accepted(&self) -> usize {
        self.accepted.load(Ordering::Relaxed)
    }

    /// Returns the number of events that were accepted.
    fn finish(self) -> usize {
        self.is_over.store(true, Ordering::Relaxed);
        self.thread.join().unwrap()
    }
}

/// Follows the user's events. If its stream ends, it comes back with the last id.
struct Following {
    is_over: Arc<AtomicBool>,
    received: Arc<AtomicUsize>,
    /// Returns the number of events, and the last one's id.
    thread: JoinHandle<(usize, String)>,
}

impl Following {
    fn start(server: &Server, transport: &str) -> Self {
        let address = address(server.addresses, transport);
        let token = token(USER, None, &[]);
        let mut stream = open(address, &token, "");
        let is_over = Arc::new(AtomicBool::new(false));
        let received = Arc::new(AtomicUsize::new(0));
        let (flag, count) = (Arc::clone(&is_over), Arc::clone(&received));
        let follow = move || {
            let (mut number, mut id) = (0, stream.position.clone());
            loop {
                while let Some(frame) = stream.next() {
                    if frame.contains("event: heartbeat\n") {
                        continue;
                    }
                    let expected = format!("event: message\ndata: {number}\n");
                    assert!(frame.contains(&expected), "{frame} is not {number}");
                    id_of(&frame).clone_into(&mut id);
                    number += 1;
                    count.store(number, Ordering::Relaxed);
                }
                // Until a server answers, or the test ends all of them.
                stream = loop {
                    if flag.load(Ordering::Relaxed) {
                        return (number, id);
                    }
                    if let Ok(stream) = reconnect(address, &token, &id) {
                        break stream;
                    }
                };
            }
        };
        Self {
            is_over,
            received,
            thread: std::thread::spawn(follow),
        }
    }

    fn received(&self) -> usize {
        self.received.load(Ordering::Relaxed)
    }

    /// Called before the server is ended.
    fn end_with_server(&self) {
        self.is_over.store(true, Ordering::Relaxed);
    }
}

/// Connects, unless the server is being killed.
fn reconnect(address: Address, token: &str, id: &str) -> io::Result<Stream> {
    let tcp = TcpStream::connect(address.tcp)?;
    let mut client = Client::over(tcp, address);
    let path = format!("{NOTIFICATIONS}?token={token}");
    let request = address.get(&path, &format!("Last-Event-ID: {id}\r\n"));
    client.socket.write_all(request.as_bytes())?;
    let stream = client.answered();
    let mut stream = stream.ok_or(io::ErrorKind::UnexpectedEof)?;
    stream.begin();
    Ok(stream)
}

/// Which process is killed.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Victim {
    Old,
    New,
}

/// Begins an upgrade, and kills one of the processes `after` the new one is ready. Returns false if nobody serves then.
fn upgrade_with_kill(server: &mut Server, victim: Victim, after: Duration) -> bool {
    let before = server.newest();
    let old = server.pid();
    let done = server.log().matches(" upgraded pid=").count();
    server.begin_upgrade();
    eventually("the new process is ready", || server.newest() != before);
    // The test has no business with the exact moment, only with many of them.
    std::thread::sleep(after);
    let new = server.newest().unwrap();
    if victim == Victim::Old {
        let _ = kill_process(old, Signal::KILL);
        server.follow(new);
        server.wait_for_end(old);
        return true;
    }
    kill_process(new, Signal::KILL).unwrap();
    eventually("the upgrade ends in one way or the other", || {
        let log = server.log();
        log.matches(" upgraded pid=").count() > done
            || log.matches("not upgraded").count() > server.failed
    });
    server.failed = server.log().matches("not upgraded").count();
    if server.log().matches(" upgraded pid=").count() == done {
        return true;
    }
    // It had taken over, so its death is that of the server.
    server.wait_for_end(old);
    server.follow(new);
    false
}

/// Kills one process of each upgrade, while events are published and received. Every accepted event reaches a client that
/// stays or comes back, once and in order, and is there after a restart.
fn no_kill_loses_an_accepted_event(victim: Victim) {
    let history = tempfile::tempdir().unwrap();
    let mut server = serve(history.path());
    let start = open(
        address(server.addresses, "sse"),
        &token(USER, None, &[]),
        "",
    );
    let start = start.position.clone();
    let clients = TRANSPORTS.map(|transport| Following::start(&server, transport));
    let publisher = Insisting::start(server.admin);
    let mut is_served = true;
    for after_ms in KILLS_AFTER_MS {
        let after = Duration::from_millis(after_ms);
        is_served = upgrade_with_kill(&mut server, victim, after);
        if !is_served {
            break;
        }
        let before = publisher.accepted();
        eventually("events are accepted again", || {
            publisher.accepted() > before + 3
        });
    }
    let accepted = publisher.finish();
    if is_served {
        eventually("all clients have all events", || {
            clients.iter().all(|client| client.received() >= accepted)
        });
    }
    if victim == Victim::New && is_served {
        server.upgrade();
    }
    for client in &clients {
        client.end_with_server();
    }
    let server = restart(server, history.path(), Signal::KILL);
    let clients = clients.into_iter().map(|it| it.thread.join().unwrap());
    let ends = clients.chain([(0, start)]);
    for (received, id) in ends {
        let mut stream = come_back(&server, &id);
        for event in received..accepted {
            assert_eq!(next_data(&mut stream), event.to_string());
        }
    }
    let log = server.log();
    assert!(!log.contains("damaged"), "{log}");
}

#[test]
fn if_the_new_process_is_killed_no_accepted_event_is_lost() {
    no_kill_loses_an_accepted_event(Victim::New);
}

#[test]
fn if_the_old_process_is_killed_no_accepted_event_is_lost() {
    no_kill_loses_an_accepted_event(Victim::Old);
}
