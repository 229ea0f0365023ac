//! A server over an engine whose register answers later, as one that several nodes share would, and
//! whose clock is not this machine's.

use std::collections::HashMap;
use std::fmt::Display;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Weak;
use std::sync::atomic::{AtomicUsize, Ordering};

use parking_lot::Mutex;
use rustls::{ClientConfig, ClientConnection, RootCertStore};
use serde_json::{Value, json};
use tokio::sync::RwLock;

use super::*;
use crate::admin::{PassedConnection, continue_connection};
use crate::auth::Identity;
use crate::auth::failures::FailureKey;
use crate::auth::mint::{Claims, mint};
use crate::config::{Certificate, OnLimit, Secret};
use crate::engine::MemoryEngine;
use crate::event::{Draft, EventId, SessionDraft, UserId};
use crate::hub::engine::{
    Answer, Elsewhere, EngineError, EngineHealth, LocalNode, Located, Notice, OpenError, Promise,
    Register,
};
use crate::hub::log::Control;
use crate::hub::{ConnectionId, Description, Limit, Rejection};
use crate::metrics::Transport;

const BASE: &str = "/api/v1/auth";
const KEY: &str = "a key for tests and for nothing else";
const SECRET: &str = "a secret of more than thirty-two bytes";
/// So far the engine's clock is ahead of this machine's: longer than a login's token lives, and
/// than any leeway.
const AHEAD_MS: u64 = 2 * 60 * 60 * 1_000;
/// How long a test waits for what should come at once, before it fails.
const PATIENCE: Duration = Duration::from_secs(20);

/// The memory engine, with a register that counts the places of a user and answers later.
struct LaterEngine {
    inner: MemoryEngine,
    /// Places by user; those of other nodes are put here by tests.
    places: Mutex<HashMap<String, usize>>,
    /// Places that were asked for.
    asked: AtomicUsize,
    /// Held for writing, it keeps reservations waiting.
    gate: RwLock<()>,
}

impl LaterEngine {
    fn new(inner: MemoryEngine) -> Self {
        Self {
            inner,
            places: Mutex::default(),
            asked: AtomicUsize::new(0),
            gate: RwLock::default(),
        }
    }

    fn places(&self, user: &str) -> usize {
        self.places.lock().get(user).copied().unwrap_or_default()
    }

    /// Answers, but not when it is polled first.
    fn later<'a, T: Send + 'a>(
        &'a self,
        ask: impl FnOnce(&'a dyn Register) -> Promise<'a, T> + Send + 'a,
    ) -> Promise<'a, T> {
        Promise::Later(Box::pin(async move {
            tokio::task::yield_now().await;
            ask(self.inner.register()).get().await
        }))
    }
}

/// A place of a reservation that is under way: it is given back if whoever asked leaves.
struct Held<'a>(&'a LaterEngine, &'a str);

impl Drop for Held<'_> {
    fn drop(&mut self) {
        self.0.release(&self.1, 1);
    }
}

