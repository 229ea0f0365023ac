use std::path::PathBuf;
use std::{env, fs};

use toml::Table;

use super::*;
use crate::config::{ConfigSources, keys, load};

/// The column of the comments on the page, without two spaces before them.
const COMMENT_COLUMN: usize = 35;

/// The TOML of the contract, except for the example key, the history's path, and the telemetry.
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
upgrade_timeout = "1m"
control = ""
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

[compression]
enabled = false
min_bytes = 512

[history]
max_bytes = "64MiB"
max_age = "10m"
path = ""
fsync = "interval"
on_damage = "reject_sessions"

[engine]
kind = "memory"
url = "redis://127.0.0.1:6379/0"
password_file = ""
ca = ""
prefix = "idlewild:"
node = ""
replicas = 0
linger = "2ms"
max_stale = "30s"
max_bytes = "256MiB"

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

/// The list of all keys on the page.
fn list() -> String {
    lines(&Config::default(), |line, key| {
        format!("{line:COMMENT_COLUMN$}  # {}", key.summary())
    })
}

#[test]
fn the_defaults_are_those_of_the_contract() {
    let defaults: Table = print(&Config::default()).parse().unwrap();
    let contract: Table = CONTRACT.parse().unwrap();
    for (key, value) in contract {
        let default = &defaults[&key];
        match value {
            Value::Table(section) => {
                for (inner, value) in section {
                    assert_eq!(default[&inner], value, "{key}.{inner}");
                }
            }
            value => assert_eq!(*default, value, "{key}"),
        }
    }
}

#[test]
fn a_printed_configuration_reads_back() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("idlewild.toml");
    // The list sets nothing that lets users sign in, so the application's URL is added.
    let list = list().replace(
        "session_auth_url = \"\"",
        "session_auth_url = \"http://a/\"",
    );
    fs::write(&file, &list).unwrap();
    let sources = ConfigSources {
        file: Some(file),
        ..ConfigSources::default()
    };
    let read = load(&sources).unwrap();
    let without_comments: Table = list.parse().unwrap();
    assert_eq!(print(&read).parse::<Table>().unwrap(), without_comments);
}

/// To update the page, run `UPDATE_DOCS=1 cargo test --lib config::print`.
#[test]
fn the_page_lists_every_key_with_its_default() {
    let page = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("docs/configuration.md");
    let text = fs::read_to_string(&page).unwrap();
    let (before, rest) = text.split_once("```toml\n").unwrap();
    let (listed, after) = rest.split_once("```\n").unwrap();
    let list = list();
    if listed != list && env::var_os("UPDATE_DOCS").is_some() {
        fs::write(&page, format!("{before}```toml\n{list}```\n{after}")).unwrap();
        return;
    }
    assert!(
        listed == list,
        "docs/configuration.md is not up to date: UPDATE_DOCS=1 cargo test --lib config::print"
    );
}

#[test]
fn every_key_is_explained() {
    for name in keys::names() {
        let key = keys::find(&name).unwrap();
        assert!(key.summary().len() > 3, "{name}");
    }
}
