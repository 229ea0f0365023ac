//! Keys in a real Redis Cluster of two masters.

use std::net::{SocketAddr, TcpListener};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use super::*;
use crate::clock::Clock;
use crate::config::Config;
use crate::engine::redis::tests::connect;

/// Longest wait for the cluster.
const PATIENCE: Duration = Duration::from_secs(20);
/// The slots of the masters.
const SLOTS: [(u16, u16); 2] = [(0, 8_191), (8_192, 16_383)];

/// The wait between two tries.
async fn pause() {
    Clock::system().sleep(Duration::from_millis(5)).await;
}

/// Two masters; they end when dropped.
struct TwoMasters {
    servers: [ClusterServer; 2],
}

struct ClusterServer {
    address: SocketAddr,
    directory: TempDir,
    child: Child,
}

impl ClusterServer {
    /// Server `number` of `test`, on a loopback address of its own.
    fn start(test: u8, number: u8) -> Self {
        let [.., high, low] = std::process::id().to_be_bytes();
        let ip = [127, 200 + 2 * test + number, high, low];
        let free = |()| TcpListener::bind(SocketAddr::from((ip, 0))).unwrap();
        // Both at once, so that they differ.
        let [port, bus] = [(), ()].map(free).map(|it| it.local_addr().unwrap().port());
        let address = SocketAddr::from((ip, port));
        let directory = tempfile::tempdir().unwrap();
        let config = format!(
            "bind {ip}\nport {port}\ncluster-enabled yes\ncluster-port {bus}\ncluster-announce-ip {ip}\n\
             protected-mode no\nsave \"\"\ncluster-require-full-coverage no\nunixsocket redis.sock\n",
            ip = address.ip()
        );
        std::fs::write(directory.path().join("redis.conf"), config).unwrap();
        let child = spawn(&directory);
        Self {
            address,
            directory,
            child,
        }
    }

    async fn connect(&self) -> MultiplexedConnection {
        connect(&self.directory.path().join("redis.sock")).await
    }

    async fn command<T: FromRedisValue>(&self, words: &[&str]) -> T {
        let mut command = redis::cmd(words[0]);
        command.arg(&words[1..]);
        let answer = command.query_async(&mut self.connect().await).await;
        answer.unwrap_or_else(|error| panic!("{words:?}: {error}"))
    }

