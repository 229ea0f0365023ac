//! A reload that comes during an upgrade.

use rustix::process::{Signal, kill_process};

use crate::server::Server;
use crate::support::{API_KEY, eventually};

#[test]
fn a_key_that_is_removed_during_an_upgrade_is_refused_by_the_new_process() {
    let mut server = Server::start("");
    // The upgrade waits a moment for a request that is under way.
    let request = server.unfinished_request();
    let old = server.pid();
    server.begin_upgrade();
    eventually("the new process has read its configuration", || {
        server.newest().is_some()
    });
    server.reconfigure(API_KEY, &format!("another-{API_KEY}"));
    kill_process(old, Signal::HUP).unwrap();
    let new = server.wait_for_successor();
    server.follow(new);
    eventually("the new process refuses the old key", || {
        server.admin("GET", "/v1/stats", "").status == 401
    });
    drop(request);
    server.wait_for_end(old);
    assert_eq!(server.admin("GET", "/v1/stats", "").status, 401);
}
