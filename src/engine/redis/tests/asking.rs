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
use crate::hub::engine::{Answer, Engine, LocalNode, Register};
use crate::hub::log::Log;
use crate::hub::{ConnectionId, Description};

/// A node that counts one connection per letter of a user's name.
#[derive(Default)]
struct SimpleNode {
    has_room: AtomicBool,
    is_stuck: AtomicBool,
}

impl LocalNode for SimpleNode {
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

    fn make_room<'a>(&'a self, _: &'a str) -> Answer<'a, bool> {
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

fn users(names: &[&str]) -> Vec<UserId> {
    names
        .iter()
        .map(|name| UserId::new(name).unwrap())
        .collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_other_node_is_asked_and_this_one_is_not() {
    let world = &World::start().await;
    let counted = world.a().count_elsewhere(&users(&["x", "yyy"])).get().await;
    assert_eq!(counted.found, [1, 3]);
    assert!(counted.silent.is_empty(), "{:?}", counted.silent);

    let ended = |seq| async move {
        world
            .a()
            .ended_elsewhere(EventId { ms: 9, seq })
            .get()
            .await
    };
    let (known, unknown) = (ended(1).await, ended(0).await);
    assert_eq!((known.found, known.silent.len()), (5, 0));
    assert_eq!((unknown.found, unknown.silent), (0, vec!["b".to_owned()]));

    world.nodes[0].has_room.store(true, Ordering::Relaxed);
    assert!(!world.a().make_room_elsewhere("x").get().await);
    world.nodes[1].has_room.store(true, Ordering::Relaxed);
    assert!(world.a().make_room_elsewhere("x").get().await);
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
