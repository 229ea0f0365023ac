//! What several keys must agree on. A rule is not applied where one of its keys has an error: what
//! follows from that is not reported.

use std::collections::BTreeSet;
use std::time::Duration;

use super::auth::Auth;
use super::endpoint::Endpoint;
use super::findings::Findings;
use super::origin::AllowedOrigin;
use super::root::Config;
use super::units::duration_text;

/// RFC 7518 §3.2: an HMAC key is at least as long as the hash's output; HS256's is the shortest.
const SECRET_MIN_BYTES: usize = 32;

/// Notes each rule that `config` breaks.
pub(super) fn check(config: &Config, findings: &mut Findings) {
    listeners(config, findings);
    certificates(config, findings);
    retry(config, findings);
    secret(&config.auth, findings);
    public_keys(&config.auth, findings);
    cors(config, findings);
    api_keys(config, findings);
    login(config, findings);
}

fn listeners(config: &Config, findings: &mut Findings) {
    if !findings.are_sound(&["listen", "admin_listen", "tls.listen"]) {
        return;
    }
    // Whoever has TLS here needs no other listener.
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
            // The kernel gives each port 0 a port of its own.
            let chosen_by_kernel =
                matches!(endpoint, Endpoint::Tcp(address) if address.port() == 0);
            if !chosen_by_kernel && !seen.insert(endpoint.to_string()) {
                let problem = format!(
                    "`{endpoint}` stands twice in listen, admin_listen and tls.listen, remove one"
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

/// The shared secret, where tokens may be signed with one.
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

/// Public keys, where tokens may be signed with nothing else.
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

/// Where the application is asked about sessions, there may be no tokens at all.
fn needs_keys(auth: &Auth, findings: &Findings) -> bool {
    findings.are_sound(&["auth.session_auth_url"]) && auth.session_auth_url.is_none()
}

fn cors(config: &Config, findings: &mut Findings) {
    // A wildcard that was read counts, whatever is wrong with other origins.
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

fn in_words(one: Duration, other: Duration) -> (String, String) {
    (duration_text(one), duration_text(other))
}