impl Register for LaterEngine {
    fn reserve(&self, user: &str, limit: Limit) -> Promise<'_, Result<(), Rejection>> {
        let user = user.to_owned();
        Promise::Later(Box::pin(async move {
            self.asked.fetch_add(1, Ordering::Relaxed);
            let held = {
                let mut places = self.places.lock();
                let held = places.entry(user.clone()).or_default();
                *held += 1;
                *held
            };
            let place = Held(self, &user);
            let _passed = self.gate.read().await;
            tokio::task::yield_now().await;
            if limit.on_limit == OnLimit::Reject && held > limit.connections {
                return Err(Rejection::Limit);
            }
            std::mem::forget(place);
            Ok(())
        }))
    }

    fn has_place(&self, user: &str, limit: Limit) -> Promise<'_, bool> {
        let user = user.to_owned();
        self.later(move |_| Promise::Now(self.places(&user) < limit.connections))
    }

    fn admitted(&self, _: &str) {}

    fn cancel(&self, user: &str) {
        self.release(&user, 1);
    }

    fn release(&self, user: &dyn Display, places: usize) {
        let mut held = self.places.lock();
        let held = held.get_mut(&user.to_string()).expect("it was reserved");
        *held = held.checked_sub(places).expect("given back once");
    }

    fn issue_ticket(
        &self,
        identity: Identity,
        ttl: Duration,
    ) -> Promise<'_, Result<String, EngineError>> {
        self.later(move |inner| inner.issue_ticket(identity, ttl))
    }

    fn redeem_ticket(&self, ticket: &str) -> Promise<'_, Result<Option<Identity>, EngineError>> {
        if ticket == "unknown" {
            return self.later(|_| Promise::Now(Err(EngineError::NotOpen)));
        }
        let ticket = ticket.to_owned();
        self.later(move |inner| inner.redeem_ticket(&ticket))
    }

    fn look_at_ticket(&self, ticket: &str) -> Promise<'_, Result<Option<Identity>, EngineError>> {
        let ticket = ticket.to_owned();
        self.later(move |inner| inner.look_at_ticket(&ticket))
    }

    fn begin_login(&self, keys: &[FailureKey]) -> Promise<'_, Result<bool, EngineError>> {
        if keys.contains(&FailureKey::account("unknown")) {
            return self.later(|_| Promise::Now(Err(EngineError::NotOpen)));
        }
        let keys = keys.to_vec();
        self.later(move |inner| inner.begin_login(&keys))
    }

    fn forgive_login(&self, keys: &[FailureKey]) -> Promise<'_, ()> {
        let keys = keys.to_vec();
        self.later(move |inner| inner.forgive_login(&keys))
    }

    fn elsewhere(&self, _: &UserId) -> Promise<'_, Elsewhere<Vec<Located>>> {
        let description = Description {
            connection: ConnectionId::new(300, 7, 1),
            since_s: 1,
            transport: Transport::Sse,
            remote: None,
            session: None,
            topics: Vec::new(),
        };
        self.later(|_| {
            Promise::Now(Elsewhere {
                found: vec![Located {
                    node: Some("other".into()),
                    description,
                }],
                silent: vec!["silent".to_owned()],
            })
        })
    }

    fn count_elsewhere(&self, users: &[UserId]) -> Promise<'_, Elsewhere<Vec<usize>>> {
        let found = vec![2; users.len()];
        self.later(|_| {
            Promise::Now(Elsewhere {
                found,
                silent: Vec::new(),
            })
        })
    }

    fn ended_elsewhere(&self, _: EventId) -> Promise<'_, Elsewhere<usize>> {
        self.later(|_| {
            Promise::Now(Elsewhere {
                found: 3,
                silent: Vec::new(),
            })
        })
    }

    fn close_dead_elsewhere(&self, _: &str) -> Promise<'_, bool> {
        self.later(|_| Promise::Now(false))
    }

    fn sweep(&self) {
        self.inner.register().sweep();
    }
}

impl Engine for LaterEngine {
    fn kind(&self) -> &'static str {
        "later"
    }

    fn open(&self, node: Weak<dyn LocalNode>) -> Answer<'_, Result<(), OpenError>> {
        self.inner.open(node)
    }

    fn publish(&self, drafts: Vec<Draft>) -> Answer<'_, Vec<Result<EventId, EngineError>>> {
        self.inner.publish(drafts)
    }

    fn change_session(
        &self,
        change: SessionDraft,
        notice: Notice,
    ) -> Answer<'_, Result<EventId, EngineError>> {
        self.inner.change_session(change, notice)
    }

    fn command(&self, control: Control) -> Answer<'_, Result<u64, EngineError>> {
        self.inner.command(control)
    }

    fn health(&self) -> EngineHealth {
        self.inner.health()
    }

    fn unix_ms(&self) -> u64 {
        self.inner.unix_ms() + AHEAD_MS
    }

    fn register(&self) -> &dyn Register {
        self
    }

    fn close(&self) -> Answer<'_, ()> {
        self.inner.close()
    }
}

/// A server of one shard over a [`LaterEngine`].
struct World {
    engine: Arc<LaterEngine>,
    auth: crate::config::Auth,
    public: SocketAddr,
    admin: SocketAddr,
    server: Option<Server>,
    runtime: Option<tokio::runtime::Runtime>,
}

/// What came back on a connection that is still open.
struct Reply {
    socket: TcpStream,
    status: u16,
    body: String,
}

impl World {
    fn start(change: impl FnOnce(&mut Config)) -> Self {
        let mut config = Config {
            listen: vec!["127.0.0.1:0".parse().unwrap()],
            admin_listen: vec!["127.0.0.1:0".parse().unwrap()],
            shards: 1,
            max_connections: 100,
            ..Config::default()
        };
        config.auth.secret = Secret::new(SECRET);
        config.admin.api_key = Secret::new(KEY);
        change(&mut config);
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let dev = Dev {
            has_user: true,
            anywhere: false,
        };
        let mut engine = None;
        let clock = Clock::manual(1_700_000_000_000);
        let start = Server::start_over(
            &config,
            Some(dev),
            PassedSockets::default(),
            clock,
            |_, EngineParts { log, clock, .. }| {
                let inner = MemoryEngine::new(log, clock);
                let made = Arc::new(LaterEngine::new(inner));
                engine = Some(Arc::clone(&made));
                made
            },
        );
        let server = runtime.block_on(start).unwrap();
        let tcp = |endpoints: &[Endpoint]| endpoints[0].to_string().parse().unwrap();
        Self {
            engine: engine.unwrap(),
            auth: config.auth,
            public: tcp(server.public_endpoints()),
            admin: tcp(server.admin_endpoints()),
            server: Some(server),
            runtime: Some(runtime),
        }
    }

