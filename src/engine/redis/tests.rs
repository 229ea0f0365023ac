//! The scripts, in a real Redis.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::{
    AsyncConnectionConfig, Client, FromRedisValue, RedisError, RedisResult, Script,
    ScriptInvocation,
};
use tempfile::TempDir;

use super::keys::Keys;
use super::link::ServerAddress;
use super::scripts;
use super::settings::RedisSettings;
use super::spread::Spread;
use crate::clock::Clock;
use crate::config::Config;
use crate::engine::sources::SOURCE_ID_MS;
use crate::event::EventId;

/// Longest wait for a connection and for an answer. The library's is half a second, which a busy machine may take.
const PATIENCE: Duration = Duration::from_secs(20);

/// Connects to a server on a Unix socket, as soon as it listens.
pub(super) async fn connect(socket: &Path) -> MultiplexedConnection {
    let client = Client::open(format!("unix://{}", socket.display())).unwrap();
    let config = AsyncConnectionConfig::new()
        .set_connection_timeout(Some(PATIENCE))
        .set_response_timeout(Some(PATIENCE));
    let connection = async {
        loop {
            let tried = client.get_multiplexed_async_connection_with_config(&config);
            match tried.await {
                Ok(connection) => break connection,
                // It does not listen yet.
                Err(_) => Clock::system().sleep(Duration::from_millis(5)).await,
            }
        }
    };
    let connection = tokio::time::timeout(PATIENCE, connection).await;
    connection.expect("Redis listens")
}

/// A Redis server on a Unix socket; it ends when dropped.
struct Server {
    child: Child,
    directory: TempDir,
}

