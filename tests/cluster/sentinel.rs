//! Three real Sentinels that watch one master.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use ::redis::{Client, Cmd, FromRedisValue, RedisResult};

use crate::daemon::Daemon;
use crate::support::eventually;

/// The name of the master.
pub const NAME: &str = "idlewild";
const SENTINELS: usize = 3;
/// Sentinels that have to agree that the master is down.
const QUORUM: usize = 2;
/// Time without an answer after which each Sentinel takes a server for dead. Two are enough to agree. If the third
/// noticed it at the same time, each could vote for itself, and the next election is 6 s later.
const DOWN_AFTER_MS: [u32; SENTINELS] = [500, 500, 1_500];
/// A failover that takes longer is tried again.
const FAILOVER_TIMEOUT_MS: u32 = 3_000;
/// Longest wait for a connection.
const PATIENCE: Duration = Duration::from_secs(10);
/// Shorter than in operation. During a failover, Sentinels ask replicas for news every second, whatever the period, and
/// the other times have to fit:
///
/// - A replica is promoted only if its news is younger than five periods of pings.
/// - A Sentinel turns a new master back into a replica unless another Sentinel, which has to hear of the promotion first,
///   announces it within four periods of publishing.
///
/// A busy machine must not make them suspend their work ("TILT"), which they do for 30 s.
const PERIODS: [&str; 12] = [
    "info-period",
    "200",
    "publish-period",
    "1000",
    "ping-period",
    "400",
    "ask-period",
    "100",
    "tilt-trigger",
    "60000",
    "tilt-period",
    "100",
];
/// Until they have found each other.
const FIRST_PERIODS: [&str; 2] = ["publish-period", "100"];

pub struct Sentinels {
    daemons: Vec<Daemon>,
    password: Option<String>,
}

impl Sentinels {
    /// Starts them, and waits until they know each other and all replicas. `password` is that of the servers and of the
    /// Sentinels.
    pub fn start(master: SocketAddr, replicas: usize, password: Option<&str>) -> Self {
        let answers = |address, _: &Path| {
            let pong: RedisResult<String> = query(address, password, &["PING"]);
            pong.is_ok()
        };
        let daemons = DOWN_AFTER_MS.iter().map(|down_after_ms| {
            let config = |address, _: &Path| config(address, master, *down_after_ms, password);
            Daemon::start("redis-sentinel", config, answers)
        });
        let sentinels = Self {
            daemons: daemons.collect(),
            password: password.map(Into::into),
        };
        sentinels.set(&PERIODS);
        sentinels.set(&FIRST_PERIODS);
        for daemon in &sentinels.daemons {
            eventually("a Sentinel knows all servers", || {
                sentinels.knows_all(daemon, replicas).unwrap_or(false)
            });
        }
        sentinels.set(&PERIODS);
        sentinels
    }

    fn set(&self, periods: &[&str]) {
        for daemon in &self.daemons {
            let words = [&["SENTINEL", "DEBUG"][..], periods].concat();
            self.query::<()>(daemon, &words).unwrap();
        }
    }

    /// The URL for nodes.
    pub fn url(&self) -> String {
        let addresses: Vec<String> = self
            .daemons
            .iter()
            .map(|daemon| daemon.address.to_string())
            .collect();
        let login = login(self.password.as_deref());
        format!("redis+sentinel://{login}{}/{NAME}/0", addresses.join(","))
    }

    /// The number of connections over which each of them tells of its events.
    pub fn subscribers(&self) -> Vec<usize> {
        let of = |sentinel| {
            let clients: String = self.query(sentinel, &["CLIENT", "LIST"]).unwrap();
            clients.matches(" sub=1 ").count()
        };
        self.daemons.iter().map(of).collect()
    }

    /// The address of the current master, according to the first Sentinel.
    pub fn master(&self) -> SocketAddr {
        let words = ["SENTINEL", "GET-MASTER-ADDR-BY-NAME", NAME];
        let (ip, port): (String, String) = self.query(&self.daemons[0], &words).unwrap();
        parse_address(&ip, &port)
    }

    /// Makes the first Sentinel replace the master at `old`, and waits until it has. A failover that has begun is given
    /// up if the Sentinel has no fresh news of a replica at that moment. Then another one is asked for.
    pub fn failover(&self, old: SocketAddr) {
        let sentinel = &self.daemons[0];
        eventually("the master is replaced", || {
            let known: HashMap<String, String> =
                self.query(sentinel, &["SENTINEL", "MASTER", NAME]).unwrap();
            if parse_address(&known["ip"], &known["port"]) != old {
                return true;
            }
            if !known["flags"].contains("failover_in_progress") {
                // It is refused as long as no replica is good.
                let _ = self.query::<()>(sentinel, &["SENTINEL", "FAILOVER", NAME]);
            }
            false
        });
    }
}

impl Sentinels {
    /// Returns true if a Sentinel knows the others, and every replica is connected to the master.
    fn knows_all(&self, sentinel: &Daemon, replicas: usize) -> RedisResult<bool> {
        let master: HashMap<String, String> =
            self.query(sentinel, &["SENTINEL", "MASTER", NAME])?;
        let others = (SENTINELS - 1).to_string();
        let known: Vec<HashMap<String, String>> =
            self.query(sentinel, &["SENTINEL", "REPLICAS", NAME])?;
        let is_well = |replica: &HashMap<String, String>| {
            replica["flags"] == "slave" && replica["master-link-status"] == "ok"
        };
        Ok(master["num-other-sentinels"] == others
            && known.len() == replicas
            && known.iter().all(is_well))
    }

    fn query<T: FromRedisValue>(&self, sentinel: &Daemon, words: &[&str]) -> RedisResult<T> {
        query(sentinel.address, self.password.as_deref(), words)
    }
}

fn config(
    address: SocketAddr,
    master: SocketAddr,
    down_after_ms: u32,
    password: Option<&str>,
) -> String {
    let (ip, port) = (address.ip(), address.port());
    let (master_ip, master_port) = (master.ip(), master.port());
    let password = password.map_or_else(String::new, |password| {
        format!(
            "sentinel auth-pass {NAME} {password}\nrequirepass {password}\nsentinel sentinel-pass {password}\n"
        )
    });
    format!(
        "bind {ip}\nport {port}\nprotected-mode no\n\
         sentinel announce-ip {ip}\nsentinel announce-port {port}\n\
         sentinel monitor {NAME} {master_ip} {master_port} {QUORUM}\n\
         sentinel down-after-milliseconds {NAME} {down_after_ms}\n\
         sentinel failover-timeout {NAME} {FAILOVER_TIMEOUT_MS}\n\
         sentinel parallel-syncs {NAME} 2\n{password}"
    )
}

fn parse_address(ip: &str, port: &str) -> SocketAddr {
    SocketAddr::new(ip.parse().unwrap(), port.parse().unwrap())
}

fn login(password: Option<&str>) -> String {
    password.map_or_else(String::new, |password| format!(":{password}@"))
}

fn query<T: FromRedisValue>(
    address: SocketAddr,
    password: Option<&str>,
    words: &[&str],
) -> RedisResult<T> {
    let client = Client::open(format!("redis://{}{address}", login(password)))?;
    let mut connection = client.get_connection_with_timeout(PATIENCE)?;
    Cmd::new().arg(words).query(&mut connection)
}
