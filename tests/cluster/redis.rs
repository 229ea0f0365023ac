//! A real `redis-server`. Tests control it over a Unix socket, so that a proxy or TLS does not matter to them.

use std::collections::HashSet;
use std::fmt::Write as _;
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use ::redis::{Client, Cmd, Connection, FromRedisValue, RedisResult};

use crate::common::book::{Id, parse_id};
use crate::daemon::Daemon;
use crate::support::certificate::Certificate;
use crate::support::eventually;

/// Longest wait for a connection.
const PATIENCE: Duration = Duration::from_secs(10);
/// The same while a server starts.
const START_PATIENCE: Duration = Duration::from_millis(200);
const SNAPSHOT: &str = "dump.rdb";
const SOCKET: &str = "redis.sock";

/// How a server is set up.
#[derive(Clone, Debug, Default)]
pub struct Options {
    lines: Vec<String>,
    password: Option<&'static str>,
    is_tls: bool,
    is_clustered: bool,
}

pub struct Redis {
    daemon: Daemon,
    options: Options,
}

impl Options {
    /// Nothing is written to disk.
    pub fn in_memory() -> Self {
        Self::default().set("save \"\"")
    }

    /// Every change is in an append-only file before it is confirmed, so it survives the end of the process. With
    /// `appendfsync everysec`, Redis confirms changes without writing them while a flush takes long.
    pub fn append_only() -> Self {
        Self::in_memory().set("appendonly yes\nappendfsync no")
    }

    /// A line of the configuration file.
    pub fn set(mut self, line: impl Into<String>) -> Self {
        self.lines.push(line.into());
        self
    }

    pub fn max_memory(self, size: &str, policy: &str) -> Self {
        self.set(format!("maxmemory {size}\nmaxmemory-policy {policy}"))
    }

    /// A password for the default user.
    pub fn password(mut self, password: &'static str) -> Self {
        self.password = Some(password);
        self.set(format!("requirepass {password}\nmasterauth {password}"))
    }

    /// Another user, in the form of `ACL SETUSER`: `idlewild on >password ~idlewild:* …`.
    pub fn user(self, rules: &str) -> Self {
        self.set(format!("user {rules}"))
    }

    /// Clients use TLS. [`Redis::ca_file`] is the certificate of the server.
    pub fn tls(mut self) -> Self {
        self.is_tls = true;
        self
    }

    /// A server of a Redis Cluster.
    pub fn clustered(mut self) -> Self {
        self.is_clustered = true;
        self
    }

    /// The default user's password.
    pub fn default_password(&self) -> Option<&'static str> {
        self.password
    }

    fn config(&self, address: SocketAddr, directory: &Path) -> String {
        let (ip, port) = (address.ip(), address.port());
        let listener = if self.is_tls {
            let certificate = Certificate::of(&[&ip.to_string(), "localhost"]);
            certificate.write(directory, "redis");
            format!(
                "port 0\ntls-port {port}\ntls-auth-clients no\n\
                 tls-cert-file redis.pem\ntls-key-file redis.key.pem"
            )
        } else {
            format!("port {port}")
        };
        let mut lines = self.lines.join("\n");
        if self.is_clustered {
            // Nobody else listens on this address, so another port of it is free.
            let bus = port ^ 1;
            let _ = write!(
                lines,
                "\ncluster-enabled yes\ncluster-announce-ip {ip}\ncluster-port {bus}"
            );
        }
        format!("bind {ip}\n{listener}\nunixsocket {SOCKET}\nprotected-mode no\n{lines}\n")
    }
}

impl Redis {
    /// Starts a server and waits until it answers.
    pub fn start(options: Options) -> Self {
        let config = |address, directory: &Path| options.config(address, directory);
        let daemon = Daemon::start("redis-server", config, |_, at| {
            answers(at, options.password)
        });
        Self { daemon, options }
    }

    pub fn address(&self) -> SocketAddr {
        self.daemon.address
    }

    /// The URL for nodes, without a user.
    pub fn url(&self) -> String {
        self.url_at(self.address())
    }

    /// The same through a proxy.
    pub fn url_at(&self, address: SocketAddr) -> String {
        let scheme = if self.options.is_tls {
            "rediss"
        } else {
            "redis"
        };
        format!("{scheme}://{address}/0")
    }