impl Server {
    fn start() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let child = Command::new("redis-server")
            .args(["--port", "0", "--save", "", "--unixsocket", "redis.sock"])
            .current_dir(&directory)
            .stdout(Stdio::null())
            .spawn()
            .expect("redis-server is missing; install the package redis-server, or all packages with scripts/setup");
        Self { child, directory }
    }

    fn socket(&self) -> PathBuf {
        self.directory.path().join("redis.sock")
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

mod asking;
mod behind;
mod places;
mod users;

struct Store {
    connection: MultiplexedConnection,
    keys: Keys,
    server: Server,
}

impl Store {
    async fn start() -> Self {
        let server = Server::start();
        Self {
            connection: connect(&server.socket()).await,
            keys: Keys::new("test:"),
            server,
        }
    }

    async fn command<T: FromRedisValue>(&mut self, words: &[&str]) -> T {
        let mut command = redis::cmd(words[0]);
        command.arg(&words[1..]);
        command.query_async(&mut self.connection).await.unwrap()
    }

    async fn run<T: FromRedisValue>(
        &mut self,
        script: &Script,
        keys: &[&str],
        args: &[&str],
    ) -> RedisResult<T> {
        let mut call = script.prepare_invoke();
        for key in keys {
            call.key(*key);
        }
        for arg in args {
            call.arg(*arg);
        }
        call.invoke_async(&mut self.connection).await
    }

    /// The verdict, the epoch, and the newest id.
    async fn attach(&mut self, known: &str, seen: EventId) -> (String, String, EventId) {
        let keys = self.keys.clone();
        let (ms, seq) = (seen.ms.to_string(), seen.seq.to_string());
        let args = ["1", "fresh", known, &ms, &seq, "0", "77"];
        let answer: Vec<String> = self
            .run(&scripts::ATTACH, &[&keys.log, &keys.meta], &args)
            .await
            .unwrap();
        let newest = answer[4].parse().unwrap();
        (answer[0].clone(), answer[1].clone(), newest)
    }

    /// Publishes entries as group `number`; each with a publisher's id if it begins with one and `=`.
    async fn publish(&mut self, number: &str, entries: &[&str]) -> RedisResult<String> {
        let keys = self.keys.clone();
        let (log, writer) = (keys.log.clone(), keys.writer("w"));
        let mut all_keys = vec![log.clone(), keys.meta.clone(), writer];
        let remember = SOURCE_ID_MS.to_string();
        let mut args: Vec<String> = ["fresh", number, "0", "600000", &remember]
            .map(str::to_owned)
            .to_vec();
        for entry in entries {
            let index = match entry.split_once('=') {
                Some((source, _)) => {
                    all_keys.push(format!("{log}:src:{source}"));
                    all_keys.len().to_string()
                }
                None => "0".to_owned(),
            };
            args.extend([index, (*entry).to_owned()]);
        }
        let all_keys: Vec<&str> = all_keys.iter().map(String::as_str).collect();
        let args: Vec<&str> = args.iter().map(String::as_str).collect();
        self.run(&scripts::PUBLISH, &all_keys, &args).await
    }

    async fn length(&mut self) -> u64 {
        let log = self.keys.log.clone();
        self.command(&["XLEN", &log]).await
    }
}

fn id(text: &str) -> EventId {
    text.parse().unwrap()
}

#[tokio::test]
async fn a_node_learns_what_its_log_and_the_stores_have_in_common() {
    let mut store = Store::start().await;
    let log = store.keys.log.clone();
    let (verdict, epoch, origin) = store.attach("", EventId::default()).await;
    assert_eq!((verdict.as_str(), epoch.as_str()), ("start", "fresh"));
    assert_eq!((store.length().await, origin.seq), (1, 77));
    let first = id(&store.publish("1", &["a"]).await.unwrap());
    let second = id(&store.publish("2", &["b"]).await.unwrap());
    assert_eq!(store.attach("fresh", first).await.0, "resume");

    // The store has lost what this node has seen. Later ids are above it, although the clock is behind.
    let lost = EventId {
        ms: second.ms + 3_600_000,
        seq: 5,
    };
    let (verdict, _, newest) = store.attach("fresh", lost).await;
    assert_eq!(verdict, "forked");
    assert!(newest > lost);
    assert!(id(&store.publish("3", &["c"]).await.unwrap()) > newest);
    // Another node that has lost less adds nothing.
    let before = store.length().await;
    let other = EventId { seq: 4, ..lost };
    assert_eq!(store.attach("fresh", other).await.0, "forked");
    assert_eq!(store.length().await, before);

    let _: u64 = store.command(&["XTRIM", &log, "MAXLEN", "1"]).await;
    assert_eq!(store.attach("fresh", first).await.0, "trimmed");

    let _: () = store.command(&["FLUSHALL"]).await;
    let (verdict, _, newest) = store.attach("of another log", lost).await;
    assert_eq!(verdict, "new-log");
    assert!(newest > lost);
}

#[tokio::test]
async fn a_log_of_another_format_is_refused() {
    let mut store = Store::start().await;
    let meta = store.keys.meta.clone();
    let _: u64 = store.command(&["HSET", &meta, "format", "2"]).await;
    let keys = store.keys.clone();
    let args = ["1", "fresh", "", "0", "0", "0", "77"];
    let refused: Result<Vec<String>, RedisError> = store
        .run(&scripts::ATTACH, &[&keys.log, &keys.meta], &args)
        .await;
    assert_eq!(refused.unwrap_err().code(), Some("FORMAT"));
}

#[tokio::test]
async fn a_group_is_appended_once_and_one_that_was_given_up_never_is() {
    let mut store = Store::start().await;
    store.attach("", EventId::default()).await;
    let ids = store.publish("1", &["a", "b"]).await.unwrap();
    assert_eq!(store.publish("1", &["a", "b"]).await.unwrap(), ids);
    assert_eq!(store.length().await, 3);
    // Given up: asked for again without its entries.
    assert_eq!(store.publish("1", &[]).await.unwrap(), ids);
    assert_eq!(store.publish("2", &[]).await.unwrap(), "");
    // The first request arrives late.
    assert_eq!(store.publish("2", &["c"]).await.unwrap(), "");
    assert_eq!(store.length().await, 3);
    let meta = store.keys.meta.clone();
    let _: u64 = store.command(&["HSET", &meta, "epoch", "another"]).await;
    let refused = store.publish("3", &["d"]).await.unwrap_err();
    assert_eq!(refused.code(), Some("EPOCH"));
}

#[tokio::test]
async fn a_publishers_id_is_remembered_for_ten_minutes() {
    let mut store = Store::start().await;
    store.attach("", EventId::default()).await;
    let first = store.publish("1", &["order-1=a"]).await.unwrap();
    let both = store
        .publish("2", &["order-1=b", "order-2=c"])
        .await
        .unwrap();
    let (again, other) = both.split_once(' ').unwrap();
    assert!(again == first && other != first);
    let key = format!("{}:src:order-1", store.keys.log);
    let left: u64 = store.command(&["PTTL", &key]).await;
    assert!(left > 0 && left <= SOURCE_ID_MS, "{left}");
    let _: u64 = store.command(&["DEL", &key]).await;
    assert_ne!(store.publish("3", &["order-1=d"]).await.unwrap(), first);
}

#[tokio::test]
async fn a_session_change_is_stored_if_the_standing_is_the_one_that_it_was_computed_from() {
    let mut store = Store::start().await;
    store.attach("", EventId::default()).await;
    let keys = store.keys.clone();
    let all = [&*keys.log, &*keys.meta, &*keys.standings];
    let change = ["fresh", "0", "42", "", "a:1", "{}", "entry"];
    let (stored, id): (u8, String) = store.run(&scripts::SESSION, &all, &change).await.unwrap();
    assert_eq!(stored, 1);
    let row: String = store.command(&["HGET", &keys.standings, "42"]).await;
    assert_eq!(row, format!("{id} a:1 {{}}"));
    let overtaken: Vec<u8> = store.run(&scripts::SESSION, &all, &change).await.unwrap();
    assert_eq!(
        (overtaken.as_slice(), store.length().await),
        ([0].as_slice(), 2)
    );
}

#[tokio::test]
async fn the_newer_standing_stays_when_one_is_written_back() {
    let mut store = Store::start().await;
    store.attach("", EventId::default()).await;
    let keys = store.keys.clone();
    let all = [&*keys.meta, &*keys.standings];
    let standing = |ms: u64| format!("{{\"changed_at_ms\":{ms}}}");
    for (ms, adopted) in [(5, 1), (4, 0), (5, 0), (6, 1)] {
        let args = ["fresh", "9-0", "node", "42", &standing(ms)];
        let count: u64 = store.run(&scripts::ADOPT, &all, &args).await.unwrap();
        assert_eq!(count, adopted, "{ms}");
    }
    let row: String = store.command(&["HGET", &keys.standings, "42"]).await;
    assert_eq!(row, format!("9-0 node {}", standing(6)));
    // It is removed only as it was read.
    let all = [&*keys.standings];
    for (read, removed) in [("another row", 0), (row.as_str(), 1)] {
        let count: u64 = store
            .run(&scripts::PRUNE, &all, &["42", read])
            .await
            .unwrap();
        assert_eq!(count, removed);
    }
}

#[tokio::test]
async fn a_beat_renews_a_lease_bounds_the_log_and_notices_a_log_that_ends_too_early() {
    let mut store = Store::start().await;
    let (_, _, origin) = store.attach("", EventId::default()).await;
    for number in 1..=300 {
        let entry = "x".repeat(1_000);
        store.publish(&number.to_string(), &[&entry]).await.unwrap();
    }
    let keys = store.keys.clone();
    let all = [
        &*keys.log,
        &*keys.meta,
        &*keys.beat,
        &*keys.nodes,
        &*keys.said,
    ];
    let (ms, seq) = (origin.ms.to_string(), origin.seq.to_string());
    for node in ["a", "b"] {
        let said = "{\"connections\":9,\"users\":4}";
        let args = [
            "fresh", node, said, "10000", &ms, &seq, "100000", "900", "p", "1", "0",
        ];
        let (_, newest, live, users): (u64, String, Vec<String>, u64) =
            store.run(&scripts::BEAT, &all, &args).await.unwrap();
        assert!(id(&newest) > origin);
        let expected: &[&str] = if node == "a" { &["a"] } else { &["a", "b"] };
        assert_eq!(live, expected);
        assert_eq!(users, 4 * expected.len() as u64);
    }
    assert!(store.length().await < 200);
    // One beat is enough for both.
    let beats: u64 = store.command(&["XLEN", &keys.beat]).await;
    assert_eq!(beats, 1);
    let far = (origin.ms + 3_600_000).to_string();
    let args = [
        "fresh", "a", "{}", "10000", &far, "0", "100000", "900", "p", "1", "0",
    ];
    let behind: Result<redis::Value, RedisError> = store.run(&scripts::BEAT, &all, &args).await;
    assert_eq!(behind.unwrap_err().code(), Some("BEHIND"));
    let live: Vec<String> = store
        .run(&scripts::NODES, &[&keys.nodes, &keys.said], &[])
        .await
        .unwrap();
    assert_eq!(live.len(), 4);
    assert_eq!([&live[0], &live[2]], ["a", "b"]);
}

#[tokio::test]
async fn many_calls_of_a_script_each_have_their_result_and_an_unknown_script_is_loaded() {
    let mut store = Store::start().await;
    let address = ServerAddress::Unix(store.server.socket());
    let settings = RedisSettings::of(&Config::default());
    let spread = Spread::open(&address, &settings).await.unwrap();
    let append = Script::new(r#"return redis.call("RPUSH", KEYS[1], ARGV[1])"#);
    let calls = |keys: &[&str]| -> Vec<ScriptInvocation<'_>> {
        let call = |key: &&str| {
            let mut call = append.key(*key);
            call.arg("x");
            call
        };
        keys.iter().map(call).collect()
    };
    let _: () = store.command(&["SET", "text", "x"]).await;
    for (list, first) in [("a", 1), ("b", 1), ("a", 3)] {
        let results = spread
            .run_all::<u64>(&append, &calls(&[list, "text", list]))
            .await;
        let [Ok(one), Err(refused), Ok(two)] = &*results else {
            panic!("{results:?}");
        };
        assert_eq!((*one, *two), (first, first + 1));
        assert_eq!(refused.code(), Some("WRONGTYPE"));
        if list == "b" {
            let _: () = store.command(&["SCRIPT", "FLUSH"]).await;
        }
    }
    assert!(spread.run_all::<u64>(&append, &[]).await.is_empty());
    let not_numbers = spread.run_all::<Vec<u64>>(&append, &calls(&["c"])).await;
    assert!(not_numbers[0].is_err());
    // The server is gone.
    drop(store);
    let results = spread.run_all::<u64>(&append, &calls(&["a", "b"])).await;
    assert!(results.len() == 2 && results.iter().all(Result::is_err));
}
