//! Key sets from a URL: fetching, refreshing, rotation and outages.

use std::path::{Path, PathBuf};
use std::time::Duration;

use idlewild::auth::keys::remote::{MAX_WAIT, REFRESH};
use idlewild::config::Algorithm::{ES256, ES384, HS256};
use idlewild::config::{Config, InputFile};
use jsonwebtoken::jwk::Jwk;
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header};
use rustix::process::Signal;
use serde_json::{Value, json};

use crate::support::backend::Backend;
use crate::support::http::Reply;
use crate::support::process::{Process, idlewild};
use crate::support::{
    API_KEY, Answer, BASE, Client, NOTIFICATIONS, SECRET, START_UNIX_MS, Stream, TestServer,
    eventually, request,
};

const UNAVAILABLE: &str = "event: error\ndata: {\"error\": \"Authentication unavailable\"}\n\n";

/// A key of tests/keys: its file name, its algorithm, and its name in sets and tokens.
#[derive(Clone, Copy)]
struct Key {
    file: &'static str,
    algorithm: Algorithm,
    kid: &'static str,
}

const OLD: Key = Key {
    file: "p256",
    algorithm: Algorithm::ES256,
    kid: "old",
};
const NEW: Key = Key {
    file: "p384",
    algorithm: Algorithm::ES384,
    kid: "new",
};

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/keys")
        .join(name)
}

impl Key {
    fn jwk(self) -> Value {
        let pem = std::fs::read(fixture(&format!("{}.pem", self.file))).unwrap();
        let key = DecodingKey::from_ec_pem(&pem).unwrap();
        let mut jwk = serde_json::to_value(Jwk::from_decoding_key(&key, None).unwrap()).unwrap();
        jwk["kid"] = self.kid.into();
        jwk
    }

    /// A token of user 42, valid for an hour from `now_s`.
    fn token(self, now_s: u64) -> String {
        self.token_of("42", now_s)
    }

    fn token_of(self, user: &str, now_s: u64) -> String {
        let pem = std::fs::read(fixture(&format!("{}.key.pem", self.file))).unwrap();
        let header = Header {
            kid: Some(self.kid.to_owned()),
            ..Header::new(self.algorithm)
        };
        let claims = json!({"user_id": user, "exp": now_s + 3_600});
        jsonwebtoken::encode(&header, &claims, &EncodingKey::from_ec_pem(&pem).unwrap()).unwrap()
    }
}

/// A token that is signed with a shared secret, with a key name that no set contains.
fn signed_with(secret: &str) -> String {
    let header = Header {
        kid: Some("unknown".to_owned()),
        ..Header::new(Algorithm::HS256)
    };
    let claims = json!({"user_id": "1", "exp": START_UNIX_MS / 1_000 + 3_600});
    jsonwebtoken::encode(
        &header,
        &claims,
        &EncodingKey::from_secret(secret.as_bytes()),
    )
    .unwrap()
}

fn set(keys: &[Key]) -> Reply {
    set_of(&keys.iter().map(|key| key.jwk()).collect::<Vec<_>>())
}

fn set_of(keys: &[Value]) -> Reply {
    Reply::body(200, &json!({ "keys": keys }).to_string())
}

fn a_secret() -> Value {
    json!({"kty": "oct", "kid": "s", "k": "c".repeat(43)})
}

/// Entries that cannot be used to check tokens.
fn unusable() -> Vec<Value> {
    let changed = |field: &str, value: Value| {
        let mut jwk = OLD.jwk();
        jwk[field] = value;
        jwk
    };
    let x = OLD.jwk()["x"].as_str().unwrap().to_owned();
    let rsa = std::fs::read(fixture("rsa1024.pem")).unwrap();
    let rsa = DecodingKey::from_rsa_pem(&rsa).unwrap();
    vec![
        Value::Null,
        json!("key"),
        serde_json::to_value(Jwk::from_decoding_key(&rsa, None).unwrap()).unwrap(),
        changed("kid", json!(7)),
        changed("x", json!(x[4..])),
        changed("x", json!(format!("{x}="))),
        changed("crv", json!("secp256k1")),
        changed("use", json!("enc")),
        json!({"kty": "AKP", "alg": "ML-DSA-44", "pub": "AA"}),
        a_secret(),
    ]
}