    /// The certificate that a client has to trust; only with TLS.
    pub fn ca_file(&self) -> PathBuf {
        self.daemon.directory().join("redis.pem")
    }

    /// Sends a command and returns its answer.
    #[track_caller]
    pub fn command<T: FromRedisValue>(&self, words: &[&str]) -> T {
        let answer = self.try_command(words);
        answer.unwrap_or_else(|error| panic!("{words:?}: {error}"))
    }

    pub fn try_command<T: FromRedisValue>(&self, words: &[&str]) -> RedisResult<T> {
        let mut connection = connect(self.daemon.directory(), self.options.password, PATIENCE)?;
        Cmd::new().arg(words).query(&mut connection)
    }

    /// Sends commands that are carried out at once, and returns the answer to the last one.
    #[track_caller]
    pub fn transaction<T: FromRedisValue>(&self, commands: &[&[&str]]) -> T {
        let connection = connect(self.daemon.directory(), self.options.password, PATIENCE);
        let mut all = ::redis::pipe();
        all.atomic();
        for words in commands {
            all.add_command(Cmd::new().arg(*words).clone());
        }
        let answers: RedisResult<Vec<::redis::Value>> =
            connection.and_then(|mut connection| all.query(&mut connection));
        let mut answers = answers.unwrap_or_else(|error| panic!("{commands:?}: {error}"));
        ::redis::from_redis_value(answers.pop().unwrap()).unwrap()
    }

    /// Waits for a few beats of the nodes, which are a second apart.
    pub fn wait_for_beats(&self) {
        let newest = || -> Vec<(String, Vec<String>)> {
            self.command(&["XREVRANGE", "idlewild:{log}:beat", "+", "-", "COUNT", "1"])
        };
        for _ in 0..3 {
            let before = newest();
            eventually("a node beats", || newest() != before);
        }
    }

    /// Sets the memory that it may use, such as `1mb`, which it already exceeds, or `0` for no limit.
    pub fn set_max_memory(&self, size: &str) {
        self.command::<()>(&["CONFIG", "SET", "maxmemory", size]);
    }

    /// A field of INFO; `None` if it is missing.
    pub fn info(&self, field: &str) -> Option<String> {
        let info: String = self.command(&["INFO", "everything"]);
        let value = info
            .lines()
            .find_map(|line| line.strip_prefix(field)?.strip_prefix(':'));
        value.map(ToOwned::to_owned)
    }

    /// The ids of all entries of a stream.
    pub fn ids(&self, key: &str) -> HashSet<Id> {
        let entries: Vec<(String, Vec<Vec<u8>>)> = self.command(&["XRANGE", key, "-", "+"]);
        let ids = entries.iter().map(|(id, _)| parse_id(id).unwrap());
        ids.collect()
    }

    /// Writes a snapshot and returns its path, for [`Self::start_from`].
    pub fn snapshot(&self, name: &str) -> PathBuf {
        self.command::<()>(&["SAVE"]);
        let copy = self.daemon.directory().join(name);
        fs::copy(self.daemon.directory().join(SNAPSHOT), &copy).unwrap();
        copy
    }

    /// Ends the process as a crash does.
    pub fn kill(&mut self) {
        self.daemon.kill();
    }

    /// Ends the process in an orderly way.
    pub fn stop(&mut self) {
        self.daemon.stop();
    }

    /// Stops the process without ending it. The kernel still accepts connections for it.
    pub fn pause(&self) {
        self.daemon.pause();
    }

    pub fn resume(&self) {
        self.daemon.resume();
    }

    /// Starts it again on the same address and directory, after it has ended.
    pub fn start_again(&mut self) {
        let password = self.options.password;
        self.daemon.start_again(|_, at| answers(at, password));
    }

    /// The same, without its data.
    pub fn start_empty(&mut self) {
        self.forget();
        self.start_again();
    }

    /// The same, with the data of a snapshot. A server with an append-only file would read that instead.
    pub fn start_from(&mut self, snapshot: &Path) {
        self.forget();
        fs::copy(snapshot, self.daemon.directory().join(SNAPSHOT)).unwrap();
        self.start_again();
    }