    fn hub(&self) -> &Hub {
        &self.server.as_ref().unwrap().hub
    }

    /// Good by the engine's clock alone.
    fn token(&self, user: &str) -> String {
        let claims = Claims {
            user,
            session: None,
            topics: &[],
            ttl: Duration::from_secs(900),
            now_unix_ms: self.engine.unix_ms(),
        };
        mint(&self.auth, &claims).unwrap()
    }

    fn open(&self, user: &str) -> Reply {
        self.stream("GET", &format!("token={}", self.token(user)))
    }

    fn stream(&self, method: &str, query: &str) -> Reply {
        let path = format!("{BASE}/sse/notifications/?{query}");
        ask(self.public, method, &path, "", "")
    }

    fn log_in(&self, email: &str, password: &str) -> Reply {
        let body = json!({"email": email, "password": password}).to_string();
        ask(self.public, "POST", &format!("{BASE}/login/"), "", &body)
    }

    fn admin(&self, method: &str, path: &str) -> Value {
        let key = format!("Authorization: Bearer {KEY}\r\n");
        let reply = ask(self.admin, method, path, &key, "");
        assert_eq!(reply.status, 200, "{}", reply.body);
        serde_json::from_str(&reply.body).unwrap()
    }

    fn presence_of(&self, users: &[&str]) -> Value {
        let key = format!("Authorization: Bearer {KEY}\r\n");
        let body = json!({ "users": users }).to_string();
        let reply = ask(self.admin, "POST", "/v1/presence", &key, &body);
        assert_eq!(reply.status, 200, "{}", reply.body);
        serde_json::from_str(&reply.body).unwrap()
    }

    fn wait_for_places(&self, user: &str, places: usize) {
        eventually(&format!("{places} places"), || {
            self.engine.places(user) == places
        });
    }
}

impl Drop for World {
    fn drop(&mut self) {
        if let (Some(server), Some(runtime)) = (self.server.take(), self.runtime.take()) {
            // Its timeout is over before it begins.
            server.clock.advance(Duration::from_secs(1));
            server.shards.stop();
            runtime.block_on(server.shards.ended());
            runtime.shutdown_background();
        }
    }
}

fn connect(to: SocketAddr) -> TcpStream {
    let socket = TcpStream::connect(to).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    socket
}

fn head(method: &str, path: &str, more: &str, body: &str) -> String {
    let length = body.len();
    format!(
        "{method} {path} HTTP/1.1\r\nHost: test\r\n{more}Content-Length: {length}\r\n\r\n{body}"
    )
}

/// Asks on a connection of its own. Of a stream only the head is read.
fn ask(to: SocketAddr, method: &str, path: &str, more: &str, body: &str) -> Reply {
    let mut socket = connect(to);
    let request = head(method, path, more, body);
    socket.write_all(request.as_bytes()).unwrap();
    let mut text = String::new();
    let mut read = |text: &mut String| {
        let mut bytes = [0; 4_096];
        let count = socket.read(&mut bytes).unwrap();
        assert!(count > 0, "closed: {text}");
        text.push_str(std::str::from_utf8(&bytes[..count]).unwrap());
    };
    while !text.contains("\r\n\r\n") {
        read(&mut text);
    }
    let (fields, _) = text.split_once("\r\n\r\n").unwrap();
    let fields = fields.to_ascii_lowercase();
    let length = fields
        .lines()
        .find_map(|line| line.strip_prefix("content-length: "));
    let length: usize = match length {
        Some(length) if method != "HEAD" => length.parse().unwrap(),
        _ => 0,
    };
    while text.len() < fields.len() + 4 + length {
        read(&mut text);
    }
    Reply {
        status: fields[9..12].parse().unwrap(),
        body: text.split_off(fields.len() + 4),
        socket,
    }
}

#[track_caller]
fn eventually(what: &str, is_so: impl Fn() -> bool) {
    let clock = Clock::system();
    while !is_so() {
        assert!(clock.now_ms() < millis(PATIENCE), "{what}");
        std::thread::yield_now();
    }
}

