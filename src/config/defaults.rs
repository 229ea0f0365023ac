//! The value of every key that nobody sets, as the contract states them.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use super::{
    Admin, Algorithm, Auth, Config, Cors, Endpoint, Engine, EngineKind, FdTables, Fsync, History,
    LogFormat, LogLevel, Login, OnDamage, OnExpiry, OnLimit, Telemetry, Tls, TrustedProxy,
};

const LOCALHOST: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

impl Default for Config {
    fn default() -> Self {
        Self {
            listen: vec![Endpoint::Tcp(SocketAddr::new(LOCALHOST, 8000))],
            admin_listen: vec![Endpoint::Tcp(SocketAddr::new(LOCALHOST, 8001))],
            admin_max_connections: 1024,
            base_path: "/api/v1/auth".to_owned(),
            shards: 0,
            max_connections: 15_000,
            max_connections_per_user: 5,
            on_limit: OnLimit::Reject,
            heartbeat: Duration::from_secs(30),
            retry_min: Duration::from_secs(2),
            retry_max: Duration::from_secs(6),
            max_handshakes: 1024,
            handshake_timeout: Duration::from_secs(10),
            max_backlog_bytes: 64 * 1024,
            send_buffer: 32 * 1024,
            stall_timeout: Duration::from_secs(30),
            max_publish_bytes: 64 * 1024,
            drain_rate: 5000,
            drain_timeout: Duration::from_secs(30),
            test_stream: true,
            max_test_streams: 100,
            fd_tables: FdTables::Shared,
            proxy_protocol: Vec::new(),
            trusted_proxies: vec![
                TrustedProxy::Net {
                    network: LOCALHOST,
                    prefix: 32,
                },
                TrustedProxy::Unix,
            ],
            log_level: LogLevel::Info,
            log_format: LogFormat::Text,
            auth: Auth::default(),
            tls: Tls::default(),
            cors: Cors::default(),
            history: History::default(),
            engine: Engine::default(),
            admin: Admin::default(),
            login: Login::default(),
            telemetry: Telemetry::default(),
        }
    }
}

impl Default for Auth {
    fn default() -> Self {
        Self {
            algorithms: vec![Algorithm::HS256],
            secret: String::new(),
            secret_file: PathBuf::new(),
            public_keys: Vec::new(),
            jwks: String::new(),
            user_claim: "user_id".to_owned(),
            session_claim: "session_id".to_owned(),
            token_type_claim: "token_type".to_owned(),
            audience: String::new(),
            issuer: String::new(),
            leeway: Duration::from_secs(5),
            max_token_life: Duration::from_secs(30 * 24 * 60 * 60),
            jwt_cookie: "access_token".to_owned(),
            session_auth_url: String::new(),
            session_cookie: vec!["sessionid".to_owned()],
            on_expiry: OnExpiry::Close,
            ticket_ttl: Duration::from_secs(30),
        }
    }
}

impl Default for Tls {
    fn default() -> Self {
        Self {
            listen: Vec::new(),
            certificates: Vec::new(),
            session_tickets: true,
        }
    }
}

impl Default for Cors {
    fn default() -> Self {
        Self {
            origins: vec!["*".to_owned()],
            credentials: false,
            headers: Vec::new(),
        }
    }
}

impl Default for History {
    fn default() -> Self {
        Self {
            max_bytes: 64 * 1024 * 1024,
            max_age: Duration::from_secs(10 * 60),
            path: PathBuf::new(),
            fsync: Fsync::Interval,
            on_damage: OnDamage::RejectSessions,
        }
    }
}

impl Default for Engine {
    fn default() -> Self {
        Self {
            kind: EngineKind::Memory,
            url: "redis://127.0.0.1:6379/0".to_owned(),
            prefix: "idlewild:".to_owned(),
        }
    }
}

impl Default for Login {
    fn default() -> Self {
        Self {
            users_file: PathBuf::new(),
            token_ttl: Duration::from_secs(15 * 60),
        }
    }
}

impl Default for Telemetry {
    fn default() -> Self {
        Self {
            otlp_endpoint: String::new(),
            service_name: "idlewild".to_owned(),
            sample_ratio: 1.0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The contract's TOML, word for word but for the example key, where the history is kept,
    /// and the telemetry.
    const CONTRACT: &str = r#"
listen = ["127.0.0.1:8000"]
admin_listen = ["127.0.0.1:8001"]
admin_max_connections = 1024
base_path = "/api/v1/auth"
shards = 0
max_connections = 15000
max_connections_per_user = 5
on_limit = "reject"
heartbeat = "30s"
retry_min = "2s"
retry_max = "6s"
max_handshakes = 1024
handshake_timeout = "10s"
max_backlog_bytes = "64KiB"
send_buffer = "32KiB"
stall_timeout = "30s"
max_publish_bytes = "64KiB"
drain_rate = 5000
drain_timeout = "30s"
test_stream = true
max_test_streams = 100
fd_tables = "shared"
proxy_protocol = []
trusted_proxies = ["127.0.0.1/32", "unix"]
log_level = "info"
log_format = "text"

[auth]
algorithms = ["HS256"]
secret = ""
secret_file = ""
public_keys = []
jwks = ""
user_claim = "user_id"
session_claim = "session_id"
token_type_claim = "token_type"
audience = ""
issuer = ""
leeway = "5s"
max_token_life = "30d"
jwt_cookie = "access_token"
session_auth_url = ""
session_cookie = ["sessionid"]
on_expiry = "close"
ticket_ttl = "30s"

[tls]
listen = []
certificates = []
session_tickets = true

[cors]
origins = ["*"]
credentials = false
headers = []

[history]
max_bytes = "64MiB"
max_age = "10m"
path = ""
fsync = "interval"
on_damage = "reject_sessions"

[engine]
kind = "memory"
url = "redis://127.0.0.1:6379/0"
prefix = "idlewild:"

[admin]
api_keys = []
api_key = ""

[login]
users_file = ""
token_ttl = "15m"

[telemetry]
otlp_endpoint = ""
service_name = "idlewild"
sample_ratio = 1.0
"#;

    #[test]
    fn the_defaults_are_the_contracts() {
        let contract: toml::Table = toml::from_str(CONTRACT).unwrap();
        assert_eq!(toml::Table::try_from(Config::default()).unwrap(), contract);
        let read: Config = toml::from_str(CONTRACT).unwrap();
        assert_eq!(toml::Table::try_from(read).unwrap(), contract);
    }
}
