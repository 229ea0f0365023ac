//! A node that is behind, while the log is trimmed.

use std::sync::{Arc, Weak};
use std::time::Duration;

use redis::Script;

use super::Store;
use crate::clock::Clock;
use crate::config::{Config, EngineKind};
use crate::engine::redis::RedisEngine;
use crate::event::EventId;
use crate::hub::Hub;
use crate::hub::directory::Directory;
use crate::hub::engine::{Engine, Verdict};
use crate::hub::log::Log;

/// Bytes of the node's log, which are fewer than those of [`ENTRIES`].
const SIZE: usize = 10_000;
/// As many entries as a node that has just started reads at once.
const ENTRIES: usize = 16;
const ENTRY_BYTES: usize = 1_000;

/// Adds this many events in one step, and returns the id of the last one.
async fn add(store: &mut Store, number: usize) -> EventId {
    let add = Script::new(
        "local id
         for _ = 1, ARGV[1] do id = redis.call('XADD', KEYS[1], '*', 'e', ARGV[2]) end
         return id",
    );
    let data = "x".repeat(ENTRY_BYTES);
    let entry = format!(r#"{{"event":{{"to":{{"user":"2"}},"event":"message","data":"{data}"}}}}"#);
    let log = store.keys.log.clone();
    let id: String = store
        .run(&add, &[&log], &[&number.to_string(), &entry])
        .await
        .unwrap();
    id.parse().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_trimmed_before_it_was_read_is_not_passed_over() {
    let mut store = Store::start().await;
    let mut config = Config::default();
    config.engine.kind = EngineKind::Redis;
    config.engine.prefix = "test:".to_owned();
    let url = format!("unix://{}", store.server.socket().display());
    config.engine.url = url.parse().unwrap();
    let log = Log::new(SIZE, Duration::from_secs(600), EventId::default());
    let log = Arc::new(log);
    let engine = RedisEngine::new(
        &config,
        Arc::clone(&log),
        Arc::new(Directory::default()),
        Arc::default(),
        Clock::system(),
    );
    engine.open(Weak::<Hub>::new()).await.unwrap();
    let attached = |verdict| engine.figures().unwrap().attached[verdict as usize];
    assert_eq!(attached(Verdict::Start), 1);

    // Nothing is dispatched, so there is no room for more.
    let read = add(&mut store, ENTRIES).await;
    while log.newest_id() < read {
        tokio::task::yield_now().await;
    }
    let last = add(&mut store, 2).await;
    let key = store.keys.log.clone();
    let _: u64 = store.command(&["XTRIM", &key, "MAXLEN", "1"]).await;
    let dispatched = Arc::clone(&log);
    let dispatcher = tokio::spawn(async move {
        loop {
            for entry in dispatched.next_batch(10).await {
                dispatched.mark_dispatched(&entry, 0);
            }
        }
    });
    log.read_up_to(last).await;
    assert_eq!(attached(Verdict::Trimmed), 1);
    assert_eq!(attached(Verdict::Resume), 0);
    dispatcher.abort();
    engine.close().await;
}
