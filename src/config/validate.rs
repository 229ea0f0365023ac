//! What a value must hold beyond its type, and what this version does not do yet.
//!
//! Every refusal is one line: key, value, way out. All are reported.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use super::error::{ConfigError, Findings};
use super::units::duration_text;
use super::{Algorithm, Auth, Config, Cors, Endpoint, EngineKind, FdTables, Tls};

/// Descriptors of the process itself: questions to the application and the key set's URL, the
/// history, traces, logs, and files that are open for a moment.
const OTHER_DESCRIPTORS: u64 = 256;

/// Admin connections of one listener that were closed for others, and whose sockets may still be
/// open for a moment. A listener that waited for each would accept a few hundred a second.
pub(crate) const MAX_LEAVING: usize = 16;

/// Admin connections beyond `admin_max_connections`: while none is idle, these keep health and
/// metrics answering.
pub const SPARE_ADMIN_CONNECTIONS: usize = 64;

/// What a shard opens for itself, its listeners aside: epolls, eventfds, its runtime's signal pipe.
const DESCRIPTORS_PER_SHARD: usize = 8;

/// RFC 7518 §3.2: an HMAC key is at least as long as the hash's output; HS256's is the shortest.
const SECRET_MIN_BYTES: usize = 32;

/// Each shard is a thread with a runtime and an epoll; beyond this it is a typing error.
const SHARDS_MAX: usize = 512;

/// A backlog must hold a page, or every short write ends its client.
const BACKLOG_MIN_BYTES: usize = 4 * 1024;

/// Bounds of one event: below, hardly any passes; above, one event fills a client's memory.
const PUBLISH_MIN_BYTES: usize = 1024;
const PUBLISH_MAX_BYTES: usize = 16 * 1024 * 1024;

/// Past a day of silence a heartbeat proves nothing.
const HEARTBEAT_MAX: Duration = Duration::from_secs(24 * 60 * 60);

/// An API key shorter than this can be guessed; a made one has 47 bytes.
const API_KEY_MIN_BYTES: usize = 16;

/// An API key that is shorter than this is warned of.
pub(super) const API_KEY_ADVISED_BYTES: usize = 32;

/// Bounds of `admin_max_connections`: a few publishers and probes; what anybody has descriptors for.
const ADMIN_CONNECTIONS_MIN: usize = 8;
const ADMIN_CONNECTIONS_MAX: usize = 65_536;

/// Hex digits of a SHA-256.
const SHA256_HEX_DIGITS: usize = 64;

type Checked = Result<(), ConfigError>;

/// Everything that is wrong with `config`.
pub(super) fn validate(config: &Config) -> Vec<ConfigError> {
    let mut findings = Findings::default();
    findings.note(later_versions(config));
    listeners(config, &mut findings);
    tls(&config.tls, &mut findings);
    findings.note(base_path(&config.base_path));
    limits(config, &mut findings);
    times(config, &mut findings);
    findings.note(history(&config.history.path));
    auth(&config.auth, &mut findings);
    cors(&config.cors, &mut findings);
    api_keys(config, &mut findings);
    config.telemetry.check(&mut findings);
    if !config.login.users_file.as_os_str().is_empty() {
        findings.note(file("login.users_file", &config.login.users_file));
        findings.note(login_can_sign(&config.auth));
    }
    findings.into_errors()
}

fn login_can_sign(auth: &Auth) -> Checked {
    let refused = |way_out: &str| {
        let problem = "is set, but the login signs with a shared secret";
        refuse(
            "login.users_file",
            format!("{problem} ({way_out}, or leave the login to your application)"),
        )
    };
    if symmetric(auth).is_none() {
        return refused("add HS256 to auth.algorithms");
    }
    if auth.secret.is_empty() {
        return refused("set auth.secret");
    }
    Ok(())
}

