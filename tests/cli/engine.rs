//! `idlewild check --engine` against real Redis servers.

use std::fmt::Write as _;
use std::fs;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use socket2::{Domain, Socket, Type};
use tempfile::TempDir;

use super::idlewild;

/// A server takes some milliseconds to start. A busy machine may take much longer.
const STARTED_WITHIN: Duration = Duration::from_secs(30);
const POLL: Duration = Duration::from_millis(5);
/// Ports that are tried.
const PORTS: usize = 10;

/// The rights that docs/operations.md lists.
const RIGHTS: &str = "+evalsha +script|load +xadd +xread +xrange +xrevrange +xtrim +xinfo|stream +get +set \
     +getdel +del +exists +pexpire +hget +hset +hdel +hscan +hgetall +zadd +zrem +zrangebyscore +time +wait +info +memory|usage \
     +client|setname";

/// A Redis server on a Unix socket, without persistence.
struct Redis {
    directory: TempDir,
    child: Child,
}

impl Redis {
    fn start(arguments: &[&str]) -> Self {
        let redis = Self::try_start(&[&["--port", "0"], arguments].concat());
        redis.unwrap_or_else(|| panic!("Redis does not start: {arguments:?}"))
    }

    /// Starts a server on a free TCP port, to which `key` is set.
    fn on_port(key: &str, arguments: &[&str]) -> (Self, u16) {
        // Another process may take the port first. Redis then ends.
        let started = (0..PORTS).find_map(|_| {
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            let port = listener.local_addr().unwrap().port();
            drop(listener);
            let text = port.to_string();
            let redis = Self::try_start(&[&[key, &*text], arguments].concat())?;
            Some((redis, port))
        });
        started.unwrap_or_else(|| panic!("Redis does not start: {arguments:?}"))
    }

    /// Returns `None` if the server ends at once.
    fn try_start(arguments: &[&str]) -> Option<Self> {
        let directory = tempfile::tempdir().unwrap();
        let child = Command::new("redis-server")
            .args(["--bind", "127.0.0.1", "--unixsocket", "redis.sock"])
            .args(["--save", "", "--dir"])
            .arg(directory.path())
            .args(arguments)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("redis-server is installed (apt-get install redis-server)");
        let mut redis = Self { directory, child };
        let mut waited = Duration::ZERO;
        while UnixStream::connect(redis.socket()).is_err() {
            if redis.child.try_wait().unwrap().is_some() {
                return None;
            }
            assert!(waited < STARTED_WITHIN, "{arguments:?}");
            thread::sleep(POLL);
            waited += POLL;
        }
        Some(redis)
    }

    fn socket(&self) -> PathBuf {
        self.directory.path().join("redis.sock")
    }

    fn url(&self) -> String {
        format!("unix://{}", self.socket().display())
    }

    /// Runs a command there.
    fn run(&self, words: &str) -> String {
        let socket = self.socket();
        let output = Command::new("redis-cli")
            .arg("-s")
            .arg(socket)
            .args(words.split_whitespace())
            .output()
            .unwrap();
        String::from_utf8(output.stdout).unwrap()
    }