fn configure(config: &mut Config, backend: &Backend) {
    config.auth.algorithms = vec![HS256, ES256, ES384];
    config.auth.jwks = Some(backend.url().parse().unwrap());
}

/// A server that uses `backend` and has fetched its keys.
fn server(backend: &Backend) -> TestServer {
    let server = TestServer::with(|config| configure(config, backend));
    eventually("it is ready", || readiness(&server).status == 200);
    server
}

fn readiness(server: &TestServer) -> Answer {
    request(server.admin, "GET", "/readyz", &[], "")
}

fn path(token: &str) -> String {
    format!("{NOTIFICATIONS}?token={token}")
}

fn open(server: &TestServer, key: Key) -> Stream {
    server.open(&path(&key.token(server.clock.unix_ms() / 1_000)))
}

#[test]
fn tokens_are_checked_with_the_keys_of_a_url() {
    let backend = Backend::start(set(&[OLD]));
    let server = server(&backend);
    assert_eq!(open(&server, OLD).status, 200);
    // The configured secret still works, whatever key name a token has.
    assert_eq!(server.open(&path(&signed_with(SECRET))).status, 200);
    let forged = Key { kid: "old", ..NEW };
    assert_eq!(open(&server, forged).status, 401);
    let question = &backend.questions()[0];
    assert_eq!(question.request_line, "GET /asked?by=test HTTP/1.1");
    let mut names: Vec<_> = question.fields.keys().map(String::as_str).collect();
    names.sort_unstable();
    assert_eq!(names, ["accept", "host", "user-agent"]);
}

#[test]
fn unusable_keys_are_counted_and_the_others_still_work() {
    let mut keys = unusable();
    let count = f64::from(u32::try_from(keys.len()).unwrap());
    keys.push(OLD.jwk());
    let backend = Backend::start(set_of(&keys));
    let server = server(&backend);
    assert_eq!(open(&server, OLD).status, 200);
    server.advance(Duration::from_secs(1));
    server.wait_for_metric("idlewild_jwks_unusable_keys", count);
    // A rotation to a new key next to an invalid one.
    backend.reply(set_of(&[Value::Null, NEW.jwk()]));
    assert_eq!(open(&server, NEW).status, 200);
    server.advance(Duration::from_secs(1));
    server.wait_for_metric("idlewild_jwks_unusable_keys", 1.0);
    backend.reply(set(&[NEW]));
    server.advance(REFRESH);
    backend.wait_until_asked(3);
    eventually("all are good", || {
        server.advance(Duration::from_secs(1));
        server.metric("idlewild_jwks_unusable_keys") == Some(0.0)
    });
}

#[test]
fn keys_with_the_same_name_are_distinguished_by_algorithm() {
    let same = Key { kid: "new", ..OLD };
    let backend = Backend::start(set(&[NEW, same]));
    let server = server(&backend);
    assert_eq!(open(&server, NEW).status, 200);
    assert_eq!(open(&server, same).status, 200);
}

#[test]
fn a_set_without_a_usable_key_is_not_ready_and_the_reasons_are_reported() {
    let backend = Backend::start(set_of(&unusable()));
    let server = TestServer::with(|config| configure(config, &backend));
    eventually("the set has come", || {
        let ready = readiness(&server);
        assert_eq!(ready.status, 503);
        let reason = ready.json()["reason"].as_str().unwrap().to_owned();
        reason.contains(
            "no keys yet: no key in it serves one of auth.algorithms: keys[0] is not an object",
        ) && reason.contains("keys[2] is an RSA key of fewer than 2048")
    });
    assert_eq!(open(&server, OLD).status, 503);
    server.advance(Duration::from_secs(1));
    let count = f64::from(u32::try_from(unusable().len()).unwrap());
    server.wait_for_metric("idlewild_jwks_unusable_keys", count);
    backend.reply(set(&[OLD]));
    eventually("it is ready", || {
        server.advance(Duration::from_millis(500));
        readiness(&server).status == 200
    });
    assert_eq!(open(&server, OLD).status, 200);
}