/// Refuses more clients than the descriptor limit holds.
///
/// With `fd_tables = "per-shard"` the limit holds for each shard's share.
///
/// # Errors
/// One line with what is needed, what there is and how to raise it.
pub fn check_descriptors(config: &Config, nofile_hard: u64) -> Result<(), ConfigError> {
    let shards = shards(config);
    let own = own_descriptors(config);
    // The last is the one that was just accepted.
    let leaving = config.admin_listen.len() * (MAX_LEAVING + 1 + 1);
    let admin = (config.admin_max_connections + SPARE_ADMIN_CONNECTIONS + leaving) as u64;
    let share = |count: usize, tables: usize| count.div_ceil(tables) as u64;
    let clients = |tables| {
        share(config.max_connections, tables).saturating_add(share(config.max_handshakes, tables))
    };
    let (needed, whose) = match config.fd_tables {
        FdTables::Shared => (clients(1).saturating_add(own + admin), ""),
        FdTables::PerShard => (
            clients(shards).saturating_add(own).max(own + admin),
            " a table",
        ),
    };
    if needed <= nofile_hard {
        return Ok(());
    }
    refuse(
        "max_connections",
        format!(
            "{} needs {needed} descriptors{whose} (with max_handshakes, admin_max_connections and what the process opens itself), nofile allows {nofile_hard} (ulimit -n {needed}, LimitNOFILE={needed}, or lower one of the three)",
            config.max_connections
        ),
    )
}

/// What each descriptor table holds besides clients, handshakes and admin connections: what is made
/// before the shards' threads stands in every table.
pub fn own_descriptors(config: &Config) -> u64 {
    let of_shard = DESCRIPTORS_PER_SHARD + config.listen.len() + config.tls.listen.len();
    (shards(config) * of_shard) as u64 + OTHER_DESCRIPTORS
}

fn shards(config: &Config) -> usize {
    let cores = || std::thread::available_parallelism().map_or(1, usize::from);
    let shards = Some(config.shards).filter(|shards| *shards > 0);
    shards.unwrap_or_else(cores)
}

/// What the contract has and this version has not: refused, since ignoring it would be a lie.
fn later_versions(config: &Config) -> Checked {
    if config.engine.kind == EngineKind::Redis {
        return refuse(
            "engine.kind",
            "\"redis\" is not part of this version; use \"memory\", one node",
        );
    }
    Ok(())
}

fn listeners(config: &Config, findings: &mut Findings) {
    let lists = [
        ("listen", &config.listen),
        ("admin_listen", &config.admin_listen),
        ("tls.listen", &config.tls.listen),
    ];
    let mut seen = BTreeSet::new();
    for (key, endpoints) in lists {
        // Whoever has TLS here needs no other listener.
        let may_be_empty = key == "tls.listen" || key == "listen" && !config.tls.listen.is_empty();
        if endpoints.is_empty() && !may_be_empty {
            findings.note(refuse(key, "is empty, at least one address is needed"));
        }
        for (i, endpoint) in endpoints.iter().enumerate() {
            // The kernel gives each port 0 a port of its own.
            let chosen_by_kernel =
                matches!(endpoint, Endpoint::Tcp(address) if address.port() == 0);
            if !chosen_by_kernel && !seen.insert(endpoint.to_string()) {
                findings.note(refuse(
                    format!("{key}[{i}]"),
                    format!(
                        "`{endpoint}` stands twice in listen, admin_listen and tls.listen, remove one"
                    ),
                ));
            }
        }
    }
}

fn base_path(path: &str) -> Checked {
    let refused = |what: &str| refuse("base_path", format!("`{path}` {what}"));
    if path.is_empty() {
        return Ok(());
    }
    if !path.starts_with('/') {
        return refused("does not start with / (/api/v1/auth)");
    }
    if path.ends_with('/') || path.contains("//") {
        return refused("has an empty segment (/api/v1/auth)");
    }
    let odd = |c: char| "?#".contains(c) || c.is_whitespace() || c.is_control();
    if path.contains(odd) {
        return refused("holds a ?, # or space, which no path of a request does (/api/v1/auth)");
    }
    Ok(())
}

