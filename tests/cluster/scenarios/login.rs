//! Redis over TLS, with a user that has only the rights that a node needs.

use crate::load::{Load, Size};
use crate::node::{Node, Settings};
use crate::redis::{Options, Redis};
use crate::scenarios::{presence, tickets};

/// The rights in docs/cluster.md.
pub const RIGHTS: &str = "resetkeys ~idlewild:* resetchannels -@all +evalsha +script|load +xadd +xread +xrange \
    +xrevrange +xtrim +xinfo|stream +get +set +getdel +del +hget +hgetall +hset +hdel +hscan +zadd +zrem \
    +zrangebyscore +exists +pexpire +memory|usage +time +wait +info +client|setname";

#[test]
fn nodes_work_over_tls_and_with_the_fewest_rights() {
    let rules = format!("node on >a-password {RIGHTS}");
    let options = Options::in_memory()
        .password("of-the-tests")
        .user(&rules)
        .tls();
    let redis = Redis::start(options);
    let url = redis.url();
    let (_, place) = url.split_once("://").unwrap();
    let place = place.rsplit_once('@').map_or(place, |(_, place)| place);
    let settings = Settings::redis(&format!("rediss://node:a-password@{place}"))
        .engine(&format!("ca = \"{}\"", redis.ca_file().display()));
    let nodes = Node::start_ready(2, &settings);
    let load = Load::start(&nodes, Size::default());
    load.wait_for_events(300);
    load.finish().check_without_gaps();
    tickets::a_ticket_works_on_another_node(&nodes);
    presence::complete(|| presence::count(&nodes[0], &["42"]));
    for node in &nodes {
        let log = node.log();
        // On a busy machine, a handshake may take too long.
        let mut warnings = log.lines().filter(|line| line.contains("WARN"));
        let of_rights = warnings.find(|line| !line.ends_with("error=timed out"));
        assert_eq!(of_rights, None, "{log}");
    }
    let denied: Vec<::redis::Value> = redis.command(&["ACL", "LOG"]);
    assert!(denied.is_empty(), "{denied:?}");
}
