//! Rules about several keys. A rule is skipped if one of its keys has an error, since its violation may
//! only be a consequence.

use std::collections::BTreeSet;
use std::time::Duration;

use super::auth::Auth;
use super::endpoint::Endpoint;
use super::engine::EngineKind;
use super::engine_url::Servers;
use super::findings::Findings;
use super::origin::AllowedOrigin;
use super::root::Config;
use super::units::duration_text;

/// RFC 7518 §3.2 requires the size of the hash; HS256's is the smallest.
const SECRET_MIN_BYTES: usize = 32;

/// Reports each rule that `config` breaks.
pub(super) fn check(config: &Config, findings: &mut Findings) {
    listeners(config, findings);
    certificates(config, findings);
    retry(config, findings);
    secret(&config.auth, findings);
    public_keys(&config.auth, findings);
    cors(config, findings);
    api_keys(config, findings);
    login(config, findings);
    engine(config, findings);
}

fn listeners(config: &Config, findings: &mut Findings) {
    if !findings.are_sound(&["listen", "admin_listen", "tls.listen"]) {
        return;
    }
    // A TLS listener alone is enough.
    if config.listen.is_empty() && config.tls.listen.is_empty() {
        findings.reject("listen", "is empty, at least one address is needed");
    }
    let lists = [
        ("listen", &config.listen),
        ("admin_listen", &config.admin_listen),
        ("tls.listen", &config.tls.listen),
    ];
    let mut seen = BTreeSet::new();
    for (key, endpoints) in lists {
        for (i, endpoint) in endpoints.iter().enumerate() {
            // The kernel chooses a different port for each port 0.
            let chosen_by_kernel =
                matches!(endpoint, Endpoint::Tcp(address) if address.port() == 0);
            if !chosen_by_kernel && !seen.insert(endpoint.to_string()) {
                let problem = format!(
                    "`{endpoint}` is listed twice in listen, admin_listen and tls.listen, remove one"
                );
                findings.reject(&format!("{key}[{i}]"), problem);
            }
        }
    }
}

fn certificates(config: &Config, findings: &mut Findings) {
    if findings.are_sound(&["tls.listen", "tls.certificates"])
        && !config.tls.listen.is_empty()
        && config.tls.certificates.is_empty()
    {
        let problem =
            "is empty, tls.listen needs one ([{ cert = \"fullchain.pem\", key = \"key.pem\" }])";
        findings.reject("tls.certificates", problem);
    }
}

fn retry(config: &Config, findings: &mut Findings) {
    if findings.are_sound(&["retry_min", "retry_max"]) && config.retry_min > config.retry_max {
        let (min, max) = in_words(config.retry_min, config.retry_max);
        let problem = format!("{min} is longer than retry_max, {max}; lower it or raise retry_max");
        findings.reject("retry_min", problem);
    }
}

/// A shared secret is required if tokens may be signed with one.
fn secret(auth: &Auth, findings: &mut Findings) {
    let keys = ["auth.algorithms", "auth.secret", "auth.secret_file"];
    let mut algorithms = auth.algorithms.iter();
    let Some(algorithm) = algorithms.find(|algorithm| algorithm.is_symmetric()) else {
        return;
    };
    if !findings.are_sound(&keys) {
        return;
    }
    let bytes = auth.secret.as_ref().map(super::secret::Secret::len);
    match bytes {
        Some(bytes) if bytes < SECRET_MIN_BYTES => {
            let problem = format!(
                "{bytes} bytes, {algorithm} needs at least {SECRET_MIN_BYTES} (openssl rand -hex 32)"
            );
            findings.reject("auth.secret", problem);
        }
        None if needs_keys(auth, findings) => {
            let problem = format!(
                "is empty, {algorithm} needs at least {SECRET_MIN_BYTES} bytes (openssl rand -hex 32; or auth.secret_file, or another auth.algorithms, or --dev)"
            );
            findings.reject("auth.secret", problem);
        }
        _ => {}
    }
}

/// Public keys are required if tokens can be signed with nothing else.
fn public_keys(auth: &Auth, findings: &mut Findings) {
    if findings.are_sound(&["auth.algorithms", "auth.public_keys", "auth.jwks"])
        && auth.algorithms.iter().all(|it| !it.is_symmetric())
        && auth.public_keys.is_empty()
        && auth.jwks.is_none()
        && needs_keys(auth, findings)
    {
        let problem = format!(
            "is empty, {:?} needs a PEM file here or a key set in auth.jwks",
            auth.algorithms
        );
        findings.reject("auth.public_keys", problem);
    }
}

