//! Either process dies at any moment.

use std::time::Duration;

use rustix::process::{Signal, kill_process};

use crate::clients::{address, next_data, open, open_crowd, token};
use crate::server::Server;
use crate::support::eventually;

/// Upgrades with a kill of the new process: after so many milliseconds.
const KILLS_AFTER_MS: [u64; 8] = [0, 2, 5, 10, 20, 30, 50, 80];

#[test]
fn if_the_new_process_is_killed_the_old_one_goes_on_with_what_it_has() {
    kill_new_processes("");
}

#[test]
fn if_the_new_process_is_killed_private_tables_make_no_difference() {
    kill_new_processes("shards = 3\nmax_connections = 1000\nfd_tables = \"per-shard\"\n");
}

fn kill_new_processes(more: &str) {
    let mut server = Server::start(more);
    let mut in_time = 0;
    for after_ms in KILLS_AFTER_MS {
        let mut streams = open_crowd(server.addresses, &after_ms.to_string());
        let old = server.pid();
        // At least one kill has to come in time.
        let _request = (in_time == 0).then(|| server.unfinished_request());
        let after = Duration::from_millis(after_ms);
        let (_, has_taken_over) = server.upgrade_with_signal(after, Signal::KILL);
        if has_taken_over {
            // It had taken over, so its death is that of the server: nobody is left.
            server.wait_for_end(old);
            server = Server::start(more);
            continue;
        }
        in_time += 1;
        server.failed = server.log().matches("not upgraded").count();
        server.publish(r#"{"to":{"all":true},"data":"after"}"#);
        let mut left = 0;
        for stream in &mut streams {
            // A stream that had left was served by the process that was killed.
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
    assert!(in_time > 0, "every kill came too late");
    server.upgrade();
}

#[test]
fn if_the_old_process_is_killed_the_new_one_serves() {
    let mut server = Server::start("");
    for after_ms in KILLS_AFTER_MS {
        let before = server.newest();
        let mut stream = open(address(server.addresses, "sse"), &token("1", None, &[]), "");
        server.begin_upgrade();
        eventually("the new process is ready", || server.newest() != before);
        std::thread::sleep(Duration::from_millis(after_ms));
        let old = server.pid();
        let _ = kill_process(old, Signal::KILL);
        let new = server.newest().unwrap();
        server.follow(new);
        server.wait_for_end(old);
        // Whether the stream had moved or not, a client is served.
        let mut again = open(address(server.addresses, "sse"), &token("2", None, &[]), "");
        server.publish(r#"{"to":{"all":true},"data":"after"}"#);
        assert_eq!(next_data(&mut again), "after");
        while let Some(frame) = stream.next() {
            if frame.contains("data: after\n") {
                break;
            }
        }
    }
}