    fn kill(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for ClusterServer {
    fn drop(&mut self) {
        self.kill();
    }
}

fn spawn(directory: &TempDir) -> Child {
    Command::new("redis-server")
        .arg("redis.conf")
        .current_dir(directory)
        .stdout(Stdio::null())
        .spawn()
        .expect("redis-server is missing; install the package redis-server, or all packages with scripts/setup")
}

impl TwoMasters {
    async fn start(test: u8) -> Self {
        let servers = [0, 1].map(|number| ClusterServer::start(test, number));
        for (server, (first, last)) in servers.iter().zip(SLOTS) {
            let (first, last) = (first.to_string(), last.to_string());
            let words = ["CLUSTER", "ADDSLOTSRANGE", &first, &last];
            server.command::<()>(&words).await;
        }
        let [one, other] = &servers;
        let config: Vec<String> = other.command(&["CONFIG", "GET", "cluster-port"]).await;
        let (ip, port) = (other.address.ip(), other.address.port());
        let (ip, port) = (ip.to_string(), port.to_string());
        one.command::<()>(&["CLUSTER", "MEET", &ip, &port, &config[1]])
            .await;
        let cluster = Self { servers };
        for server in &cluster.servers {
            for line in ["cluster_slots_ok:16384", "cluster_state:ok"] {
                cluster.wait_until(server, line).await;
            }
        }
        cluster
    }

    async fn wait_until(&self, server: &ClusterServer, line: &str) {
        let wait = async {
            loop {
                let info: String = server.command(&["CLUSTER", "INFO"]).await;
                if info.lines().any(|it| it == line) {
                    return;
                }
                pause().await;
            }
        };
        tokio::time::timeout(PATIENCE, wait).await.expect(line);
    }

    /// Knows one of the servers.
    async fn spread(&self) -> Spread {
        let config = Config::default();
        let mut settings = RedisSettings::of(&config);
        let seed = self.servers[0].address;
        settings.servers = Servers::Cluster {
            seeds: vec![(seed.ip().to_string().into(), seed.port())],
            tls: false,
        };
        let address = ServerAddress::Tcp {
            host: seed.ip().to_string(),
            port: seed.port(),
            is_tls: false,
        };
        Spread::open(&address, &settings).await.unwrap()
    }

    /// The server that has this key.
    async fn slot(&self, key: &str) -> u16 {
        self.servers[0].command(&["CLUSTER", "KEYSLOT", key]).await
    }
}

/// The server that has this slot.
fn server_of(slot: u16) -> usize {
    usize::from(slot >= SLOTS[1].0)
}

fn append() -> Script {
    Script::new(r#"return redis.call("RPUSH", KEYS[1], ARGV[1])"#)
}

fn set(key: &str) -> Cmd {
    let mut set = redis::cmd("SET");
    set.arg(key).arg("value");
    set
}

#[tokio::test]
async fn keys_on_all_masters_are_reached_and_each_master_learns_the_script() {
    let cluster = TwoMasters::start(0).await;
    let spread = cluster.spread().await;
    let append = append();
    let keys: Vec<String> = (0..40).map(|number| format!("list-{number}")).collect();
    let call = |key: &String| {
        let mut call = append.key(key);
        call.arg("x");
        call
    };
    let refused = &keys[7];
    spread.call::<()>(&set(refused)).await.unwrap();
    for round in 1..4 {
        let calls: Vec<_> = keys.iter().map(call).collect();
        let results = spread.run_all::<u64>(&append, &calls).await;
        for (key, result) in keys.iter().zip(results) {
            match result {
                Ok(length) => assert_eq!(length, round, "{key}"),
                Err(error) => assert_eq!((key, error.code()), (refused, Some("WRONGTYPE"))),
            }
        }
        // As a server that has been promoted.
        cluster.servers[1].command::<()>(&["SCRIPT", "FLUSH"]).await;
    }
    for key in &keys[..7] {
        assert_eq!(spread.run::<u64>(&call(key)).await.unwrap(), 4);
    }
    for server in &cluster.servers {
        let count: u64 = server.command(&["DBSIZE"]).await;
        assert!(count > 0 && count < 40, "{count}");
    }
}

#[tokio::test]
async fn a_key_that_moves_is_followed() {
    let cluster = TwoMasters::start(1).await;
    let spread = cluster.spread().await;
    let (moved, moving) = ("moved", "moving");
    for (key, steps) in [
        (moved, &["NODE"][..]),
        (moving, &["IMPORTING", "MIGRATING"]),
    ] {
        spread.call::<()>(&set(key)).await.unwrap();
        let slot = cluster.slot(key).await;
        let from = server_of(slot);
        let (source, target) = (&cluster.servers[from], &cluster.servers[1 - from]);
        let slot = slot.to_string();
        let source_id: String = source.command(&["CLUSTER", "MYID"]).await;
        let target_id: String = target.command(&["CLUSTER", "MYID"]).await;
        source.command::<()>(&["DEL", key]).await;
        if let [only] = steps {
            // Otherwise the source, which claims the slot for a moment longer, may have the higher epoch.
            target.command::<()>(&["CLUSTER", "BUMPEPOCH"]).await;
            for server in [target, source] {
                let words = ["CLUSTER", "SETSLOT", &slot, only, &target_id];
                server.command::<()>(&words).await;
            }
        } else {
            let words = ["CLUSTER", "SETSLOT", &slot, steps[0], &source_id];
            target.command::<()>(&words).await;
            let words = ["CLUSTER", "SETSLOT", &slot, steps[1], &target_id];
            source.command::<()>(&words).await;
        }
        let append = append();
        let mut call = append.key(key);
        call.arg("x");
        assert_eq!(spread.run::<u64>(&call).await.unwrap(), 1, "{key}");
        let calls = [call];
        let again = spread.run_all::<u64>(&append, &calls).await;
        assert_eq!(*again[0].as_ref().unwrap(), 2, "{key}");
        let kept: u64 = target.command(&["CLUSTER", "COUNTKEYSINSLOT", &slot]).await;
        assert_eq!(kept, 1, "{key}");
    }
}

#[tokio::test]
async fn without_a_master_the_keys_of_the_others_are_reached_and_its_own_again_when_it_is_back() {
    let mut cluster = TwoMasters::start(2).await;
    let spread = cluster.spread().await;
    let mut keys = [None, None];
    for number in 0..20 {
        let key = format!("key-{number}");
        let server = server_of(cluster.slot(&key).await);
        keys[server] = Some(key);
    }
    let [ours, theirs] = keys.map(Option::unwrap);
    for key in [&ours, &theirs] {
        spread.call::<()>(&set(key)).await.unwrap();
    }
    // A script is loaded only where it is needed, so a server that does not answer is not waited for.
    let paused = Pid::from_child(&cluster.servers[1].child);
    kill_process(paused, Signal::STOP).unwrap();
    let append = append();
    let mut call = append.key(format!("{{{ours}}}:list"));
    call.arg("x");
    assert_eq!(spread.run::<u64>(&call).await.unwrap(), 1);
    cluster.servers[0].command::<()>(&["SCRIPT", "FLUSH"]).await;
    let again = spread.run_all::<u64>(&append, &[call]).await;
    assert_eq!(*again[0].as_ref().unwrap(), 2);
    cluster.servers[1].kill();
    assert!(spread.call::<()>(&set(&theirs)).await.is_err());
    spread.call::<()>(&set(&ours)).await.unwrap();
    // A connection that is made while the cluster cannot be reached, too.
    cluster.servers[0].kill();
    let later = cluster.spread().await;
    assert!(later.call::<()>(&set(&ours)).await.is_err());
    for server in &mut cluster.servers {
        server.child = spawn(&server.directory);
    }
    for spread in [spread, later] {
        for key in [&ours, &theirs] {
            let again = async {
                while spread.call::<()>(&set(key)).await.is_err() {
                    pause().await;
                }
            };
            tokio::time::timeout(PATIENCE, again).await.expect(key);
        }
    }
}