/// Keys are not required if the application is asked about sessions, since there may be no tokens.
fn needs_keys(auth: &Auth, findings: &Findings) -> bool {
    findings.are_sound(&["auth.session_auth_url"]) && auth.session_auth_url.is_none()
}

fn cors(config: &Config, findings: &mut Findings) {
    // A wildcard counts, even if other origins have errors.
    if findings.are_sound(&["cors.credentials"])
        && findings.is_read("cors.origins")
        && config.cors.credentials
        && config.cors.origins.contains(&AllowedOrigin::Any)
    {
        let problem = "true with cors.origins = [\"*\"] would let every page on the web read a visitor's events (list the origins of your pages, or set cors.credentials = false)";
        findings.reject("cors.credentials", problem);
    }
}

fn api_keys(config: &Config, findings: &mut Findings) {
    if !findings.are_sound(&["admin.api_keys"]) {
        return;
    }
    let mut names = BTreeSet::new();
    for (i, key) in config.admin.api_keys.iter().enumerate() {
        if !names.insert(&key.name) {
            let problem = format!("`{}` names two keys, rename one", key.name);
            findings.reject(&format!("admin.api_keys[{i}].name"), problem);
        }
    }
}

fn login(config: &Config, findings: &mut Findings) {
    let (ttl, most) = (config.login.token_ttl, config.auth.max_token_life);
    if findings.are_sound(&["login.token_ttl", "auth.max_token_life"]) && ttl > most {
        let (ttl, most) = in_words(ttl, most);
        let problem =
            format!("{ttl} is longer than auth.max_token_life, {most}; lower it or raise that");
        findings.reject("login.token_ttl", problem);
    }
    let keys = [
        "login.users_file",
        "auth.algorithms",
        "auth.secret",
        "auth.secret_file",
    ];
    if config.login.users_file.is_none() || !findings.are_sound(&keys) {
        return;
    }
    let auth = &config.auth;
    let way_out = if auth.algorithms.iter().all(|it| !it.is_symmetric()) {
        "add HS256 to auth.algorithms"
    } else if auth.secret.is_none() {
        "set auth.secret"
    } else {
        return;
    };
    let problem = "is set, but the login signs with a shared secret";
    let problem = format!("{problem} ({way_out}, or leave the login to your application)");
    findings.reject("login.users_file", problem);
}

/// The keys of an engine that is not used are ignored.
fn engine(config: &Config, findings: &mut Findings) {
    let engine = &config.engine;
    if !findings.are_sound(&["engine.kind"]) || engine.kind != EngineKind::Redis {
        return;
    }
    if findings.are_sound(&["history.path"])
        && let Some(path) = &config.history.path
    {
        let problem = format!(
            "`{}` beside engine.kind = \"redis\", which stores the events in Redis; remove one of the two",
            path.display()
        );
        findings.reject("history.path", problem);
    }
    if !findings.are_sound(&["engine.url"]) {
        return;
    }
    let is_encrypted = matches!(
        engine.url.servers(),
        Servers::Tcp { tls: true, .. } | Servers::Cluster { tls: true, .. }
    );
    if engine.ca.is_some() && !is_encrypted && findings.are_sound(&["engine.ca"]) {
        let problem = "is set, but engine.url is not encrypted; write rediss:// or rediss+cluster:// there, or remove engine.ca";
        findings.reject("engine.ca", problem);
    }
    if let Some(file) = &engine.password_file
        && engine.url.password().is_some()
    {
        let problem = format!("`{file}` beside a password in engine.url, keep one of the two");
        findings.reject("engine.password_file", problem);
    }
    // Without a password, the user would not be sent, and the server would see its default user.
    if engine.url.user().is_some()
        && engine.password().is_none()
        && findings.are_sound(&["engine.password_file"])
    {
        let problem = "names a user without a password (write it into engine.password_file)";
        findings.reject("engine.url", problem);
    }
}

fn in_words(one: Duration, other: Duration) -> (String, String) {
    (duration_text(one), duration_text(other))
}