fn limits(config: &Config, findings: &mut Findings) {
    findings.note(at_least("max_connections", config.max_connections, 1));
    findings.note(at_least(
        "max_connections_per_user",
        config.max_connections_per_user,
        1,
    ));
    findings.note(at_least("max_handshakes", config.max_handshakes, 1));
    findings.note(at_least(
        "admin_max_connections",
        config.admin_max_connections,
        ADMIN_CONNECTIONS_MIN,
    ));
    findings.note(at_most(
        "admin_max_connections",
        config.admin_max_connections,
        ADMIN_CONNECTIONS_MAX,
    ));
    findings.note(at_least("drain_rate", config.drain_rate as usize, 1));
    findings.note(at_least(
        "max_backlog_bytes",
        config.max_backlog_bytes,
        BACKLOG_MIN_BYTES,
    ));
    findings.note(at_least(
        "max_publish_bytes",
        config.max_publish_bytes,
        PUBLISH_MIN_BYTES,
    ));
    findings.note(at_most(
        "max_publish_bytes",
        config.max_publish_bytes,
        PUBLISH_MAX_BYTES,
    ));
    findings.note(at_most("shards", config.shards, SHARDS_MAX));
    // The kernel reads SO_SNDBUF as a C int.
    findings.note(at_most(
        "send_buffer",
        config.send_buffer,
        i32::MAX as usize,
    ));
    findings.note(at_least("history.max_bytes", config.history.max_bytes, 1));
}

/// The directory is made when the server starts; its parent has to be there.
fn history(path: &Path) -> Checked {
    let refused =
        |problem: String| refuse("history.path", format!("`{}` {problem}", path.display()));
    if path.as_os_str().is_empty() || path.is_dir() {
        return Ok(());
    }
    if path.exists() {
        return refused("is no directory (name one, it is made where it is missing)".to_owned());
    }
    let parent = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    if parent.is_dir() {
        return Ok(());
    }
    refused(format!(
        "cannot be made: `{}` is no directory (mkdir -p it)",
        parent.display()
    ))
}

fn times(config: &Config, findings: &mut Findings) {
    const MILLISECOND: Duration = Duration::from_millis(1);
    const SECOND: Duration = Duration::from_secs(1);
    for (key, value, least) in [
        ("retry_min", config.retry_min, MILLISECOND),
        ("heartbeat", config.heartbeat, SECOND),
        ("handshake_timeout", config.handshake_timeout, MILLISECOND),
        ("stall_timeout", config.stall_timeout, MILLISECOND),
        ("history.max_age", config.history.max_age, MILLISECOND),
        ("auth.ticket_ttl", config.auth.ticket_ttl, SECOND),
        ("auth.max_token_life", config.auth.max_token_life, SECOND),
        ("login.token_ttl", config.login.token_ttl, SECOND),
    ] {
        if value < least {
            let (value, least) = (duration_text(value), duration_text(least));
            findings.note(refuse(key, format!("{value}, write at least {least}")));
        }
    }
    if config.login.token_ttl > config.auth.max_token_life {
        let (ttl, most) = (
            duration_text(config.login.token_ttl),
            duration_text(config.auth.max_token_life),
        );
        findings.note(refuse(
            "login.token_ttl",
            format!("{ttl} is longer than auth.max_token_life, {most}; lower it or raise that"),
        ));
    }
    if config.heartbeat > HEARTBEAT_MAX {
        let (value, most) = (
            duration_text(config.heartbeat),
            duration_text(HEARTBEAT_MAX),
        );
        findings.note(refuse(
            "heartbeat",
            format!("{value}, write at most {most}"),
        ));
    }
    if config.retry_min > config.retry_max {
        let (min, max) = (
            duration_text(config.retry_min),
            duration_text(config.retry_max),
        );
        findings.note(refuse(
            "retry_min",
            format!("{min} is longer than retry_max, {max}; lower it or raise retry_max"),
        ));
    }
}

fn tls(tls: &Tls, findings: &mut Findings) {
    if !tls.listen.is_empty() && tls.certificates.is_empty() {
        findings.note(refuse(
            "tls.certificates",
            "is empty, tls.listen needs one ([{ cert = \"fullchain.pem\", key = \"key.pem\" }])",
        ));
    }
    for (i, certificate) in tls.certificates.iter().enumerate() {
        findings.note(file(
            &format!("tls.certificates[{i}].cert"),
            &certificate.cert,
        ));
        findings.note(file(
            &format!("tls.certificates[{i}].key"),
            &certificate.key,
        ));
    }
}