    /// Deletes its data.
    fn forget(&self) {
        let directory = self.daemon.directory();
        let _ = fs::remove_file(directory.join(SNAPSHOT));
        let _ = fs::remove_dir_all(directory.join("appendonlydir"));
    }
}

/// Returns true if the server in this directory answers. While it loads its data, it answers with an error.
fn answers(directory: &Path, password: Option<&str>) -> bool {
    let connection = connect(directory, password, START_PATIENCE);
    let pong = connection.and_then(|mut it| Cmd::new().arg("PING").query::<String>(&mut it));
    pong.is_ok()
}

/// Connects within `patience`. Reads have no timeout: with one, whatever stops the process for a moment, such as a debugger,
/// interrupts them (signal(7)), and the client then loses the answer.
fn connect(
    directory: &Path,
    password: Option<&str>,
    patience: Duration,
) -> RedisResult<Connection> {
    let mut url = format!("unix://{}", directory.join(SOCKET).display());
    if let Some(password) = password {
        url = format!("{url}?pass={password}");
    }
    Client::open(url)?.get_connection_with_timeout(patience)
}

mod tests {
    use super::{Options, Redis};

    #[test]
    fn an_append_only_server_keeps_its_data_over_a_kill_and_can_start_empty() {
        let mut redis = Redis::start(Options::append_only());
        redis.command::<()>(&["SET", "key", "value"]);
        redis.kill();
        redis.start_again();
        assert_eq!(redis.command::<String>(&["GET", "key"]), "value");
        assert_eq!(redis.info("aof_enabled").as_deref(), Some("1"));
        redis.stop();
        redis.start_empty();
        assert_eq!(redis.command::<Option<String>>(&["GET", "key"]), None);
    }

    #[test]
    fn a_server_starts_from_an_older_snapshot() {
        let mut redis = Redis::start(Options::in_memory());
        redis.command::<()>(&["XADD", "log", "5-1", "e", "old"]);
        let snapshot = redis.snapshot("older.rdb");
        redis.command::<()>(&["XADD", "log", "5-2", "e", "new"]);
        assert_eq!(redis.ids("log"), [(5, 1), (5, 2)].into());
        redis.kill();
        redis.start_from(&snapshot);
        assert_eq!(redis.ids("log"), [(5, 1)].into());
    }

    #[test]
    fn a_server_with_a_password_and_another_user_is_controlled_like_any_other() {
        let options = Options::in_memory()
            .password("secret")
            .user("idlewild on >other ~idlewild:* -@all +ping");
        let redis = Redis::start(options);
        let users: Vec<String> = redis.command(&["ACL", "USERS"]);
        assert_eq!(users, ["default", "idlewild"]);
        let url = format!("redis://{}/0", redis.address());
        let refused = ::redis::Client::open(url)
            .unwrap()
            .get_connection()
            .and_then(|mut connection| ::redis::cmd("PING").query::<String>(&mut connection));
        assert_eq!(refused.unwrap_err().code(), Some("NOAUTH"));
    }

    #[test]
    fn a_server_with_tls_is_reached_by_whoever_trusts_its_certificate() {
        let redis = Redis::start(Options::in_memory().tls());
        let ping = |ca: Vec<u8>| {
            let certificates = ::redis::TlsCertificates {
                client_tls: None,
                root_cert: Some(ca),
            };
            let client = ::redis::Client::build_with_tls(redis.url(), certificates)?;
            ::redis::cmd("PING").query::<String>(&mut client.get_connection()?)
        };
        assert_eq!(
            ping(std::fs::read(redis.ca_file()).unwrap()).unwrap(),
            "PONG"
        );
        let other = crate::support::certificate::Certificate::of(&["localhost"]);
        assert!(ping(other.cert_pem.into_bytes()).is_err());
    }

    #[test]
    fn a_full_server_refuses_writes() {
        let redis = Redis::start(Options::in_memory().max_memory("100kb", "noeviction"));
        let refused = redis
            .try_command::<()>(&["SET", "key", "value"])
            .unwrap_err();
        assert_eq!(refused.code(), Some("OOM"));
    }
}
