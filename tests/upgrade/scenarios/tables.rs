//! Descriptor tables and shards, which may differ between the two processes. No table keeps what it does not need.

use std::fs;

use rustix::process::{Pid, Signal, kill_process};

use crate::clients::{Publisher, TRANSPORTS, address, next_data, open, token};
use crate::server::Server;
use crate::support::{Stream, eventually};

const PRIVATE: &str = "shards = 3\nmax_connections = 1000\nfd_tables = \"per-shard\"";
const SHARED: &str = "shards = 3\nmax_connections = 1000\nfd_tables = \"shared\"";

/// The number of descriptors in the table of each shard, and in that of the main thread.
fn tables(pid: Pid) -> Vec<usize> {
    let tasks = format!("/proc/{}/task", pid.as_raw_nonzero());
    let mut counts = Vec::new();
    for task in fs::read_dir(tasks).unwrap() {
        let task = task.unwrap();
        // A thread of the control side may end meanwhile.
        let name = fs::read_to_string(task.path().join("comm")).unwrap_or_default();
        let is_main = *task.file_name() == *pid.as_raw_nonzero().to_string();
        if is_main || name.starts_with("shard-") {
            let fds = fs::read_dir(task.path().join("fd")).unwrap();
            counts.push((!is_main, name, fds.count()));
        }
    }
    counts.sort_unstable();
    counts.into_iter().map(|(.., count)| count).collect()
}

/// The sum of all tables, if they are private.
fn descriptors(server: &Server) -> usize {
    tables(server.pid()).iter().sum()
}

fn streams(server: &Server, users: usize) -> Vec<(String, Stream)> {
    let open = |number: usize| {
        let user = number.to_string();
        let address = address(server.addresses, TRANSPORTS[number % TRANSPORTS.len()]);
        let stream = open(address, &token(&user, None, &[]), "");
        (user, stream)
    };
    (0..users).map(open).collect()
}

/// Upgrades to each of these configurations in turn, while a publisher publishes to streams of all transports.
#[track_caller]
fn upgrade_through(configurations: &[&str]) {
    let begun_with = configurations[0];
    // Nobody reads while the publisher publishes.
    let backlog = "max_backlog_bytes = \"64MiB\"\n";
    let mut server = Server::start(&format!("{backlog}{begun_with}\n"));
    let mut streams = streams(&server, 16);
    let users: Vec<String> = streams.iter().map(|(user, _)| user.clone()).collect();
    let publisher = Publisher::start(server.admin, users);
    let mut before = begun_with;
    for configuration in &configurations[1..] {
        server.reconfigure(before, configuration);
        before = configuration;
        server.upgrade();
    }
    let sent = publisher.finish();
    server.publish(r#"{"to":{"all":true},"data":"last"}"#);
    for ((user, stream), sent) in streams.iter_mut().zip(sent) {
        for event in 0..sent {
            assert_eq!(next_data(stream), event.to_string(), "user {user}");
        }
        assert_eq!(next_data(stream), "last", "user {user}");
    }
    assert_eq!(
        server.admin("GET", "/v1/stats", "").json()["connections"],
        16
    );
    let (_, mut new) = self::streams(&server, 1).remove(0);
    server.publish(r#"{"to":{"user":"0"},"data":"new"}"#);
    assert_eq!(next_data(&mut new), "new");
}

#[test]
fn streams_move_from_private_tables_to_private_tables() {
    upgrade_through(&[PRIVATE, PRIVATE, PRIVATE]);
}

#[test]
fn streams_move_from_a_shared_table_to_private_tables_and_back() {
    upgrade_through(&[SHARED, PRIVATE, SHARED]);
}

#[test]
fn streams_move_to_more_shards_and_to_fewer() {
    upgrade_through(&["shards = 2", "shards = 5", "shards = 3", "shards = 1"]);
}

#[test]
fn streams_move_to_more_private_tables_and_to_fewer() {
    let of = |shards| PRIVATE.replace("shards = 3", &format!("shards = {shards}"));
    upgrade_through(&[&of(2), &of(5), &of(1), &of(3)]);
}

#[test]
fn every_shard_gets_its_share_if_there_are_more_than_before() {
    let mut server = Server::start("shards = 1\n");
    let _streams = streams(&server, 400);
    server.reconfigure("shards = 1", "shards = 4");
    server.upgrade();
    let stats = server.admin("GET", "/v1/stats", "").json();
    let shards = stats["shards"].as_array().unwrap().iter();
    let counts: Vec<_> = shards
        .map(|it| it["connections"].as_u64().unwrap())
        .collect();
    assert_eq!(counts, [100; 4]);
}

#[test]
fn an_upgrade_leaves_no_descriptor_in_any_private_table() {
    let mut server = Server::start(&format!("{PRIVATE}\n"));
    let _streams = streams(&server, 8);
    // The first process has no traces of a predecessor.
    let first = descriptors(&server);
    for _ in 0..3 {
        server.upgrade();
        eventually("there are no more descriptors than before", || {
            descriptors(&server) <= first
        });
    }
}

#[test]
fn an_upgrade_that_fails_leaves_no_descriptor_in_any_private_table() {
    let start = || Server::start(&format!("{PRIVATE}\n"));
    let mut server = start();
    // With what the first upgrade opens for good.
    let mut before = None;
    let mut in_time = 0;
    for after_ms in [0, 0, 5, 10, 20, 40] {
        let newest = server.newest();
        // At least two kills have to come in time: with the first, and after it.
        let request = (in_time < 2).then(|| server.unfinished_request());
        server.begin_upgrade();
        eventually("the new process is ready", || server.newest() != newest);
        std::thread::sleep(std::time::Duration::from_millis(after_ms));
        let new = server.newest().unwrap();
        kill_process(new, Signal::KILL).unwrap();
        let done = || server.log().matches(" upgraded pid=").count();
        let failed = || server.log().matches("not upgraded").count();
        eventually("the upgrade ends", || {
            done() > 0 || failed() > server.failed
        });
        if done() > 0 {
            // It had taken over, so its death is that of the server.
            server = start();
            before = None;
            continue;
        }
        drop(request);
        in_time += 1;
        server.failed += 1;
        server.publish(r#"{"to":{"all":true},"data":"x"}"#);
        let before = *before.get_or_insert_with(|| descriptors(&server));
        eventually("there are no more descriptors than before", || {
            descriptors(&server) <= before
        });
    }
    assert!(in_time > 1, "too many kills came too late");
    server.upgrade();
}
