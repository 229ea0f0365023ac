//! The whole configuration: the keys at the top of the file, and its sections.

use std::path::PathBuf;
use std::time::Duration;

use super::admin::Admin;
use super::auth::Auth;
use super::checks::{at_least, at_most, between, not_empty};
use super::choice::choice;
use super::compression::Compression;
use super::control;
use super::cors::Cors;
use super::endpoint::Endpoint;
use super::engine::Engine;
use super::history::History;
use super::login::Login;
use super::names::BasePath;
use super::section::section;
use super::telemetry::Telemetry;
use super::tls::Tls;
use super::trusted_proxy::TrustedProxy;
use super::units::Size;

/// Each shard is a thread with a runtime and an epoll. A larger number is a typing error.
const SHARDS_MAX: usize = 512;

/// A backlog must hold a page, otherwise every short write closes its client.
const BACKLOG_MIN_BYTES: usize = 4 * 1024;

/// Limits for one event: below, hardly any event fits; above, one event fills a client's memory.
const PUBLISH_MIN_BYTES: usize = 1024;
const PUBLISH_MAX_BYTES: usize = 16 * 1024 * 1024;

/// The kernel reads `SO_SNDBUF` as a C int.
const SEND_BUFFER_MAX_BYTES: usize = i32::MAX as usize;

const MILLISECOND: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);

/// After a day of silence a heartbeat is useless.
const HEARTBEAT_MAX: Duration = Duration::from_secs(24 * 60 * 60);

/// A hand-over of a million clients takes seconds. `idlewild upgrade` waits somewhat longer than this for an answer.
const UPGRADE_TIMEOUT_MAX: Duration = Duration::from_secs(10 * 60);

/// Limits of `admin_max_connections`: a few publishers and probes; the descriptors of a large machine.
const ADMIN_CONNECTIONS_MIN: usize = 8;
const ADMIN_CONNECTIONS_MAX: usize = 65_536;

section! {
    /// The whole configuration. Field names are the keys of the file.
    pub struct Config {
        /// Public listeners: IP addresses, or "unix:/run/idlewild/public.sock"; no host names.
        pub listen: Vec<Endpoint> = vec![Endpoint::on_loopback(8000)], flag "ADDRESS";
        /// Admin listeners; never reachable from outside.
        pub admin_listen: Vec<Endpoint> = vec![Endpoint::on_loopback(8001)],
            check not_empty("at least one address is needed"), flag "ADDRESS";
        /// Over all admin listeners; beyond it, a new connection closes the one that has been idle longest.
        pub admin_max_connections: usize = 1024,
            check between(ADMIN_CONNECTIONS_MIN, ADMIN_CONNECTIONS_MAX);
        /// Prefix of the public routes.
        pub base_path: BasePath = BasePath::of("/api/v1/auth"), flag "PATH";
        /// Threads that hold streams; 0 = one per core.
        pub shards: usize = 0, check at_most(SHARDS_MAX), flag "COUNT";
        /// Streams at once; each needs a descriptor.
        pub max_connections: usize = 15_000, check at_least(1), flag "COUNT";
        /// Streams per user at once.
        pub max_connections_per_user: usize = 5, check at_least(1);
        /// Beyond that, a new stream gets 429 (dead ones are closed first); or "evict_oldest": the oldest gets `event: evicted` and ends.
        pub on_limit: OnLimit = OnLimit::Reject;
        /// Silence after which a stream gets a heartbeat.
        pub heartbeat: Duration = Duration::from_secs(30),
            check between(SECOND, HEARTBEAT_MAX), flag "DURATION";
        /// Shortest reconnect delay; each client's is drawn between the two.
        pub retry_min: Duration = Duration::from_secs(2), check at_least(MILLISECOND);
        /// Longest reconnect delay.
        pub retry_max: Duration = Duration::from_secs(6);
        /// Connections that are not (yet) a stream, typically 2 to 25 KB each; divided among the shards.
        pub max_handshakes: usize = 1024, check at_least(1);
        /// Time from accept, or the last response, to the next complete request.
        pub handshake_timeout: Duration = Duration::from_secs(10), check at_least(MILLISECOND);
        /// Largest backlog of a slow client; beyond it, the client is disconnected.
        pub max_backlog_bytes: usize as Size = 64 * 1024, check at_least(BACKLOG_MIN_BYTES);
        /// SO_SNDBUF of a client's socket; 0 = the kernel's choice.
        pub send_buffer: usize as Size = 32 * 1024, check at_most(SEND_BUFFER_MAX_BYTES);
        /// Longest time that a backlog makes no progress, or sent data is not acknowledged (TCP_USER_TIMEOUT).
        pub stall_timeout: Duration = Duration::from_secs(30), check at_least(MILLISECOND);
        /// Largest data of one event.
        pub max_publish_bytes: usize as Size = 64 * 1024,
            check between(PUBLISH_MIN_BYTES, PUBLISH_MAX_BYTES);
        /// Streams ended per second after SIGTERM.
        pub drain_rate: u32 = 5000, check at_least(1);
        /// Longest drain; the streams that are left then end at once.
        pub drain_timeout: Duration = Duration::from_secs(30);
        /// Longest upgrade without a disconnect; the old process then goes on with the clients it still has.
        pub upgrade_timeout: Duration = Duration::from_secs(60),
            check between(SECOND, UPGRADE_TIMEOUT_MAX);
        /// Unix socket of `idlewild upgrade`; "" = /run/idlewild/control.sock if that directory exists, else none.
        pub control: Option<PathBuf> = None, check control::socket_path;
        /// Whether {base_path}/sse/test/ is served.
        pub test_stream: bool = true;
        /// Test streams at once.
        pub max_test_streams: usize = 100;
        /// Descriptor tables of the shards: "shared", or "per-shard": nofile then limits each shard.
        pub fd_tables: FdTables = FdTables::Shared, flag "KIND";
        /// Public listeners where each connection begins with a PROXY header.
        pub proxy_protocol: Vec<Endpoint> = Vec::new();
        /// Peers whose X-Forwarded-For and X-Real-IP are trusted.
        pub trusted_proxies: Vec<TrustedProxy> = TrustedProxy::on_this_machine();
        /// error, warn, info, debug, trace.
        pub log_level: LogLevel = LogLevel::Info, flag "LEVEL";
        /// "text" or "json".
        pub log_format: LogFormat = LogFormat::Text, flag "FORMAT";
    }
    sections {
        /// `[auth]`
        pub auth: Auth,
        /// `[tls]`
        pub tls: Tls,
        /// `[cors]`
        pub cors: Cors,
        /// `[compression]`
        pub compression: Compression,
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
}

choice! {
    /// What happens when a user opens more streams than `max_connections_per_user`.
    pub enum OnLimit {
        /// The new stream gets 429.
        Reject = "reject",
        /// The oldest stream gets `event: evicted` and ends.
        EvictOldest = "evict_oldest",
    }
}

choice! {
    /// The descriptor tables of the shard threads.
    pub enum FdTables {
        /// The table of the process.
        Shared = "shared",
        /// One table per shard, so that `nofile` limits each shard instead of the process.
        PerShard = "per-shard",
    }
}

choice! {
    /// The least severe level that is logged.
    #[allow(missing_docs)] // the names are the levels
    pub enum LogLevel {
        Error = "error",
        Warn = "warn",
        Info = "info",
        Debug = "debug",
        Trace = "trace",
    }
}

choice! {
    /// The form of the log lines.
    pub enum LogFormat {
        /// For people.
        Text = "text",
        /// One object per line.
        Json = "json",
    }
}
