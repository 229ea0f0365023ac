//! Redis loses session changes. A node that knows them writes them back, whatever goes wrong meanwhile.

use crate::load::LOG_KEY;
use crate::node::{Node, Settings};
use crate::redis::{Options, Redis};
use crate::support::eventually;

const USER: &str = "42";

struct Lost {
    redis: Redis,
    node: Node,
    /// The key of the users' standings.
    standings: String,
    /// The ids of the changes.
    ids: [String; 2],
}

impl Lost {
    /// The user is logged out and then gets a session. The node knows both.
    fn prepare() -> Self {
        let redis = Redis::start(Options::in_memory());
        let node = Node::start_ready(1, &Settings::redis(&redis.url())).remove(0);
        let changes = [
            ("POST", "logout", "{}"),
            ("PUT", "session", r#"{"session_id":"s1"}"#),
        ];
        let ids = changes.map(|(method, path, body)| {
            let answer = node.request(method, &format!("/v1/users/{USER}/{path}"), body);
            assert_eq!(answer.status, 200, "{}", answer.body);
            answer.json()["id"].as_str().unwrap().to_owned()
        });
        Self {
            redis,
            node,
            standings: format!("{LOG_KEY}:standings"),
            ids,
        }
    }

    /// Deletes the entries, as if a replica had taken over that lacks them.
    fn lose_entries(&self) {
        let [one, other] = &self.ids;
        let deleted: u64 = self.redis.command(&["XDEL", LOG_KEY, one, other]);
        assert_eq!(deleted, 2);
    }

    /// The session changes in the log.
    fn changes(&self) -> Vec<String> {
        let entries: Vec<(String, Vec<String>)> =
            self.redis.command(&["XRANGE", LOG_KEY, "-", "+"]);
        let texts = entries.into_iter().map(|(_, fields)| fields[1].clone());
        texts.filter(|text| text.contains("session")).collect()
    }

    fn wait_until_written_back(&self) {
        eventually("both changes are in the log again", || {
            self.changes().len() == 2
        });
        let changes = self.changes();
        assert!(changes[0].contains("\"keep\":null"), "{changes:?}");
        assert!(changes[1].contains("\"keep\":\"s1\""), "{changes:?}");
        let row: String = self.redis.command(&["HGET", &self.standings, USER]);
        assert!(row.contains("logged_out_at_ms"), "{row}");
    }

    fn forks(&self) -> Option<f64> {
        let forked = "idlewild_engine_resyncs_total{verdict=\"forked\"}";
        self.node.metric(forked)
    }
}

#[test]
fn all_lost_changes_of_a_user_are_appended_again_in_their_order() {
    let lost = Lost::prepare();
    lost.lose_entries();
    let _: u64 = lost.redis.command(&["HDEL", &lost.standings, USER]);
    let _: u64 = lost.redis.command(&["CLIENT", "KILL", "TYPE", "normal"]);
    lost.wait_until_written_back();
    lost.node.wait_until_ready();
    assert_eq!(lost.forks(), Some(1.0));
}

#[test]
fn changes_that_could_not_be_written_back_are_not_forgotten() {
    let lost = Lost::prepare();
    lost.lose_entries();
    // No standing can be read or written.
    let _: String = lost.redis.command(&["SET", &lost.standings, "x"]);
    let _: u64 = lost.redis.command(&["CLIENT", "KILL", "TYPE", "normal"]);
    eventually("writing back fails", || {
        let reason = lost.node.not_ready().unwrap_or_default();
        reason.contains("WRONGTYPE") && reason.contains("script")
    });
    let _: u64 = lost.redis.command(&["DEL", &lost.standings]);
    lost.wait_until_written_back();
    lost.node.wait_until_ready();
    // By then, the node had dropped what was lost, so its log went on where Redis' did.
    assert_eq!(lost.forks(), Some(0.0));
}