#[test]
fn a_ticket_that_comes_later_is_good_once() {
    let world = World::start(|_| {});
    let bearer = format!("Authorization: Bearer {}\r\n", world.token("42"));
    let issued = ask(
        world.public,
        "POST",
        &format!("{BASE}/sse/ticket/"),
        &bearer,
        "",
    );
    assert_eq!(issued.status, 201, "{}", issued.body);
    let issued: Value = serde_json::from_str(&issued.body).unwrap();
    let query = format!("ticket={}", issued["ticket"].as_str().unwrap());
    assert_eq!(world.stream("HEAD", &query).status, 200);
    assert_eq!(world.engine.asked.load(Ordering::Relaxed), 0);
    let stream = world.stream("GET", &query);
    assert_eq!(stream.status, 200);
    assert_eq!(world.stream("GET", &query).status, 401);
    // Nobody knows whether it is good.
    assert_eq!(world.stream("GET", "ticket=unknown").status, 503);
}

#[test]
fn failures_that_are_counted_later_limit_logins_and_a_good_one_takes_its_own_back() {
    let world = World::start(|_| {});
    let wrong = || world.log_in("user@example.com", "wrong").status;
    for _ in 0..4 {
        assert_eq!(wrong(), 401);
    }
    let good = world.log_in("user@example.com", "password");
    assert_eq!(good.status, 200, "{}", good.body);
    assert_eq!(wrong(), 401);
    assert_eq!(wrong(), 429);
    // Its token is of the engine's time.
    let good: Value = serde_json::from_str(&good.body).unwrap();
    let query = format!("token={}", good["access"].as_str().unwrap());
    assert_eq!(world.stream("GET", &query).status, 200);
    assert_eq!(world.log_in("unknown", "password").status, 503);
}

#[test]
fn the_limit_of_all_nodes_holds_and_a_place_that_is_given_back_can_be_taken() {
    let world = World::start(|config| config.max_connections_per_user = 2);
    // Another node's.
    world.engine.places.lock().insert("42".to_owned(), 1);
    let stream = world.open("42");
    assert_eq!(stream.status, 200);
    assert_eq!(world.open("42").status, 429);
    let query = format!("token={}", world.token("42"));
    assert_eq!(world.stream("HEAD", &query).status, 429);
    assert_eq!(world.engine.places("42"), 2);
    drop(stream);
    world.wait_for_places("42", 1);
    assert_eq!(world.stream("HEAD", &query).status, 200);
    assert_eq!(world.open("42").status, 200);
}

#[test]
fn a_refusal_gives_the_place_back_and_whoever_is_logged_out_gets_none() {
    let world = World::start(|config| config.max_connections = 1);
    let _stream = world.open("1");
    assert_eq!(world.open("42").status, 503);
    assert_eq!(world.engine.places("42"), 0);
    let asked = || world.engine.asked.load(Ordering::Relaxed);
    assert_eq!(asked(), 2);
    world.hub().directory().log_everyone_out(u64::MAX);
    assert_eq!(world.open("42").status, 401);
    assert_eq!(asked(), 2);
}

#[test]
fn whoever_leaves_while_a_place_is_reserved_holds_none() {
    let world = World::start(|_| {});
    let closed = world.engine.gate.blocking_write();
    let path = format!("{BASE}/sse/notifications/?token={}", world.token("42"));
    let mut socket = connect(world.public);
    socket
        .write_all(head("GET", &path, "", "").as_bytes())
        .unwrap();
    world.wait_for_places("42", 1);
    drop(socket);
    world.wait_for_places("42", 0);
    drop(closed);
    assert_eq!(world.open("42").status, 200);
}

