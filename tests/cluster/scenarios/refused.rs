//! Redis refuses a node, or is not what a node needs. The node says why, and nothing secret.

use crate::node::{Node, Settings};
use crate::redis::{Options, Redis};
use crate::support::eventually;

const PASSWORD: &str = "of-the-tests";

/// Starts a node that never gets ready, and waits until `/readyz` has this reason.
#[track_caller]
fn assert_refused(settings: &Settings, reason: &str) {
    assert_refused_with_one_of(settings, &[reason]);
}

/// The same with one of these reasons, for servers of different versions.
#[track_caller]
fn assert_refused_with_one_of(settings: &Settings, reasons: &[&str]) {
    let has_reason = |text: &str| reasons.iter().any(|reason| text.contains(reason));
    let node = Node::start(settings);
    let mut told = String::new();
    let deadline = crate::common::real_time::now() + crate::support::PATIENCE;
    while !has_reason(&told) {
        assert!(crate::common::real_time::now() < deadline, "{told}");
        told = node.not_ready().expect("it is not ready");
    }
    let log = node.log();
    assert!(has_reason(&log), "{log}");
    for place in [&log, &told] {
        assert!(
            !place.contains(PASSWORD) && !place.contains("wrong-one"),
            "{place}"
        );
    }
}

fn with_login(redis: &Redis, login: &str) -> Settings {
    let url = redis.url();
    let (scheme, place) = url.split_once("://").unwrap();
    Settings::redis(&format!("{scheme}://{login}@{place}"))
}

#[test]
fn a_wrong_password_is_named() {
    let redis = Redis::start(Options::in_memory().password(PASSWORD));
    let settings = with_login(&redis, ":wrong-one");
    assert_refused(&settings, "Password authentication failed");
}

#[test]
fn a_missing_right_is_named() {
    let rules = format!(
        "node on >{PASSWORD} resetkeys ~idlewild:* -@all +evalsha +script|load +client|setname"
    );
    let redis = Redis::start(Options::in_memory().user(&rules));
    let settings = with_login(&redis, &format!("node:{PASSWORD}"));
    let reasons = ["can't run this command", "has no permissions to run"];
    assert_refused_with_one_of(&settings, &reasons);
}

#[test]
fn a_certificate_of_another_authority_is_named() {
    let redis = Redis::start(Options::in_memory().tls());
    let other = Redis::start(Options::in_memory().tls());
    let settings =
        Settings::redis(&redis.url()).engine(&format!("ca = \"{}\"", other.ca_file().display()));
    assert_refused(&settings, "invalid peer certificate");
}

#[test]
fn a_replica_is_no_place_for_a_log() {
    let master = Redis::start(Options::in_memory());
    let replica = Redis::start(Options::in_memory());
    let (ip, port) = (
        master.address().ip().to_string(),
        master.address().port().to_string(),
    );
    let _: String = replica.command(&["REPLICAOF", &ip, &port]);
    eventually("it follows", || {
        replica.info("master_link_status").as_deref() == Some("up")
    });
    assert_refused(&Settings::redis(&replica.url()), "read only replica");
}
