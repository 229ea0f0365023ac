//! What the server is told: every key of `idlewild.toml`, typed, with its default.
//!
//! A [`Config`] that came out of [`load`] is valid: addresses parse, secrets are long enough,
//! the machine's descriptors suffice. The file is overlaid by `IDLEWILD_…` variables, those by
//! flags.

mod defaults;
mod endpoint;
mod error;
mod load;
mod nearest;
mod telemetry;
mod units;
mod url;
mod validate;
mod variables;

pub use error::{ConfigError, ConfigErrors};
pub(crate) use load::is_known_variable;
pub use load::{DevSecrets, Sources, load, warnings};
pub use telemetry::Telemetry;
pub use units::{parse_duration, parse_size};
pub(crate) use validate::MAX_LEAVING;
pub use validate::{SPARE_ADMIN_CONNECTIONS, check_descriptors, own_descriptors};
pub(crate) use variables::{API_KEY_VARIABLES, ENV_PREFIX};

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// The whole configuration. Field names are the keys of the file.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Public listeners.
    pub listen: Vec<Endpoint>,
    /// Admin listeners.
    pub admin_listen: Vec<Endpoint>,
    /// Connections to all admin listeners together; one more takes the place of the longest idle.
    pub admin_max_connections: usize,
    /// Prefix of the public routes, without a trailing slash; empty or starting with `/`.
    pub base_path: String,
    /// Shard threads; 0 stands for one per core.
    pub shards: usize,
    /// Streams held at once, over all shards.
    pub max_connections: usize,
    /// Streams one user may hold at once.
    pub max_connections_per_user: usize,
    /// What happens to one stream more.
    pub on_limit: OnLimit,
    /// Silence after which a stream gets a heartbeat.
    #[serde(with = "units::duration")]
    pub heartbeat: Duration,
    /// Shortest reconnect delay told to a client.
    #[serde(with = "units::duration")]
    pub retry_min: Duration,
    /// Longest reconnect delay told to a client.
    #[serde(with = "units::duration")]
    pub retry_max: Duration,
    /// Public connections at once that are not (yet) a stream, over all shards.
    pub max_handshakes: usize,
    /// Longest time from accept, or from the last answer, to the next complete request.
    #[serde(with = "units::duration")]
    pub handshake_timeout: Duration,
    /// Bytes kept for one client that reads too slowly.
    #[serde(with = "units::size")]
    pub max_backlog_bytes: usize,
    /// `SO_SNDBUF` of a client's socket; 0 leaves it to the kernel.
    #[serde(with = "units::size")]
    pub send_buffer: usize,
    /// Longest time without progress of a client that has a backlog.
    #[serde(with = "units::duration")]
    pub stall_timeout: Duration,
    /// Largest event body that is published.
    #[serde(with = "units::size")]
    pub max_publish_bytes: usize,
    /// Streams ended a second while draining.
    pub drain_rate: u32,
    /// Longest drain; what is left then ends at once.
    #[serde(with = "units::duration")]
    pub drain_timeout: Duration,
    /// Whether the connectivity test stream is served.
    pub test_stream: bool,
    /// Test streams at once.
    pub max_test_streams: usize,
    /// Whether the shards share the process's descriptor table.
    pub fd_tables: FdTables,
    /// Public listeners where a PROXY header is required.
    pub proxy_protocol: Vec<Endpoint>,
    /// Peers whose `X-Forwarded-For` and `X-Real-IP` are believed.
    pub trusted_proxies: Vec<TrustedProxy>,
    /// Least severe level that is logged.
    pub log_level: LogLevel,
    /// Form of the log lines.
    pub log_format: LogFormat,
    /// `[auth]`
    pub auth: Auth,
    /// `[tls]`
    pub tls: Tls,
    /// `[cors]`
    pub cors: Cors,
    /// `[history]`
    pub history: History,
    /// `[engine]`
    pub engine: Engine,
    /// `[admin]`
    pub admin: Admin,
    /// `[login]`
    pub login: Login,
    /// `[telemetry]`
    pub telemetry: Telemetry,
}

/// Where a listener stands: `127.0.0.1:8000` or `unix:/run/idlewild/public.sock`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Endpoint {
    /// A TCP address; port 0 lets the kernel choose.
    Tcp(SocketAddr),
    /// The path of a unix socket.
    Unix(PathBuf),
}

/// Policy when a user opens one stream more than `max_connections_per_user`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnLimit {
    /// The new stream gets 429.
    Reject,
    /// The oldest stream gets `event: evicted` and its end.
    EvictOldest,
}

/// Which descriptor table the shard threads use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FdTables {
    /// The process's one table.
    Shared,
    /// One table a shard, so that `nofile` bounds each shard and not the process.
    PerShard,
}

/// A peer whose forwarding headers are believed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TrustedProxy {
    /// An address range, `10.0.0.0/8`; a bare address is a range of one.
    Net {
        /// First address of the range.
        network: IpAddr,
        /// Leading bits that count.
        prefix: u8,
    },
    /// Whoever connects over a unix socket.
    Unix,
}

/// Least severe level that is logged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[allow(missing_docs)] // the names are the levels
pub enum LogLevel {
    Error,
    Warn,
    Info,
    Debug,
    Trace,
}