#[test]
fn whoever_leaves_before_the_stream_begins_gives_the_place_back() {
    let key = rcgen::KeyPair::generate().unwrap();
    let names = vec!["localhost".to_owned()];
    let params = rcgen::CertificateParams::new(names).unwrap();
    let cert = params.self_signed(&key).unwrap();
    let directory = tempfile::tempdir().unwrap();
    let files = Certificate {
        cert: directory.path().join("cert.pem"),
        key: directory.path().join("key.pem"),
    };
    std::fs::write(&files.cert, cert.pem()).unwrap();
    std::fs::write(&files.key, key.serialize_pem()).unwrap();
    let world = World::start(|config| {
        config.tls.listen = vec!["127.0.0.1:0".parse().unwrap()];
        config.tls.certificates = vec![files];
    });
    let mut roots = RootCertStore::empty();
    roots.add(cert.der().clone()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let mut tls = ClientConnection::new(Arc::new(config), "localhost".try_into().unwrap()).unwrap();
    let server = world.server.as_ref().unwrap();
    let to: SocketAddr = server.tls_endpoints()[0].to_string().parse().unwrap();
    let mut socket = connect(to);
    while tls.is_handshaking() {
        tls.complete_io(&mut socket).unwrap();
    }
    let path = format!("{BASE}/sse/notifications/?token={}", world.token("42"));
    let request = head("GET", &path, "", "");
    tls.writer().write_all(request.as_bytes()).unwrap();
    let mut records = Vec::new();
    while tls.wants_write() {
        tls.write_tls(&mut records).unwrap();
    }
    // The connection cannot leave hyper before it has the rest of this record.
    records.extend_from_slice(&[23, 3, 3, 0, 100]);
    socket.write_all(&records).unwrap();
    world.wait_for_places("42", 1);
    // The shard has gone on since.
    assert_eq!(ask(world.public, "GET", "/nowhere", "", "").status, 404);
    assert_eq!(world.engine.places("42"), 1);
    assert_eq!(world.hub().streams().used(), 0);
    drop(socket);
    world.wait_for_places("42", 0);
}

#[test]
fn a_place_is_given_back_however_a_stream_ends() {
    let world = World::start(|config| {
        config.max_connections_per_user = 2;
        config.on_limit = OnLimit::EvictOldest;
    });
    let streams: Vec<Reply> = ["42"; 5].map(|user| world.open(user)).into();
    assert!(streams.iter().all(|stream| stream.status == 200));
    assert_eq!(world.engine.places("42"), 2);
    let ended = world.admin("DELETE", "/v1/users/42/connections");
    assert_eq!(ended["ended"], 2);
    assert_eq!(world.engine.places("42"), 0);

    let _stream = world.open("a user whose id is no number, and long");
    let user = "a%20user%20whose%20id%20is%20no%20number,%20and%20long";
    let places = || {
        world
            .engine
            .places("a user whose id is no number, and long")
    };
    assert_eq!(places(), 1);
    let answer = world.admin("POST", &format!("/v1/users/{user}/logout"));
    // Three more on another node.
    assert_eq!(answer["ended"], 4, "{answer}");
    assert_eq!(places(), 0);

    for user in ["7", "a user whose id is no number, and longer"] {
        let stream = world.open(user);
        assert_eq!(world.engine.places(user), 1);
        drop(stream.socket);
        world.wait_for_places(user, 0);
    }
}

#[test]
fn presence_has_the_connections_to_other_nodes_too() {
    let world = World::start(|_| {});
    let _stream = world.open("42");
    let presence = world.admin("GET", "/v1/users/42");
    let connections = presence["connections"].as_array().unwrap();
    let ids = connections.iter().map(|one| one["id"].as_str().unwrap());
    assert_eq!(ids.collect::<Vec<_>>(), ["other:300-7-1", "0-0-0"]);
    assert_eq!(presence["partial"], json!(["silent"]));
    let presence = world.presence_of(&["42", "7"]);
    let expected = json!({
        "42": {"online": true, "connections": 3},
        "7": {"online": true, "connections": 2},
    });
    assert_eq!(presence, json!({ "users": expected }));
}

/// Begins to pass connections on and ends that at once. Returns those that were quick.
fn too_late(admin: &Admin) -> Vec<PassedConnection> {
    let mut passed = admin.pass_on();
    passed.close();
    std::iter::from_fn(|| passed.try_recv().ok()).collect()
}

#[test]
fn an_admin_connection_that_is_too_late_for_the_other_process_is_kept_or_closed() {
    let world = World::start(|_| ());
    let admin = Arc::clone(&world.server.as_ref().unwrap().admin);
    let mut reply = ask(world.admin, "GET", "/healthz", "", "");
    let early = too_late(&admin);
    let _runtime = world.runtime.as_ref().unwrap().enter();
    // The upgrade has failed.
    for connection in early {
        continue_connection(&admin, connection).unwrap();
    }
    admin.keep();
    let again = head("GET", "/healthz", "", "");
    reply.socket.write_all(again.as_bytes()).unwrap();
    let mut byte = [0];
    reply.socket.read_exact(&mut byte).unwrap();
    let mut reply = ask(world.admin, "GET", "/healthz", "", "");
    drop(too_late(&admin));
    // The upgrade is done.
    admin.leave();
    assert_eq!(reply.socket.read(&mut byte).unwrap(), 0);
}