fn auth(auth: &Auth, findings: &mut Findings) {
    if auth.algorithms.is_empty() {
        findings.note(refuse(
            "auth.algorithms",
            "is empty, nobody could sign in ([\"HS256\"])",
        ));
    }
    let bytes = auth.secret.len();
    let jwks_url = findings.note(auth.jwks_url());
    // Where the application is asked about sessions, there may be no tokens at all.
    let needs_keys = findings
        .note(auth.session_url())
        .is_some_and(|url| url.is_none());
    match symmetric(auth) {
        Some(algorithm) if bytes == 0 && needs_keys => {
            findings.note(refuse(
                "auth.secret",
                format!(
                    "is empty, {algorithm:?} needs at least {SECRET_MIN_BYTES} bytes (openssl rand -hex 32; or auth.secret_file, or another auth.algorithms, or --dev)"
                ),
            ));
        }
        Some(algorithm) if (1..SECRET_MIN_BYTES).contains(&bytes) => {
            findings.note(refuse(
                "auth.secret",
                format!(
                    "{bytes} bytes, {algorithm:?} needs at least {SECRET_MIN_BYTES} (openssl rand -hex 32)"
                ),
            ));
        }
        None if needs_keys
            && !auth.algorithms.is_empty()
            && auth.public_keys.is_empty()
            && auth.jwks.is_empty() =>
        {
            findings.note(refuse(
                "auth.public_keys",
                format!(
                    "is empty, {:?} needs a PEM file here or a key set in auth.jwks",
                    auth.algorithms
                ),
            ));
        }
        _ => {}
    }
    for (i, path) in auth.public_keys.iter().enumerate() {
        findings.note(file(&format!("auth.public_keys[{i}]"), path));
    }
    if !auth.jwks.is_empty() && jwks_url == Some(None) {
        findings.note(file("auth.jwks", Path::new(&auth.jwks)));
    }
    if auth.user_claim.is_empty() {
        findings.note(refuse(
            "auth.user_claim",
            "is empty, name the claim (user_id)",
        ));
    }
    findings.note(cookie_name(
        "auth.jwt_cookie",
        &auth.jwt_cookie,
        "access_token",
    ));
    for (i, name) in auth.session_cookie.iter().enumerate() {
        findings.note(cookie_name(
            &format!("auth.session_cookie[{i}]"),
            name,
            "sessionid",
        ));
    }
}

fn cookie_name(key: &str, name: &str, example: &str) -> Checked {
    if name.is_empty() || !name.bytes().all(is_token_byte) {
        return refuse(
            key,
            format!("`{name}` is no cookie name: letters, digits, - and _ ({example})"),
        );
    }
    Ok(())
}

/// `tchar` of RFC 9110 §5.6.2, what RFC 6265 lets a cookie's name be made of.
fn is_token_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

fn cors(cors: &Cors, findings: &mut Findings) {
    for (i, origin) in cors.origins.iter().enumerate() {
        let key = format!("cors.origins[{i}]");
        findings.note(cors_origin(&key, origin));
        if cors.credentials && origin == "*" {
            findings.note(refuse(
                "cors.credentials",
                "true with cors.origins = [\"*\"] would let every page on the web read a visitor's events (list the origins of your pages, or set cors.credentials = false)",
            ));
        }
    }
    for (i, header) in cors.headers.iter().enumerate() {
        if header.is_empty() || header == "*" || !header.bytes().all(is_token_byte) {
            findings.note(refuse(
                format!("cors.headers[{i}]"),
                format!(
                    "`{header}` is no header's name (X-Tenant; `*` does not cover Authorization, name each)"
                ),
            ));
        }
    }
}

