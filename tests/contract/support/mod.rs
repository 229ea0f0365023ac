//! A server in this process with a manual clock, and simple clients over
//! sockets.

pub mod backend;
pub mod certificate;
mod client;
pub mod collector;
pub mod description;
pub mod http;
pub mod log;
pub mod page;
mod probe;
pub mod process;
mod store;
pub mod transport;

use std::net::SocketAddr;
use std::time::Duration;

use idlewild::auth::mint::{Claims, mint};
use idlewild::clock::Clock;
use idlewild::config::{Config, Endpoint, Secret};
use idlewild::server::{Dev, PassedSockets, Server};
use serde_json::Value;
use socket2::{Domain, Type};
use tempfile::TempDir;

pub use client::{Answer, Client, Socket, Stream, heartbeat, request};
pub use probe::{Probe, shard_of};
pub use transport::{Address, engine_kind, is_redis};

/// The start of the manual clock: noon of a day in 2023.
pub const START_UNIX_MS: u64 = 1_700_000_000_000;
pub const BASE: &str = "/api/v1/auth";
pub const NOTIFICATIONS: &str = "/api/v1/auth/sse/notifications/";
pub const API_KEY: &str = "a key for tests and for nothing else";
pub const SECRET: &str = "a secret of more than thirty-two bytes";

/// How long a test waits for something that should happen at once, before it fails.
pub const PATIENCE: Duration = Duration::from_secs(20);

pub struct TestServer {
    pub clock: Clock,
    pub config: Config,
    /// The public address, over the transport of this test run.
    pub public: Address,
    pub admin: SocketAddr,
    pub server: Option<Server>,
    runtime: Option<tokio::runtime::Runtime>,
    _certificates: TempDir,
}

impl TestServer {
    pub fn start() -> Self {
        Self::with(|_| {})
    }

    /// Starts with a changed configuration: two shards, free ports, the development user.
    pub fn with(change: impl FnOnce(&mut Config)) -> Self {
        Self::launch(true, transport::is_tls(), START_UNIX_MS, change)
    }

    /// The same, with the clock at another time.
    pub fn at(unix_ms: u64, change: impl FnOnce(&mut Config)) -> Self {
        Self::launch(true, transport::is_tls(), unix_ms, change)
    }

    /// The same, always for TLS clients.
    pub fn with_tls(change: impl FnOnce(&mut Config)) -> Self {
        Self::launch(true, true, START_UNIX_MS, change)
    }

    /// Starts without the development user.
    pub fn without_dev() -> Self {
        Self::launch(false, transport::is_tls(), START_UNIX_MS, |_| {})
    }

    fn launch(dev: bool, is_tls: bool, unix_ms: u64, change: impl FnOnce(&mut Config)) -> Self {
        let mut config = Config {
            listen: vec!["127.0.0.1:0".parse().unwrap()],
            admin_listen: vec!["127.0.0.1:0".parse().unwrap()],
            shards: 2,
            max_connections: 4_000,
            ..Config::default()
        };
        // Small, so that events of both kinds occur.
        config.compression.enabled = transport::is_gzip();
        config.compression.min_bytes = 100;
        if transport::is_gzip() {
            // Compression leaves three quarters of `varied_text`, so a slow reader's socket has to take less.
            config.send_buffer = 16 * 1024;
        }
        config.auth.secret = Secret::new(SECRET);
        config.admin.api_key = Secret::new(API_KEY);
        let certificates = tempfile::tempdir().unwrap();
        if is_tls {
            transport::add_listener(&mut config, certificates.path());
        }
        change(&mut config);
        store::choose(&mut config);
        let clock = Clock::manual(unix_ms);
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let server = runtime
            .block_on(Server::start(
                &config,
                dev.then_some(Dev {
                    has_user: true,
                    anywhere: false,
                }),
                PassedSockets::default(),
                clock.clone(),
            ))
            .unwrap();
        let public = if is_tls {
            Address::of_tls(tcp(server.tls_endpoints()))
        } else {
            Address::of_plain(tcp(server.public_endpoints()))
        };
        Self {
            clock,
            public,
            admin: tcp(server.admin_endpoints()),
            server: Some(server),
            runtime: Some(runtime),
            config,
            _certificates: certificates,
        }
    }

    /// The same server, for clients that open uncompressed streams over SSE whatever the variant.
    pub fn over_sse(mut self) -> Self {
        self.public = self.public.over_sse();
        self
    }

    /// A token of this user, valid for an hour.
    pub fn token(&self, user: &str) -> String {
        self.token_with(user, None, &[])
    }

    pub fn token_with(&self, user: &str, session: Option<&str>, topics: &[&str]) -> String {
        let topics: Vec<String> = topics.iter().map(ToString::to_string).collect();
        let claims = Claims {
            user,
            session,
            topics: &topics,
            ttl: Duration::from_secs(3_600),
            now_unix_ms: self.clock.unix_ms(),
        };
        mint(&self.config.auth, &claims).unwrap()
    }

