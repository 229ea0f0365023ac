//! `idlewild upgrade`, which asks over the control socket.

use rustix::process::Pid;

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
        let report: serde_json::Value = serde_json::from_str(&ended.stdout).unwrap();
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
    }
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
