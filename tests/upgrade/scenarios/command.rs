//! `idlewild upgrade`, which asks over the control socket.

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
    for _ in 0..2 {
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
        assert_eq!(done, Some("1"));
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