#[test]
fn a_file_with_an_unusable_key_is_accepted_and_one_without_a_usable_key_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("jwks.json");
    let serve = |keys: &[Value]| {
        std::fs::write(&file, json!({ "keys": keys }).to_string()).unwrap();
        let file = file.to_str().unwrap();
        format!(
            "listen = [\"127.0.0.1:0\"]\nadmin_listen = [\"127.0.0.1:0\"]\n\
             [auth]\nalgorithms = [\"ES256\"]\njwks = \"{file}\"\n\
             [admin]\napi_key = \"{API_KEY}\"\n"
        )
    };
    let process = Process::serve_config(&serve(&[Value::Null, OLD.jwk()]));
    assert_eq!(status_in(&process, OLD), 200);
    let page = request(process.admin(), "GET", "/metrics", &[], "").body;
    assert!(page.contains("idlewild_jwks_unusable_keys 1\n"), "{page}");
    let log = process.log();
    let warning = log
        .lines()
        .find(|line| line.contains("keys that cannot be used"));
    let warning = warning.expect("a warning");
    assert!(
        warning.contains("WARN") && warning.contains("keys[0] is not an object"),
        "{warning}"
    );
    let config = directory.path().join("idlewild.toml");
    std::fs::write(&config, serve(&unusable())).unwrap();
    let ended = idlewild(&["serve", "--config", config.to_str().unwrap()], &[], "");
    assert_eq!(ended.code, Some(2), "{}", ended.stderr);
    assert!(
        ended
            .stderr
            .contains("no key in it serves one of auth.algorithms: keys[0] is not an object"),
        "{}",
        ended.stderr
    );
}

#[test]
fn signatures_are_checked_where_every_shard_has_its_own_descriptors() {
    let backend = Backend::start(set(&[OLD]));
    let more = "fd_tables = \"per-shard\"\nshards = 2\nmax_connections = 200\n\
                max_connections_per_user = 100\n";
    let process = Process::serve_config(&format!("{more}{}", config_of(&backend)));
    eventually("the keys are there", || status_in(&process, OLD) == 200);
    for _ in 0..30 {
        assert_eq!(status_in(&process, OLD), 200);
        assert_eq!(status_in(&process, Key { kid: "old", ..NEW }), 401);
    }
}

#[test]
fn tokens_of_public_keys_open_streams_and_get_tickets() {
    let backend = Backend::start(set(&[OLD]));
    let server = server(&backend);
    let trade = |token: &str| {
        let authorization = format!("Bearer {token}");
        let headers = [("Authorization", authorization.as_str())];
        request(
            server.public,
            "POST",
            &format!("{BASE}/sse/ticket/"),
            &headers,
            "",
        )
    };
    let answer = trade(&OLD.token(server.clock.unix_ms() / 1_000));
    assert_eq!(answer.status, 201, "{}", answer.body);
    let ticket = answer.json()["ticket"].as_str().unwrap().to_owned();
    assert_eq!(
        server
            .open(&format!("{NOTIFICATIONS}?ticket={ticket}"))
            .status,
        200
    );
    let forged = Key { kid: "old", ..NEW };
    assert_eq!(
        trade(&forged.token(server.clock.unix_ms() / 1_000)).status,
        401
    );
}

#[test]
fn a_key_of_a_file_works_whatever_its_tokens_call_it() {
    let backend = Backend::start(set(&[NEW]));
    let server = TestServer::with(|config| {
        configure(config, &backend);
        config.auth.public_keys = vec![InputFile::read(fixture("p256.pem")).unwrap()];
    });
    eventually("it is ready", || readiness(&server).status == 200);
    assert_eq!(open(&server, OLD).status, 200);
    assert_eq!(open(&server, NEW).status, 200);
    let forged = Key { kid: "old", ..NEW };
    assert_eq!(open(&server, forged).status, 401);
}

