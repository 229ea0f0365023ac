//! Questions between two engines on a real Redis, whose nodes are simple.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::Server;
use crate::clock::Clock;
use crate::config::{Config, EngineKind};
use crate::engine::redis::RedisEngine;
use crate::event::{EventId, UserId};
use crate::hub::directory::Directory;
use crate::hub::engine::{Answer, Elsewhere, Engine, LocalNode, Register};
use crate::hub::log::Log;
use crate::hub::{ConnectionId, Description};

/// A node that counts one connection per letter of a user's name.
#[derive(Default)]
struct SimpleNode {
    has_room: AtomicBool,
    is_stuck: AtomicBool,
}

impl LocalNode for SimpleNode {
    fn dispatch(&self) {}

    fn describe<'a>(&'a self, _: &'a UserId) -> Answer<'a, Vec<Description>> {
        Box::pin(async move {
            if self.is_stuck.load(Ordering::Relaxed) {
                std::future::pending::<()>().await;
            }
            Vec::new()
        })
    }

    fn count(&self, users: &[UserId]) -> Vec<usize> {
        users.iter().map(|user| user.as_str().len()).collect()
    }

    fn ended_by(&self, change: EventId) -> Option<usize> {
        (change.seq > 0).then_some(5)
    }

    fn evict(&self, _: &UserId, _: ConnectionId) -> bool {
        false
    }

    fn close_dead<'a>(&'a self, _: &'a str) -> Answer<'a, bool> {
        Box::pin(async { self.has_room.load(Ordering::Relaxed) })
    }
}

struct World {
    engines: Vec<RedisEngine>,
    nodes: Vec<Arc<SimpleNode>>,
    _server: Server,
}

impl World {
    async fn start() -> Self {
        let server = Server::start();
        let mut engines: Vec<RedisEngine> = Vec::new();
        let mut nodes = Vec::new();
        for name in ["a", "b"] {
            let mut config = Config::default();
            config.engine.kind = EngineKind::Redis;
            let url = format!("unix://{}", server.socket().display());
            config.engine.url = url.parse().unwrap();
            config.engine.node = name.to_owned();
            let log = Log::new(1 << 20, Duration::from_secs(600), EventId::default());
            let engine = RedisEngine::new(
                &config,
                Arc::new(log),
                Arc::new(Directory::default()),
                Arc::default(),
                Clock::system(),
            );
            let node = Arc::new(SimpleNode::default());
            let of_engine: Arc<dyn LocalNode> = node.clone();
            engine.open(Arc::downgrade(&of_engine)).await.unwrap();
            engines.push(engine);
            nodes.push(node);
        }
        while engines[0].nodes().get().await.map_or(0, |it| it.len()) < 2 {
            tokio::task::yield_now().await;
        }
        Self {
            engines,
            nodes,
            _server: server,
        }
    }

    fn a(&self) -> &dyn Register {
        self.engines[0].register()
    }
}

/// Asks until the other node has answered: a busy machine may keep it from answering in time.
async fn heard<T>(ask: impl AsyncFn() -> Elsewhere<T>) -> T {
    /// Each takes half a second if there is no answer.
    const TRIES: usize = 40;
    for _ in 0..TRIES {
        let answer = ask().await;
        if answer.silent.is_empty() {
            return answer.found;
        }
    }
    panic!("the other node never answers");
}

fn users(names: &[&str]) -> Vec<UserId> {
    names
        .iter()
        .map(|name| UserId::new(name).unwrap())
        .collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_other_node_is_asked_and_this_one_is_not() {
    let world = &World::start().await;
    let count = async || world.a().count_elsewhere(&users(&["x", "yyy"])).get().await;
    assert_eq!(heard(count).await, [1, 3]);

    let ended = async |seq| {
        let change = EventId { ms: 9, seq };
        world.a().ended_elsewhere(change).get().await
    };
    assert_eq!(heard(async || ended(1).await).await, 5);
    let unknown = ended(0).await;
    assert_eq!((unknown.found, unknown.silent), (0, vec!["b".to_owned()]));

    world.nodes[0].has_room.store(true, Ordering::Relaxed);
    assert!(!world.a().close_dead_elsewhere("x").get().await);
    world.nodes[1].has_room.store(true, Ordering::Relaxed);
    assert!(world.a().close_dead_elsewhere("x").get().await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_is_stuck_is_silent_and_is_not_kept_alive() {
    let world = World::start().await;
    let stuck = &world.nodes[1].is_stuck;
    stuck.store(true, Ordering::Relaxed);
    let user = &users(&["x"])[0];
    let described = world.a().elsewhere(user).get().await;
    assert_eq!(described.silent, ["b"]);
    // It answers as before, and what was stuck is given up. Both take a moment on a busy machine.
    stuck.store(false, Ordering::Relaxed);
    while !world.a().elsewhere(user).get().await.silent.is_empty() {}
    while Arc::strong_count(&world.nodes[1]) > 1 {
        tokio::task::yield_now().await;
    }
}