    /// Reconnects with the last id that it received, as EventSource does, and reads the first
    /// block.
    pub fn reconnect(&self, token: &str, last_event_id: &str) -> Stream {
        let mut stream = self.connect().reconnect(token, last_event_id);
        stream.begin();
        stream
    }

    /// A connection to the public listener.
    pub fn connect(&self) -> Client {
        Client::connect(self.public)
    }

    /// A connection of a client whose kernel accepts only a few kilobytes.
    pub fn connect_narrow(&self) -> Client {
        let tcp = socket2::Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        // Set before connecting, so that the window is small from the start.
        tcp.set_recv_buffer_size(4 * 1024).unwrap();
        tcp.connect(&self.public.tcp.into()).unwrap();
        Client::over(tcp.into(), self.public)
    }

    /// An open notifications stream of this user, after its head and first block.
    pub fn stream(&self, user: &str) -> Stream {
        self.stream_of(&self.token(user))
    }

    pub fn stream_of(&self, token: &str) -> Stream {
        let mut stream = self.open(&format!("{NOTIFICATIONS}?token={token}"));
        stream.begin();
        stream
    }

    /// Sends a request for a stream and reads the head of the response.
    pub fn open(&self, path: &str) -> Stream {
        self.connect().open(path)
    }

    /// The public address without TLS, whatever the other clients use.
    pub fn plain(&self) -> Address {
        Address {
            is_tls: false,
            tcp: tcp(self.server.as_ref().unwrap().public_endpoints()),
            ..self.public
        }
    }

    /// Sends one request to the public listener, on a new connection.
    pub fn get(&self, path: &str) -> Answer {
        request(self.public, "GET", path, &[], "")
    }

    /// Sends one request with the API key to the admin listener, on a new connection.
    pub fn admin(&self, method: &str, path: &str, body: &str) -> Answer {
        let key = format!("Bearer {API_KEY}");
        request(self.admin, method, path, &[("Authorization", &key)], body)
    }

    /// Publishes an event and returns its id.
    pub fn publish(&self, event: &Value) -> String {
        let answer = self.admin("POST", "/v1/events", &event.to_string());
        assert_eq!(answer.status, 202, "{}", answer.body);
        answer.json()["id"].as_str().unwrap().to_owned()
    }

    pub fn advance(&self, duration: Duration) {
        self.clock.advance(duration);
    }

    /// The value of a metric, `name{labels}` as written on the page; `None` if it is missing.
    pub fn metric(&self, name: &str) -> Option<f64> {
        let page = request(self.admin, "GET", "/metrics", &[], "").body;
        page.lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.parse().ok())
    }

    /// A metric for the transport of this server's clients.
    pub fn series(&self, name: &str) -> String {
        self.public.series(name)
    }

    /// Waits until a metric has a value, because another thread may need a moment to change it.
    pub fn wait_for_metric(&self, name: &str, value: f64) {
        eventually(&format!("{name} = {value}"), || {
            self.metric(name)
                .is_some_and(|now| (now - value).abs() < 0.5)
        });
    }

    /// Drains the server on a new thread, as SIGTERM would.
    pub fn drain(&mut self) -> std::thread::JoinHandle<()> {
        let server = self.server.take().expect("drained once");
        let handle = self.runtime.as_ref().unwrap().handle().clone();
        std::thread::spawn(move || handle.block_on(server.drain()))
    }

    /// Ends the server, and lets only a little time pass. Dropping it instead may advance the clock by days, in which
    /// events expire.
    pub fn close(mut self) {
        let drained = self.drain();
        eventually("drained", || {
            self.advance(Duration::from_millis(20));
            drained.is_finished()
        });
    }
}

impl Drop for TestServer {
    fn drop(&mut self) {
        if let (Some(server), Some(runtime)) = (self.server.take(), self.runtime.take()) {
            // Beyond the drain's timeout, because the clock stands still.
            let drained = runtime.spawn(server.drain());
            while !drained.is_finished() {
                self.clock.advance(Duration::from_secs(60));
                std::thread::yield_now();
            }
            runtime.shutdown_background();
        }
    }
}

/// Text without repetitions, so that missing or repeated pieces are noticed, and compression gains little.
pub fn varied_text(bytes: usize) -> String {
    let mut random = fastrand::Rng::with_seed(1);
    (0..bytes).map(|_| random.alphanumeric()).collect()
}

/// Repeats a check until it succeeds; fails after [`PATIENCE`].
pub fn eventually(what: &str, mut is_so: impl FnMut() -> bool) {
    let tries = PATIENCE.as_millis() / 5;
    for _ in 0..tries {
        if is_so() {
            return;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    panic!("never came true: {what}");
}

fn tcp(endpoints: &[Endpoint]) -> SocketAddr {
    endpoints
        .iter()
        .find_map(|endpoint| match endpoint {
            Endpoint::Tcp(address) => Some(*address),
            Endpoint::Unix(_) => None,
        })
        .expect("a TCP listener")
}