/// Form of the log lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For people.
    Text,
    /// One object a line.
    Json,
}

/// `[auth]`: who may open a stream.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Auth {
    /// Signature algorithms that are accepted.
    pub algorithms: Vec<Algorithm>,
    /// Shared secret for `HS*`; at least 32 bytes.
    pub secret: String,
    /// File that holds the shared secret (a trailing newline is not part of it).
    pub secret_file: PathBuf,
    /// PEM files with public keys.
    pub public_keys: Vec<PathBuf>,
    /// A JSON Web Key Set: file or URL.
    pub jwks: String,
    /// Claim that names the user.
    pub user_claim: String,
    /// Claim that names the session.
    pub session_claim: String,
    /// Claim that, where present, must be `access`.
    pub token_type_claim: String,
    /// Required `aud`; empty checks nothing.
    pub audience: String,
    /// Required `iss`; empty checks nothing.
    pub issuer: String,
    /// Clock difference allowed on `exp`, `nbf` and `iat`.
    #[serde(with = "units::duration")]
    pub leeway: Duration,
    /// Longest life (`exp` − `iat`) of a token; a log-out is remembered for as long.
    #[serde(with = "units::duration")]
    pub max_token_life: Duration,
    /// Cookie that may hold the JWT.
    pub jwt_cookie: String,
    /// URL that is asked whom a session cookie is of; empty asks nowhere.
    pub session_auth_url: String,
    /// The cookies that the answer depends on; without one of them, or `Authorization`, nothing is
    /// asked.
    pub session_cookie: Vec<String>,
    /// What happens to a stream at its token's `exp`.
    pub on_expiry: OnExpiry,
    /// Time within which a ticket must be used.
    #[serde(with = "units::duration")]
    pub ticket_ttl: Duration,
}

/// A JWS signature algorithm (RFC 7518 §3.1, RFC 8037) that Idlewild accepts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs)] // the names are the standard's
pub enum Algorithm {
    HS256,
    HS384,
    HS512,
    RS256,
    RS384,
    RS512,
    PS256,
    ES256,
    ES384,
    EdDSA,
}

/// What happens to a stream at its token's `exp`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OnExpiry {
    /// It gets `event: token_expired` and its end.
    Close,
    /// It stays.
    Keep,
}

/// `[tls]`: listeners with TLS.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Tls {
    /// Public listeners with TLS.
    pub listen: Vec<Endpoint>,
    /// Certificates with their keys.
    pub certificates: Vec<Certificate>,
    /// Whether sessions resume.
    pub session_tickets: bool,
}

/// A certificate chain with its key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Certificate {
    /// PEM file of the chain.
    pub cert: PathBuf,
    /// PEM file of the private key.
    pub key: PathBuf,
}

/// `[cors]`: which pages may read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Cors {
    /// Exact origins, or `*`.
    pub origins: Vec<String>,
    /// Whether cookies may be sent.
    pub credentials: bool,
    /// Request headers that pages may send besides the usual ones.
    pub headers: Vec<String>,
}

/// `[history]`: what the log retains, and where.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct History {
    /// Bytes retained.
    #[serde(with = "units::size")]
    pub max_bytes: usize,
    /// Age retained.
    #[serde(with = "units::duration")]
    pub max_age: Duration,
    /// Directory that holds it across restarts; empty keeps it in memory alone.
    pub path: PathBuf,
    /// When what was accepted is on the disk.
    pub fsync: Fsync,
    /// What happens to sessions if session changes may be missing.
    pub on_damage: OnDamage,
}

/// What happens to sessions at a start that finds the history damaged, so that session changes may
/// be missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnDamage {
    /// All of them end: whoever logged in before has to do so again.
    RejectSessions,
    /// They go on, and tokens that were revoked may be good again.
    Accept,
}

/// When the directory of `history.path` is flushed to the disk. In either case an event that was
/// accepted outlives the process; the difference is a crash of the machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Fsync {
    /// Once a second.
    Interval,
    /// Before an event is accepted.
    Always,
}

/// `[engine]`: where events come from and are kept.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Engine {
    /// Which engine.
    pub kind: EngineKind,
    /// Where Redis is.
    pub url: String,
    /// Prefix of the keys in Redis.
    pub prefix: String,
}

/// Which engine keeps the events.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum EngineKind {
    /// This process.
    Memory,
    /// A Redis stream.
    Redis,
}

/// `[admin]`: who may publish.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Admin {
    /// Keys by hash.
    pub api_keys: Vec<ApiKey>,
    /// One raw key, meant for `IDLEWILD_ADMIN__API_KEY`; empty for none.
    pub api_key: String,
}

/// A named key, stored as its hash.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ApiKey {
    /// Who uses it; stands in the log.
    pub name: String,
    /// `sha256:` and 64 hex digits.
    pub hash: String,
}

/// `[login]`: the built-in login.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Login {
    /// TOML file of users; empty turns the route off.
    pub users_file: PathBuf,
    /// Life of a token that the login issues.
    #[serde(with = "units::duration")]
    pub token_ttl: Duration,
}