    /// Adds a user with the password `hunter2`, and these rights on the keys.
    fn user(&self, name: &str, keys: &str, rights: &str) {
        let answer = self.run(&format!(
            "ACL SETUSER {name} reset on >hunter2 ~{keys} -@all {rights}"
        ));
        assert_eq!(answer.trim(), "OK");
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What `check --engine` prints about the engine.
struct Checked {
    code: Option<i32>,
    /// The comments about what is good.
    good: Vec<String>,
    /// The lines on stderr.
    other: Vec<String>,
}

impl Checked {
    /// Asserts that the check failed with one line that has these parts.
    fn failed_with(&self, key: &str, part: &str) {
        assert_eq!(self.code, Some(1), "{:?}", self.other);
        let [line] = &*self.other else {
            panic!("{:?}", self.other);
        };
        let begins = format!("idlewild: {key}: ");
        assert!(line.starts_with(&begins) && line.contains(part), "{line}");
    }

    /// Asserts that the engine can be used, with a warning that has this part.
    fn warned_of(&self, part: &str) {
        assert_eq!(self.code, Some(0), "{:?}", self.other);
        let warned = self.other.iter();
        let warned = warned.filter(|line| line.starts_with("idlewild: engine: "));
        let warned: Vec<_> = warned.filter(|line| line.contains(part)).collect();
        assert_eq!(warned.len(), 1, "{part}: {:?}", self.other);
    }
}

/// Runs the check with these keys of `[engine]`.
fn check(keys: &str) -> Checked {
    checked(&format!("[engine]\nkind = \"redis\"\n{keys}"))
}

fn checked(toml: &str) -> Checked {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("c.toml");
    fs::write(&file, toml).unwrap();
    let output = idlewild(
        &["check", "--engine", "--config", file.to_str().unwrap()],
        &[
            ("IDLEWILD_AUTH__SECRET", b"0123456789abcdef0123456789abcdef"),
            ("IDLEWILD_API_KEY", b"0123456789abcdef0123456789abcdef"),
        ],
        "",
    );
    let [stdout, stderr] = [output.stdout, output.stderr].map(|it| String::from_utf8(it).unwrap());
    assert!(
        !format!("{stdout}{stderr}").contains("hunter2"),
        "{stdout}{stderr}"
    );
    if output.status.code() != Some(2) {
        // The output is TOML all the same.
        assert!(stdout.parse::<toml::Table>().is_ok(), "{stdout}");
    }
    let good = stdout
        .lines()
        .filter_map(|line| line.strip_prefix("# engine: "));
    Checked {
        code: output.status.code(),
        good: good.map(str::to_owned).collect(),
        other: stderr.lines().map(str::to_owned).collect(),
    }
}

fn url(url: &str) -> String {
    format!("url = \"{url}\"\n")
}

#[test]
fn a_server_that_fits_is_good_and_nothing_is_left_there() {
    let redis = Redis::start(&["--appendonly", "yes"]);
    let checked = check(&url(&redis.url()));
    assert_eq!(checked.code, Some(0), "{:?}", checked.other);
    assert_eq!(checked.other, Vec::<String>::new());
    let socket = redis.socket();
    let version = redis.run("INFO server");
    let version = version
        .lines()
        .find_map(|line| line.strip_prefix("redis_version:"));
    assert_eq!(
        checked.good,
        [
            &format!("connected to {} as the user default", socket.display()),
            "it is a master",
            &format!("Redis {}", version.unwrap()),
            "the user has the necessary rights",
            "maxmemory-policy is noeviction",
            "it writes an AOF",
            "0 replicas are connected",
        ]
    );
    assert_eq!(redis.run("DBSIZE").trim(), "0");
    assert!(
        redis
            .run("INFO memory")
            .contains("number_of_cached_scripts:0\r\n")
    );
}

#[test]
fn a_user_with_the_documented_rights_is_enough_and_a_missing_one_is_named() {
    let operations = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/operations.md");
    let page = fs::read_to_string(operations).unwrap();
    assert!(
        page.contains(RIGHTS),
        "docs/operations.md lists other rights"
    );

    let (redis, port) = Redis::on_port("--port", &["--appendonly", "yes"]);
    let as_user = |name: &str| check(&url(&format!("redis://{name}:hunter2@127.0.0.1:{port}")));
    redis.user("all", "idlewild:*", RIGHTS);
    assert_eq!(as_user("all").code, Some(0));

    let rights: Vec<_> = RIGHTS.split_whitespace().collect();
    for missing in ["+xadd", "+wait", "+script|load", "+xinfo|stream"] {
        let others: Vec<_> = rights
            .iter()
            .filter(|it| **it != missing)
            .copied()
            .collect();
        redis.user("some", "idlewild:*", &others.join(" "));
        as_user("some").failed_with(
            "engine.url",
            &format!("the user lacks the rights {missing} (ACL"),
        );
    }
    redis.user("keys", "other:*", RIGHTS);
    as_user("keys").failed_with("engine.prefix", "ACL SETUSER keys ~idlewild:*");

    // The engine works without these, but not as one may expect.
    let useful = ["+info", "+memory|usage", "+client|setname"];
    let few: Vec<_> = rights
        .into_iter()
        .filter(|it| !useful.contains(it))
        .collect();
    redis.user("few", "idlewild:*", &few.join(" "));
    let few = as_user("few");
    few.warned_of("+memory|usage, engine.max_bytes has no effect");
    few.warned_of("+client|setname");
    few.warned_of("maxmemory-policy, persistence and replicas cannot be checked");
}

#[test]
fn a_wrong_login_is_told_from_a_missing_one_and_from_a_server_that_is_not_there() {
    let redis = Redis::start(&["--requirepass", "hunter2"]);
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("password");
    let keys = format!("{}password_file = {file:?}\n", url(&redis.url()));
    fs::write(&file, "hunter2\n").unwrap();
    assert_eq!(check(&keys).code, Some(0));
    fs::write(&file, "hunter22").unwrap();
    check(&keys).failed_with("engine.password_file", "rejects the user or the password");
    check(&url(&redis.url())).failed_with("engine.password_file", "expects a password");
    let gone = url(&redis.url());
    drop(redis);
    check(&gone).failed_with("engine.url", "No such file or directory");
}

#[test]
fn a_server_that_cannot_hold_the_log_is_refused() {
    let replica = Redis::start(&["--replicaof", "127.0.0.1", "1"]);
    check(&url(&replica.url())).failed_with("engine.url", "is a replica");
    let evicting = Redis::start(&["--maxmemory-policy", "allkeys-lru"]);
    check(&url(&evicting.url())).failed_with("engine.url", "maxmemory-policy is allkeys-lru");
    let full = Redis::start(&["--maxmemory", "1"]);
    check(&url(&full.url())).failed_with("engine.url", "OOM command not allowed");
    let without = Redis::start(&["--rename-command", "XTRIM", ""]);
    check(&url(&without.url())).failed_with("engine.url", "the server has no XTRIM");
    let database = format!("{}?db=99", full.url());
    check(&url(&database)).failed_with("engine.url", "does not allow its database");
}

#[test]
fn settings_that_may_lose_events_cause_warnings() {
    let redis = Redis::start(&["--maxmemory-policy", "volatile-ttl"]);
    let checked = check(&format!("{}replicas = 2\n", url(&redis.url())));
    checked.warned_of("maxmemory-policy is volatile-ttl");
    checked.warned_of("neither an AOF nor snapshots");
    checked.warned_of("engine.replicas is 2, but 0 replicas are connected");
    let without = Redis::start(&["--rename-command", "MEMORY", ""]);
    check(&url(&without.url())).warned_of("engine.max_bytes has no effect");
    let redis = Redis::start(&["--save", "60 1"]);
    check(&url(&redis.url())).warned_of("snapshots and no AOF");
}

#[test]
fn sentinels_that_do_not_help_are_told_apart() {
    // This port refuses connections, and nobody else can take it.
    let taken = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    taken.bind(&any.into()).unwrap();
    let refusing = taken.local_addr().unwrap().as_socket().unwrap().port();
    check(&url(&format!("redis+sentinel://127.0.0.1:{refusing}/main")))
        .failed_with("engine.url", "no Sentinel answers: Connection refused");
    // Not a Sentinel, but it answers as one that does not know the name.
    let (_redis, port) = Redis::on_port("--port", &[]);
    check(&url(&format!("redis+sentinel://127.0.0.1:{port}/main")))
        .failed_with("engine.url", "no master named `main`");
}

/// Two masters of a Redis Cluster, and their ports. The second one has the slot of the log.
fn two_masters() -> [(Redis, u16); 2] {
    let with = [
        "--cluster-enabled",
        "yes",
        "--appendonly",
        "yes",
        "--cluster-require-full-coverage",
        "no",
    ];
    let both = [(); 2].map(|()| Redis::on_port("--port", &with));
    for ((redis, _), slots) in both.iter().zip(["0 8191", "8192 16383"]) {
        let answer = redis.run(&format!("CLUSTER ADDSLOTSRANGE {slots}"));
        assert_eq!(answer.trim(), "OK");
    }
    let (one, port) = (&both[0].0, both[1].1);
    assert_eq!(
        one.run(&format!("CLUSTER MEET 127.0.0.1 {port}")).trim(),
        "OK"
    );
    let mut waited = Duration::ZERO;
    let is_whole = |redis: &Redis| {
        let info = redis.run("CLUSTER INFO");
        info.contains("cluster_state:ok") && info.contains("cluster_slots_ok:16384")
    };
    while !both.iter().all(|(redis, _)| is_whole(redis)) {
        assert!(waited < STARTED_WITHIN, "{}", one.run("CLUSTER INFO"));
        thread::sleep(POLL);
        waited += POLL;
    }
    both
}

#[test]
fn all_masters_of_a_cluster_are_tried() {
    let [(other, seed), (redis, port)] = two_masters();
    let checked = check(&url(&format!("redis+cluster://127.0.0.1:{seed}")));
    assert_eq!(checked.code, Some(0), "{:?}", checked.other);
    assert_eq!(checked.other, Vec::<String>::new());
    let good = checked.good.join("\n");
    for part in [
        &*format!(
            "connected to 127.0.0.1:{port} as the user default\nit is the master that has the log\n"
        ),
        &*format!("connected to 127.0.0.1:{seed}, which has other keys\n"),
    ] {
        assert!(good.contains(part), "{good}");
    }

    let cluster = "+cluster|slots +cluster|nodes +ping +asking";
    let as_user = |name: &str| {
        check(&url(&format!(
            "redis+cluster://{name}:hunter2@127.0.0.1:{seed}"
        )))
    };
    for redis in [&other, &redis] {
        redis.user("all", "idlewild:*", &format!("{RIGHTS} {cluster}"));
        redis.user("none", "idlewild:*", RIGHTS);
    }
    assert_eq!(as_user("all").code, Some(0));
    as_user("none").failed_with(
        "engine.url",
        "the rights +cluster|slots +cluster|nodes (ACL",
    );
    redis.user("some", "idlewild:*", &format!("{RIGHTS} {cluster}"));
    other.user("some", "idlewild:*", "+cluster|slots +cluster|nodes");
    as_user("some").failed_with("engine.url", "the user lacks the rights +evalsha");
    as_user("other").failed_with("engine.password_file", "rejects the user or the password");

    other.run("CONFIG SET maxmemory-policy allkeys-lru");
    redis.run("CONFIG SET cluster-require-full-coverage yes");
    let checked = check(&url(&format!("redis+cluster://127.0.0.1:{seed}")));
    checked.warned_of("maxmemory-policy is allkeys-lru");
    checked.warned_of("cluster-require-full-coverage is yes");
    check(&url(&format!("redis://127.0.0.1:{port}")))
        .failed_with("engine.url", "belongs to a Redis Cluster");
    drop(other);
    check(&url(&format!("redis+cluster://127.0.0.1:{seed}")))
        .failed_with("engine.url", "Connection refused");
}

#[test]
fn servers_that_are_no_cluster_and_a_cluster_without_slots_are_told_apart() {
    let (_redis, port) = Redis::on_port("--port", &[]);
    check(&url(&format!("redis+cluster://127.0.0.1:{port}")))
        .failed_with("engine.url", "belongs to no Redis Cluster");
    let (_redis, port) = Redis::on_port("--port", &["--cluster-enabled", "yes"]);
    check(&url(&format!("redis+cluster://127.0.0.1:{port}")))
        .failed_with("engine.url", "has no server for the log");
}

#[test]
fn errors_of_tls_are_told_apart() {
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name).display().to_string();
    let ca = authority(&path("ca.pem"));
    authority(&path("other.pem"));
    let key = KeyPair::generate().unwrap();
    let server = CertificateParams::new(["localhost".to_owned()]).unwrap();
    let server = server.signed_by(&key, &ca).unwrap();
    fs::write(path("server.pem"), server.pem()).unwrap();
    fs::write(path("key.pem"), key.serialize_pem()).unwrap();
    let (_redis, port) = Redis::on_port(
        "--tls-port",
        &[
            "--port",
            "0",
            "--tls-auth-clients",
            "no",
            "--tls-cert-file",
            &path("server.pem"),
            "--tls-key-file",
            &path("key.pem"),
            "--tls-ca-cert-file",
            &path("ca.pem"),
        ],
    );
    let with = |scheme: &str, host: &str, ca: &str| {
        let mut keys = url(&format!("{scheme}://{host}:{port}"));
        if !ca.is_empty() {
            writeln!(keys, "ca = {:?}", path(ca)).unwrap();
        }
        check(&keys)
    };
    assert_eq!(with("rediss", "localhost", "ca.pem").code, Some(0));
    with("rediss", "localhost", "other.pem").failed_with("engine.ca", "no known authority");
    with("rediss", "localhost", "").failed_with("engine.ca", "no known authority");
    with("rediss", "127.0.0.1", "ca.pem").failed_with("engine.url", "not valid for that name");
    with("redis", "localhost", "").failed_with("engine.url", "if it expects TLS, write rediss://");
}

/// Makes an authority, and writes its certificate to `path`.
fn authority(path: &str) -> Issuer<'static, KeyPair> {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let key = KeyPair::generate().unwrap();
    fs::write(path, params.self_signed(&key).unwrap().pem()).unwrap();
    Issuer::new(params, key)
}

#[test]
fn the_memory_engine_has_nothing_to_try_but_its_directory() {
    let memory = checked("");
    assert_eq!(memory.code, Some(0));
    assert_eq!(memory.good, ["memory, there is nothing to try"]);
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("history");
    let durable = checked(&format!("[history]\npath = {path:?}\n"));
    assert_eq!(durable.code, Some(0), "{:?}", durable.other);
    let line = format!("memory with history.path, `{}` can be used", path.display());
    assert_eq!(durable.good, [line]);
    assert!(!path.exists(), "the check creates nothing");
}

#[test]
fn an_invalid_configuration_is_reported_first() {
    let refused = check(&url("redis://cache:x"));
    assert_eq!(refused.code, Some(2));
    assert!(
        refused.good.is_empty() && refused.other.len() == 1,
        "{:?}",
        refused.other
    );
}
