//! Failed logins are counted over all nodes.

use serde_json::json;

use crate::accounts::{EMAIL, PASSWORD, UserFile};
use crate::node::{Node, Settings};
use crate::redis::{Options, Redis};
use crate::support::{Answer, BASE, request};

/// Three nodes with the same account.
struct World {
    redis: Redis,
    nodes: Vec<Node>,
    _users: UserFile,
}

impl World {
    fn start() -> Self {
        let users = UserFile::new();
        let redis = Redis::start(Options::in_memory());
        let settings = Settings::redis(&redis.url()).top(&users.setting());
        Self {
            nodes: Node::start_ready(3, &settings),
            redis,
            _users: users,
        }
    }

    fn log_in(&self, node: usize, from: &str, email: &str, password: &str) -> Answer {
        let body = json!({"email": email, "password": password}).to_string();
        let headers = [
            ("Content-Type", "application/json"),
            ("X-Forwarded-For", from),
        ];
        let path = format!("{BASE}/login/");
        request(self.nodes[node].public, "POST", &path, &headers, &body)
    }
}

#[test]
fn the_sixth_failure_within_a_minute_is_refused_on_whichever_node() {
    let world = World::start();
    // Logins that succeed do not count.
    for number in 0..6 {
        let good = world.log_in(number % 3, "192.0.2.1", EMAIL, PASSWORD);
        assert_eq!(good.status, 200, "{}", good.body);
    }
    // One account, from several addresses.
    for number in 0..5 {
        let from = format!("192.0.2.{}", 10 + number);
        let wrong = world.log_in(number % 3, &from, EMAIL, "wrong");
        assert_eq!(wrong.status, 401, "{}", wrong.body);
    }
    for node in 0..3 {
        let limited = world.log_in(node, "192.0.2.20", EMAIL, PASSWORD);
        assert_eq!(limited.status, 429, "{}", limited.body);
    }
    // One address, and several accounts.
    for number in 0..5 {
        let email = format!("{number}@example.com");
        let wrong = world.log_in(number % 3, "192.0.2.30", &email, "wrong");
        assert_eq!(wrong.status, 401, "{}", wrong.body);
    }
    let limited = world.log_in(2, "192.0.2.30", "other@example.com", "wrong");
    assert_eq!(limited.status, 429, "{}", limited.body);
}

#[test]
fn without_redis_no_password_is_checked() {
    let mut world = World::start();
    world.redis.kill();
    for password in [PASSWORD, "wrong"] {
        let answer = world.log_in(0, "192.0.2.1", EMAIL, password);
        assert_eq!(answer.status, 503, "{password}: {}", answer.body);
    }
}