#[test]
fn a_url_that_is_down_at_start_is_retried() {
    let backend = Backend::start(Reply::Last(Vec::new()));
    let server = TestServer::with(|config| configure(config, &backend));
    backend.wait_until_asked(1);
    let ready = readiness(&server);
    assert_eq!(ready.status, 503);
    let reason = ready.json()["reason"].as_str().unwrap().to_owned();
    assert!(
        reason.starts_with("auth.jwks: http://127.0.0.1:"),
        "{reason}"
    );
    assert!(!reason.contains("by=test"), "no query: {reason}");
    let token = OLD.token(server.clock.unix_ms() / 1_000);
    let answer = server.get(&path(&token));
    assert_eq!((answer.status, answer.body.as_str()), (503, UNAVAILABLE));
    assert_eq!(answer.header("retry-after"), Some("6"));
    let authorization = format!("Bearer {token}");
    let headers = [("Authorization", authorization.as_str())];
    let ticket = request(
        server.public,
        "POST",
        &format!("{BASE}/sse/ticket/"),
        &headers,
        "",
    );
    assert_eq!(ticket.status, 503);
    assert_eq!(
        ticket.json(),
        json!({"error": "Authentication unavailable"})
    );
    assert_eq!(ticket.header("retry-after"), Some("6"));
    let refused = server.metric("idlewild_refused_total{reason=\"auth\"}");
    assert_eq!(refused, Some(2.0));
    // Requests that need no key of the URL work as usual.
    assert_eq!(server.get(&path("nonsense")).status, 401);
    let other_secret = "another secret of thirty-two bytes or more";
    assert_eq!(server.get(&path(&signed_with(other_secret))).status, 401);
    assert_eq!(server.open(&path(&signed_with(SECRET))).status, 200);
    backend.reply(set(&[OLD]));
    eventually("it is ready", || {
        server.advance(Duration::from_millis(100));
        readiness(&server).status == 200
    });
    assert_eq!(open(&server, OLD).status, 200);
}

#[test]
fn a_token_of_a_key_that_was_just_published_is_accepted() {
    let backend = Backend::start(set(&[OLD]));
    let server = server(&backend);
    backend.reply(set(&[OLD, NEW]));
    assert_eq!(open(&server, NEW).status, 200);
    assert_eq!(backend.asked(), 2);
    assert_eq!(open(&server, OLD).status, 200);
}

#[test]
fn unknown_keys_cause_fetches_at_a_limited_rate() {
    let backend = Backend::start(set(&[OLD]));
    let server = server(&backend);
    for _ in 0..5 {
        assert_eq!(open(&server, NEW).status, 401);
    }
    assert_eq!(backend.asked(), 2);
    server.advance(Duration::from_millis(9_999));
    assert_eq!(open(&server, NEW).status, 401);
    assert_eq!(backend.asked(), 2);
    server.advance(Duration::from_millis(1));
    assert_eq!(open(&server, NEW).status, 401);
    assert_eq!(backend.asked(), 3);
}

#[test]
fn tokens_with_an_unknown_key_share_one_fetch() {
    let backend = Backend::start(set(&[OLD]));
    let server = server(&backend);
    backend.reply(set(&[NEW]));
    backend.hold();
    let (address, now_s) = (server.public, server.clock.unix_ms() / 1_000);
    std::thread::scope(|scope| {
        let ask = |user: usize| {
            let token = NEW.token_of(&user.to_string(), now_s);
            Client::connect(address).open(&path(&token)).status
        };
        let waiting: Vec<_> = (0..20).map(|user| scope.spawn(move || ask(user))).collect();
        server.wait_for_metric("idlewild_handshakes_in_flight", 20.0);
        // A token with a known key does not wait.
        assert_eq!(open(&server, OLD).status, 200);
        backend.release();
        for one in waiting {
            assert_eq!(one.join().unwrap(), 200);
        }
    });
    assert_eq!(backend.asked(), 2);
}

#[test]
fn a_url_that_does_not_answer_delays_a_token_by_two_seconds() {
    let backend = Backend::start(set(&[OLD]));
    let server = server(&backend);
    backend.reply(Reply::Nothing);
    let mut waiting = server.connect();
    let token = NEW.token(server.clock.unix_ms() / 1_000);
    waiting.get(&path(&token), "");
    backend.wait_until_asked(2);
    assert_eq!(open(&server, OLD).status, 200);
    server.advance(MAX_WAIT);
    let mut answer = waiting.stream();
    assert_eq!((answer.status, answer.body().as_str()), (503, UNAVAILABLE));
    // The fetch is given up a little later. The key is still unknown, and no request waits for it.
    server.advance(Duration::from_secs(3));
    assert_eq!(open(&server, NEW).status, 503);
}