/// Browsers send `scheme://host[:port]`, lower case, and origins are compared byte for byte: what
/// could never be equal is refused.
fn cors_origin(key: &str, origin: &str) -> Checked {
    let refused = |what: &str| refuse(key, format!("`{origin}` {what} (https://app.example or *)"));
    if origin == "*" {
        return Ok(());
    }
    let Some((scheme, host)) = origin.split_once("://") else {
        return refused("is no origin, scheme://host[:port]");
    };
    let scheme_ok = scheme.starts_with(|c: char| c.is_ascii_alphabetic())
        && scheme
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"+-.".contains(&b));
    if !scheme_ok || host.is_empty() {
        return refused("is no origin, scheme://host[:port]");
    }
    if host.contains(['/', '?', '#']) {
        return refused("has a path, an origin ends with its host or port");
    }
    if host.contains(|c: char| "@*\\".contains(c) || !c.is_ascii_graphic()) {
        return refused("has a host that no browser sends");
    }
    if origin.contains(|c: char| c.is_ascii_uppercase()) {
        return refused("has upper case letters, browsers send lower case");
    }
    // The colons of an IPv6 address stand in brackets.
    let after_address = host.rsplit_once(']').map_or(host, |(_, rest)| rest);
    if let Some((name, port)) = after_address.rsplit_once(':') {
        let bracketed = host.len() > after_address.len();
        let digits = port.bytes().all(|b| b.is_ascii_digit());
        if !digits || port.parse::<u16>().is_err() || (name.is_empty() && !bracketed) {
            return refused("has no host or a port that is none");
        }
        if matches!((scheme, port), ("http", "80") | ("https", "443")) {
            return refused("names its scheme's own port, which browsers leave out");
        }
    }
    Ok(())
}

fn api_keys(config: &Config, findings: &mut Findings) {
    let raw = config.admin.api_key.as_str();
    let printable = |byte: u8| byte == b' ' || byte.is_ascii_graphic();
    if !raw.bytes().all(printable) {
        findings.note(refuse(
            "admin.api_key",
            "holds other characters than printable ASCII, which no header carries (`idlewild token api-key` makes a key)",
        ));
    } else if (1..API_KEY_MIN_BYTES).contains(&raw.len()) {
        findings.note(refuse(
            "admin.api_key",
            format!(
                "{} bytes long, at least {API_KEY_MIN_BYTES} are needed (`idlewild token api-key` makes a key)",
                raw.len()
            ),
        ));
    }
    let mut names = BTreeSet::new();
    for (i, key) in config.admin.api_keys.iter().enumerate() {
        if key.name.trim().is_empty() {
            findings.note(refuse(
                format!("admin.api_keys[{i}].name"),
                "is empty, name who uses the key (it stands in the log)",
            ));
        } else if !names.insert(&key.name) {
            findings.note(refuse(
                format!("admin.api_keys[{i}].name"),
                format!("`{}` names two keys, rename one", key.name),
            ));
        }
        let digest = key.hash.strip_prefix("sha256:").unwrap_or_default();
        if digest.len() != SHA256_HEX_DIGITS || !digest.bytes().all(|b| b.is_ascii_hexdigit()) {
            findings.note(refuse(
                format!("admin.api_keys[{i}].hash"),
                "is not sha256: and 64 hex digits (`idlewild token api-key` prints a key with its hash)",
            ));
        }
    }
}

fn file(key: &str, path: &Path) -> Checked {
    let found = path.metadata();
    let problem = match found {
        Ok(found) if found.is_file() => return Ok(()),
        Ok(_) => "is no file".to_owned(),
        Err(error) => format!("cannot be read: {error}"),
    };
    refuse(
        key,
        format!("`{}` {problem} (name a readable file)", path.display()),
    )
}

fn at_least(key: &str, value: usize, least: usize) -> Checked {
    if value < least {
        return refuse(key, format!("{value}, write at least {least}"));
    }
    Ok(())
}

fn at_most(key: &str, value: usize, most: usize) -> Checked {
    if value > most {
        return refuse(key, format!("{value}, write at most {most}"));
    }
    Ok(())
}

fn refuse(key: impl Into<String>, problem: impl AsRef<str>) -> Checked {
    Err(ConfigError::key(key, problem))
}

/// The first algorithm that signs with the shared secret.
fn symmetric(auth: &Auth) -> Option<&Algorithm> {
    auth.algorithms.iter().find(|algorithm| {
        matches!(
            algorithm,
            Algorithm::HS256 | Algorithm::HS384 | Algorithm::HS512
        )
    })
}

#[cfg(test)]
mod tests;
