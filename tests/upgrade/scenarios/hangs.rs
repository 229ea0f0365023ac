//! The new process hangs at some point. The old one ends it and serves again.

use std::ffi::OsStr;
use std::net::{SocketAddr, TcpStream};
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use rustix::process::{Signal, kill_process};
use tempfile::TempDir;

use crate::clients::{address, next_data, open, open_crowd, token};
use crate::puppet;
use crate::server::Server;
use crate::support::process::command;
use crate::support::{API_KEY, Client, eventually};

/// Milliseconds after which a new process that is ready is stopped.
const STOPS_AFTER_MS: [u64; 4] = [0, 5, 15, 30];

/// A server, and the command that upgrades it to a puppet.
struct Scene {
    server: Server,
    place: TempDir,
}

impl Scene {
    fn start(more: &str) -> Self {
        let place = tempfile::tempdir().unwrap();
        let control = format!("control = \"{}\"\n", place.path().join("sock").display());
        Self {
            server: Server::start(&format!("{control}{more}")),
            place,
        }
    }

    /// The command that upgrades the server.
    fn upgrade(&self, arguments: &[&OsStr]) -> Command {
        let mut upgrade = command();
        upgrade
            .args(["upgrade", "--control"])
            .arg(self.place.path().join("sock"))
            .args(arguments);
        upgrade
    }

    /// Upgrades to a puppet that hangs at this message, however long it takes. Returns whether that succeeded, and what
    /// the command said.
    fn upgrade_to(&self, hangs_at: &str) -> impl FnOnce() -> (bool, String) + use<> {
        let program = puppet::program(self.place.path(), hangs_at);
        let mut upgrade = self.upgrade(&["--binary".as_ref(), program.as_os_str()]);
        move || {
            let ended = upgrade.output().unwrap();
            let said = String::from_utf8(ended.stderr).unwrap();
            (ended.status.success(), said)
        }
    }
}

#[test]
fn whatever_the_new_process_does_not_answer_the_old_one_serves_again() {
    // The time includes the start of the new process.
    let scene = Scene::start("upgrade_timeout = \"1s\"\n");
    for hangs_at in ["start", "restore"] {
        serves_again_after(&scene, hangs_at, "within upgrade_timeout");
    }
}

#[test]
fn a_new_process_that_hangs_when_it_may_accept_loses_the_control_socket_again() {
    let scene = Scene::start("upgrade_timeout = \"10m\"\n");
    serves_again_after(&scene, "commit", "within 5 s");
    let ended = scene.upgrade(&[]).output().unwrap();
    assert!(ended.status.success(), "{ended:?}");
}

/// Upgrades to a puppet that hangs at this message. The command says `why` there was no upgrade.
fn serves_again_after(scene: &Scene, hangs_at: &str, why: &str) {
    let server = &scene.server;
    // A puppet takes no streams.
    let mut stream = (hangs_at != "commit")
        .then(|| open(address(server.addresses, "ws"), &token("1", None, &[]), ""));
    let (is_upgraded, said) = scene.upgrade_to(hangs_at)();
    assert!(!is_upgraded && said.contains(why), "{hangs_at}: {said}");
    let mut another = open(address(server.addresses, "sse"), &token("2", None, &[]), "");
    server.publish(r#"{"to":{"all":true},"data":"after"}"#);
    for stream in stream.iter_mut().chain([&mut another]) {
        assert_eq!(next_data(stream), "after", "{hangs_at}");
    }
    drop((stream, another));
    eventually("the streams end", || {
        server.admin("GET", "/v1/stats", "").json()["connections"] == 0
    });
}

#[test]
fn publishers_wait_seconds_and_not_for_upgrade_timeout() {
    let scene = Scene::start("upgrade_timeout = \"10m\"\n");
    let server = &scene.server;
    let before = server.publish(r#"{"to":{"all":true},"data":"before"}"#);
    let is_over = AtomicBool::new(false);
    let sent = AtomicUsize::new(0);
    let said = std::thread::scope(|scope| {
        // Not a [`Publisher`], which does not wait that long.
        scope.spawn(|| {
            while !is_over.load(Ordering::Relaxed) {
                publish_patiently(server.admin, sent.load(Ordering::Relaxed));
                sent.fetch_add(1, Ordering::Relaxed);
            }
        });
        let upgrade = scope.spawn(scene.upgrade_to("entries"));
        eventually("the new process has a copy of the log", || {
            server.log().contains(puppet::WAITS)
        });
        // The next but one begins, and ends, after the copy was made.
        let before = sent.load(Ordering::Relaxed);
        eventually("an event is published", || {
            sent.load(Ordering::Relaxed) > before + 1
        });
        puppet::go_on(scene.place.path());
        let (_, said) = upgrade.join().unwrap();
        is_over.store(true, Ordering::Relaxed);
        said
    });
    assert!(said.contains("within 5 s while clients waited"), "{said}");
    let address = address(server.addresses, "sse");
    let mut stream = Client::connect(address).reconnect(&token("1", None, &[]), &before);
    stream.begin();
    for number in 0..sent.into_inner() {
        assert_eq!(next_data(&mut stream), number.to_string());
    }
}

/// Publishes an event for user 1, and waits for the answer however long it takes.
fn publish_patiently(admin: SocketAddr, number: usize) {
    let event = format!(r#"{{"to":{{"user":"1"}},"data":"{number}"}}"#);
    let mut client = Client::connect(admin);
    client.socket.tcp().set_read_timeout(None).unwrap();
    client.send(format!(
        "POST /v1/events HTTP/1.1\r\nHost: test\r\nAuthorization: Bearer {API_KEY}\r\n\
         Content-Length: {}\r\n\r\n{event}",
        event.len()
    ));
    assert_eq!(client.stream().status, 202);
}

#[test]
fn a_server_that_is_told_to_end_leaves_its_listeners_to_a_new_process_that_may_accept() {
    let mut scene = Scene::start("");
    let upgrade = std::thread::spawn(scene.upgrade_to("commit"));
    eventually("the new process may accept", || {
        scene.server.log().contains(&puppet::line("commit"))
    });
    let old = scene.server.pid();
    kill_process(old, Signal::TERM).unwrap();
    scene.server.wait_for_end(old);
    TcpStream::connect(scene.server.addresses.plain).expect("the socket listens");
    upgrade.join().unwrap();
}

#[test]
fn if_the_new_process_is_stopped_the_old_one_goes_on_with_what_it_has() {
    // A new process that is stopped has this time, from its start on.
    let mut server = Server::start("upgrade_timeout = \"2s\"\n");
    for after_ms in STOPS_AFTER_MS {
        let mut streams = open_crowd(server.addresses, &after_ms.to_string());
        let old = server.pid();
        let after = Duration::from_millis(after_ms);
        let (new, has_taken_over) = server.upgrade_with_signal(after, Signal::STOP);
        if has_taken_over {
            // Too late.
            kill_process(new, Signal::CONT).unwrap();
            server.follow(new);
            server.wait_for_end(old);
        }
        server.failed = server.log().matches("not upgraded").count();
        server.publish(r#"{"to":{"all":true},"data":"after"}"#);
        let mut left = 0;
        for stream in &mut streams {
            // A stream that had left was served by the process that was stopped and killed.
            while let Some(frame) = stream.next() {
                if frame.contains("data: after\n") {
                    left += 1;
                    break;
                }
            }
        }
        let counted = server.admin("GET", "/v1/stats", "").json();
        assert_eq!(counted["connections"], left, "{after_ms}: {counted}");
    }
    server.upgrade_in_time();
}