#[test]
fn a_response_that_is_not_a_key_set_changes_nothing() {
    let elsewhere = Backend::start(set(&[NEW]));
    let location = elsewhere.url();
    let redirect =
        format!("HTTP/1.1 302 Found\r\nLocation: {location}\r\nContent-Length: 0\r\n\r\n");
    let short = b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{\"keys\": [".to_vec();
    let chunks = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n{\"key\r\n".to_vec();
    let long = format!(
        "{{\"keys\": [{}], \"x\": \"{}\"}}",
        NEW.jwk(),
        "x".repeat(256 * 1024)
    );
    let bad = [
        ("a status", Reply::status(500)),
        ("no content", Reply::status(204)),
        ("a redirect", Reply::Bytes(redirect.into_bytes())),
        ("a short body", Reply::Last(short)),
        ("a short chunk", Reply::Last(chunks)),
        ("nothing", Reply::Last(Vec::new())),
        ("no HTTP", Reply::Last(b"SSH-2.0-OpenSSH_9.2\r\n".to_vec())),
        ("a long body", Reply::body(200, &long)),
        ("no JSON", Reply::body(200, "<html>")),
        ("another JSON", Reply::body(200, "{\"error\": 1}")),
        ("no keys", set_of(&[])),
        (
            "keys of no use",
            set_of(&[json!({"kty": "AKP", "alg": "ML-DSA-44"})]),
        ),
        ("too many", set_of(&vec![NEW.jwk(); 65])),
        ("a secret", set_of(&[a_secret()])),
    ];
    for (what, reply) in bad {
        let backend = Backend::start(set(&[OLD]));
        let server = server(&backend);
        backend.reply(reply);
        assert_eq!(open(&server, NEW).status, 503, "{what}");
        assert_eq!(backend.asked(), 2, "{what}");
        assert_eq!(open(&server, OLD).status, 200, "{what}");
        assert_eq!(readiness(&server).status, 200, "{what}");
    }
    assert_eq!(elsewhere.asked(), 0, "a redirect is not followed");
}

#[test]
fn a_failed_refresh_keeps_the_keys_and_is_retried() {
    let backend = Backend::start(set(&[OLD]));
    let server = server(&backend);
    backend.reply(Reply::status(500));
    server.advance(REFRESH);
    backend.wait_until_asked(2);
    assert_eq!(open(&server, OLD).status, 200);
    backend.reply(set(&[NEW]));
    eventually("the new keys are there", || {
        server.advance(Duration::from_millis(100));
        open(&server, NEW).status == 200
    });
    assert_eq!(open(&server, OLD).status, 401);
}

#[test]
fn a_withdrawn_key_opens_no_new_streams_and_closes_none() {
    let backend = Backend::start(set(&[OLD]));
    let server = server(&backend);
    let mut stream = open(&server, OLD);
    stream.begin();
    backend.reply(set(&[NEW]));
    server.advance(REFRESH);
    backend.wait_until_asked(2);
    eventually("the key is withdrawn", || open(&server, OLD).status == 401);
    assert_eq!(open(&server, NEW).status, 200);
    let id = server.publish(&json!({"to": {"user": "42"}, "data": 1}));
    let event = format!("id: {id}\nevent: message\ndata: 1\n\n");
    eventually("the stream lives", || stream.next().unwrap() == event);
}

/// The configuration of a process that uses the keys of this backend.
fn config_of(backend: &Backend) -> String {
    format!(
        "listen = [\"127.0.0.1:0\"]\nadmin_listen = [\"127.0.0.1:0\"]\n\
         [auth]\nalgorithms = [\"ES256\", \"ES384\"]\njwks = \"{}\"\n\
         [admin]\napi_key = \"{API_KEY}\"\n",
        backend.url()
    )
}

fn status_in(process: &Process, key: Key) -> u16 {
    let now = std::time::UNIX_EPOCH.elapsed().unwrap();
    Client::connect(process.public())
        .open(&path(&key.token(now.as_secs())))
        .status
}

#[test]
fn a_reload_keeps_the_keys_of_an_unchanged_url() {
    let backend = Backend::start(set(&[OLD]));
    let process = Process::serve_config(&config_of(&backend));
    eventually("the keys are there", || status_in(&process, OLD) == 200);
    backend.reply(Reply::Nothing);
    process.signal(Signal::HUP);
    // A reload starts a fetch at once, and no request waits for it.
    backend.wait_until_asked(2);
    assert_eq!(status_in(&process, OLD), 200);
}

#[test]
fn a_reload_takes_the_keys_of_another_url() {
    let (old, new) = (Backend::start(set(&[OLD])), Backend::start(set(&[NEW])));
    let process = Process::serve_config(&config_of(&old));
    eventually("the keys are there", || status_in(&process, OLD) == 200);
    std::fs::write(process.config_file(), config_of(&new)).unwrap();
    process.signal(Signal::HUP);
    eventually("the new keys are there", || status_in(&process, NEW) == 200);
    assert_eq!(status_in(&process, OLD), 401);
}

#[test]
fn the_check_command_fetches_no_keys() {
    let backend = Backend::start(set(&[OLD]));
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("idlewild.toml");
    std::fs::write(&file, config_of(&backend)).unwrap();
    let ended = idlewild(&["check", "--config", file.to_str().unwrap()], &[], "");
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    assert_eq!(backend.asked(), 0);
}

/// Serves `localhost` with a certificate of tests/keys/tls/ca.pem.
fn tls() -> rustls::ServerConfig {
    use rustls::pki_types::pem::PemObject;
    use rustls::pki_types::{CertificateDer, PrivateKeyDer};
    let file = |name: &str| fixture("tls").join(name);
    let chain = CertificateDer::pem_file_iter(file("server.pem")).unwrap();
    let key = PrivateKeyDer::from_pem_file(file("server.key.pem")).unwrap();
    rustls::ServerConfig::builder_with_provider(
        rustls::crypto::aws_lc_rs::default_provider().into(),
    )
    .with_safe_default_protocol_versions()
    .unwrap()
    .with_no_client_auth()
    .with_single_cert(chain.map(Result::unwrap).collect(), key)
    .unwrap()
}

#[test]
fn a_certificate_of_a_private_authority_is_trusted_if_its_file_is_configured() {
    let backend = Backend::start_tls(tls(), set(&[OLD]));
    let config = config_of(&backend).replace("https://127.0.0.1:", "https://localhost:");
    let authority = fixture("tls/ca.pem");
    let trusting = [("SSL_CERT_FILE", authority.to_str().unwrap())];
    let process = Process::serve_with(&config, &trusting);
    eventually("the keys are there", || status_in(&process, OLD) == 200);
    // A different authority.
    let other = fixture("tls/other-ca.pem");
    let process = Process::serve_with(&config, &[("SSL_CERT_FILE", other.to_str().unwrap())]);
    eventually("it is refused", || process.log().contains("UnknownIssuer"));
    assert_eq!(status_in(&process, OLD), 503);
}

#[test]
fn without_any_authority_a_url_with_tls_is_refused() {
    let ended = idlewild(
        &["check"],
        &[
            ("SSL_CERT_FILE", "/nowhere/ca.pem"),
            ("IDLEWILD_AUTH__JWKS", "https://localhost/jwks.json"),
            ("IDLEWILD_AUTH__ALGORITHMS", "ES256"),
        ],
        "",
    );
    assert_eq!(ended.code, Some(2), "{}", ended.stderr);
    let refusal = ended.stderr.lines().last().unwrap();
    assert!(refusal.contains("auth.jwks: "), "{refusal}");
    assert!(refusal.contains("SSL_CERT_FILE"), "{refusal}");
}

#[test]
fn an_outage_is_logged_once_without_the_query() {
    let backend = Backend::start(Reply::status(500));
    let process = Process::serve_config(&config_of(&backend));
    backend.wait_until_asked(2);
    let log = process.log();
    let said: Vec<_> = log.lines().filter(|line| line.contains("WARN")).collect();
    assert_eq!(said.len(), 1, "{log}");
    assert!(
        said[0].contains("500") && said[0].contains("auth.jwks"),
        "{log}"
    );
    assert!(!log.contains("by=test"), "{log}");
}
