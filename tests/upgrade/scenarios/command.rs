//! `idlewild upgrade`, which asks over the control socket.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;

use rustix::process::Pid;
use serde_json::Value;

use crate::clients::{address, next_data, open, token};
use crate::server::Server;
use crate::support::eventually;
use crate::support::process::idlewild;

#[test]
fn the_command_reports_what_has_moved_and_the_new_process_takes_the_next_request() {
    let place = tempfile::tempdir().unwrap();
    let socket = place.path().join("control.sock");
    let mut server = Server::start(&format!("control = \"{}\"\n", socket.display()));
    let address = address(server.addresses, "sse");
    let mut streams: Vec<_> = (0..3)
        .map(|_| open(address, &token("1", None, &[]), ""))
        .collect();
    for number in 1..=2 {
        let old = server.pid();
        let ended = idlewild(&["upgrade", "--control", socket.to_str().unwrap()], &[], "");
        assert_eq!(ended.code, Some(0), "{}", ended.stderr);
        let report: Value = serde_json::from_str(&ended.stdout).unwrap();
        assert_eq!(
            (&report["connections"], &report["lost"]),
            (&3.into(), &0.into())
        );
        let new = i32::try_from(report["pid"].as_i64().unwrap()).unwrap();
        server.follow(Pid::from_raw(new).unwrap());
        server.wait_for_end(old);
        server.publish(r#"{"to":{"user":"1"},"data":"after"}"#);
        for stream in &mut streams {
            assert_eq!(next_data(stream), "after");
        }
        let page = server.admin("GET", "/metrics", "").body;
        let done = page
            .lines()
            .find_map(|line| line.strip_prefix("idlewild_upgrades_total{outcome=\"done\"} "));
        assert_eq!(done, Some(&*number.to_string()));
        check_last_upgrade(&server, &page, &report);
    }
}

/// The new process shows what the old one has reported.
fn check_last_upgrade(server: &Server, metrics: &str, report: &Value) {
    let last = &server.admin("GET", "/v1/stats", "").json()["last_upgrade"];
    for field in ["connections", "lost", "longest_pause_ms"] {
        assert_eq!(last[field], report[field], "{last}");
    }
    for field in ["from_version", "to_version"] {
        assert_eq!(last[field], report["version"], "{last}");
    }
    // The report counts the last answer, too.
    let took_ms = last["took_ms"].as_u64().unwrap();
    assert!((1..=report["took_ms"].as_u64().unwrap()).contains(&took_ms));
    let at = chrono::DateTime::parse_from_rfc3339(last["at"].as_str().unwrap()).unwrap();
    let metric = |name: &str| {
        let line = metrics.lines().find_map(|line| line.strip_prefix(name));
        line.unwrap().trim().parse::<f64>().unwrap() * 1_000.0
    };
    let milliseconds = [
        metric("idlewild_last_upgrade_timestamp_seconds"),
        metric("idlewild_last_upgrade_duration_seconds"),
        metric("idlewild_last_upgrade_pause_seconds"),
    ];
    let pause_ms = last["longest_pause_ms"].as_i64().unwrap();
    let expected = [
        at.timestamp_millis(),
        i64::try_from(took_ms).unwrap(),
        pause_ms,
    ];
    for (metric, expected) in milliseconds.into_iter().zip(expected) {
        assert_eq!(format!("{metric:.0}"), expected.to_string());
    }
    assert!(metrics.contains("\nidlewild_last_upgrade_streams{outcome=\"moved\"} 3\n"));
    assert!(metrics.contains("\nidlewild_last_upgrade_streams{outcome=\"lost\"} 0\n"));
}

/// Asks for an upgrade like the command, and returns the last line of the answer.
fn ask(socket: &Path) -> Value {
    let mut connection = UnixStream::connect(socket).expect("somebody listens");
    connection
        .write_all(b"{\"command\":\"upgrade\"}\n")
        .unwrap();
    let lines = BufReader::new(connection).lines();
    let last = lines
        .map(|line| serde_json::from_str::<Value>(&line.unwrap()).unwrap())
        .find(|line| line.get("progress").is_none());
    last.expect("a request that is answered")
}

#[test]
fn upgrades_can_be_requested_one_right_after_the_other() {
    let place = tempfile::tempdir().unwrap();
    let socket = place.path().join("control.sock");
    let mut server = Server::start(&format!("control = \"{}\"\n", socket.display()));
    let mut stream = open(address(server.addresses, "sse"), &token("1", None, &[]), "");
    for _ in 0..5 {
        let answer = ask(&socket);
        let new = answer["done"]["pid"].as_i64();
        let new = i32::try_from(new.unwrap_or_else(|| panic!("{answer}"))).unwrap();
        server.follow(Pid::from_raw(new).unwrap());
    }
    server.publish(r#"{"to":{"user":"1"},"data":"after"}"#);
    assert_eq!(next_data(&mut stream), "after");
}

#[test]
fn an_upgrade_leaves_other_servers_their_control_sockets() {
    let place = tempfile::tempdir().unwrap();
    let path = |name| place.path().join(name);
    let config = |path: &Path| format!("control = \"{}\"\n", path.display());
    let (ours, theirs) = (path("ours.sock"), path("theirs.sock"));
    let mut server = Server::start(&config(&ours));
    let mut other = Server::start(&config(&theirs));
    server.reconfigure(ours.to_str().unwrap(), theirs.to_str().unwrap());
    server.upgrade();
    assert!(
        server.log().contains("no control socket"),
        "{}",
        server.log()
    );
    // It reaches the other server.
    let old = other.pid();
    let report = ask(&theirs)["done"].take();
    let new = i32::try_from(report["pid"].as_i64().unwrap()).unwrap();
    assert!(other.log().contains(&format!(" upgraded pid={new}")));
    other.follow(Pid::from_raw(new).unwrap());
    other.wait_for_end(old);
    // The next process has a socket again, if there is a free place for it.
    server.reconfigure(theirs.to_str().unwrap(), ours.to_str().unwrap());
    server.upgrade();
    assert!(ask(&ours).get("done").is_some());
    server.follow(server.newest().unwrap());
}

#[test]
fn an_upgrade_leaves_no_descriptor_behind() {
    let mut server = Server::start("");
    let descriptors = |server: &Server| {
        let path = format!("/proc/{}/fd", server.pid().as_raw_nonzero());
        std::fs::read_dir(path).unwrap().count()
    };
    server.upgrade();
    let address = address(server.addresses, "sse");
    let streams: Vec<_> = (0..5)
        .map(|user| open(address, &token(&user.to_string(), None, &[]), ""))
        .collect();
    server.upgrade();
    // The sockets of the hand-over may still be open: one, and one for each shard.
    let before = descriptors(&server);
    for _ in 0..8 {
        server.upgrade();
    }
    eventually("there are no more descriptors than before", || {
        descriptors(&server) <= before
    });
    drop(streams);
}
