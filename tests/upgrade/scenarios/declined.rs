//! A new process that does not take over leaves everything as it was.

use crate::clients::{address, next_data, open, token};
use crate::server::Server;
use crate::support::eventually;

#[test]
fn an_unusable_configuration_is_declined_in_one_line_and_nothing_has_happened() {
    let server = Server::start("");
    let mut stream = open(address(server.addresses, "sse"), &token("1", None, &[]), "");
    let good = std::fs::read_to_string(server.config_file()).unwrap();
    let bad = good.replace("[auth]", "[auth]\nleeway = \"a lot\"");
    std::fs::write(server.config_file(), bad).unwrap();
    server.begin_upgrade();
    eventually("the upgrade is declined", || {
        server.log().contains("not upgraded")
    });
    let log = server.log();
    let line = log.lines().find(|line| line.contains("not upgraded"));
    assert!(line.unwrap().contains("auth.leeway"), "{log}");
    server.publish(r#"{"to":{"user":"1"},"data":"after"}"#);
    assert_eq!(next_data(&mut stream), "after");
    assert_eq!(server.connections("1"), 1);
}
