mod engine;
mod lines;
mod rules;
mod secrets;
mod values;

use std::time::Duration;

use super::*;
use crate::config::{Algorithm, CookieName, Endpoint, TrustedProxy};

const SECRET: &str = "0123456789abcdef0123456789abcdef";

type Pairs<'a> = &'a [(&'a str, &'a str)];

/// Sources with a secret, a file with `toml`, and these variables and flags.
fn sources(dir: &tempfile::TempDir, toml: &str, env: Pairs<'_>, flags: Pairs<'_>) -> ConfigSources {
    let owned = |pairs: Pairs<'_>| {
        pairs
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect::<Vec<_>>()
    };
    let file = dir.path().join("idlewild.toml");
    fs::write(&file, toml).unwrap();
    ConfigSources {
        file: Some(file),
        env: owned(env),
        flags: owned(flags),
        dev: None,
    }
}

fn loaded(toml: &str, env: Pairs<'_>, flags: Pairs<'_>) -> Config {
    let dir = tempfile::tempdir().unwrap();
    load(&sources(&dir, toml, env, flags)).unwrap()
}

fn refused(toml: &str, env: Pairs<'_>, flags: Pairs<'_>) -> String {
    let dir = tempfile::tempdir().unwrap();
    let mut sources = sources(&dir, toml, env, flags);
    let is_given = |(name, _): &(String, String)| name.contains("_AUTH__");
    if !toml.contains("auth.") && !sources.env.iter().any(is_given) {
        // A missing secret would be a second error.
        let secret = ("IDLEWILD_AUTH__SECRET".to_owned(), SECRET.to_owned());
        sources.env.push(secret);
    }
    let error = load(&sources).unwrap_err().to_string();
    assert!(!error.contains('\n'), "{error:?}");
    error
}

const CERTIFICATE: &str = "-----BEGIN CERTIFICATE-----\nMAA=\n-----END CERTIFICATE-----\n";

/// A valid configuration overlaid with `toml`, in which `{dir}` means a temporary directory with a `ca.pem`.
fn checked(toml: &str) -> Result<Config, String> {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("idlewild.toml");
    fs::write(dir.path().join("ca.pem"), CERTIFICATE).unwrap();
    fs::write(&file, toml.replace("{dir}", dir.path().to_str().unwrap())).unwrap();
    let mut env = Vec::new();
    if !toml.contains("secret") {
        let secret = "x".repeat(32);
        env.push(("IDLEWILD_AUTH__SECRET".to_owned(), secret));
    }
    let sources = ConfigSources {
        file: Some(file),
        env,
        ..ConfigSources::default()
    };
    load(&sources).map_err(|error| error.to_string())
}

#[test]
fn flags_beat_variables_beat_the_file_beats_the_defaults() {
    let toml =
        format!("shards = 1\nmax_connections = 1\nmax_handshakes = 1\nauth.secret = \"{SECRET}\"");
    let config = loaded(
        &toml,
        &[("IDLEWILD_SHARDS", "2"), ("IDLEWILD_MAX_CONNECTIONS", "2")],
        &[("shards", "3")],
    );
    assert_eq!(
        (config.shards, config.max_connections, config.max_handshakes),
        (3, 2, 1)
    );
    assert_eq!(config.max_connections_per_user, 5);
}

#[test]
fn texts_are_read_as_the_type_of_the_key() {
    let digits = "1".repeat(32);
    let config = loaded(
        "max_backlog_bytes = 8192",
        &[
            ("IDLEWILD_AUTH__SECRET", &digits),
            ("IDLEWILD_MAX_BACKLOG_BYTES", "32KiB"),
            ("IDLEWILD_SEND_BUFFER", "4096"),
            ("IDLEWILD_TEST_STREAM", "false"),
            ("IDLEWILD_HEARTBEAT", "1m"),
            ("IDLEWILD_LISTEN", "[::1]:8000, unix:/tmp/x"),
            ("IDLEWILD_AUTH__ALGORITHMS", "[\"HS256\", \"HS512\"]"),
            ("IDLEWILD_TRUSTED_PROXIES", ""),
            ("PATH", "/bin"),
        ],
        &[],
    );
    assert_eq!(config.auth.secret, Secret::new(&digits));
    assert_eq!(
        (config.max_backlog_bytes, config.send_buffer),
        (32_768, 4096)
    );
    assert!(!config.test_stream);
    assert_eq!(config.heartbeat, Duration::from_secs(60));
    assert_eq!(
        config.listen,
        [
            Endpoint::Tcp("[::1]:8000".parse().unwrap()),
            Endpoint::Unix("/tmp/x".into())
        ]
    );
    assert_eq!(config.auth.algorithms, [Algorithm::HS256, Algorithm::HS512]);
    assert_eq!(config.trusted_proxies, Vec::<TrustedProxy>::new());
}

#[test]
fn a_repeated_flag_adds_to_its_list() {
    let config = loaded(
        "listen = [\"127.0.0.1:1\"]",
        &[("IDLEWILD_AUTH__SECRET", SECRET)],
        &[
            ("listen", "127.0.0.1:2"),
            ("listen", "127.0.0.1:3"),
            ("shards", "1"),
            ("shards", "2"),
        ],
    );
    let listen: Vec<_> = config.listen.iter().map(ToString::to_string).collect();
    assert_eq!(listen, ["127.0.0.1:2", "127.0.0.1:3"]);
    assert_eq!(config.shards, 2);
}

#[test]
fn an_invalid_value_is_rejected_with_its_key_and_origin() {
    let cases: [(&str, Pairs<'_>, Pairs<'_>, &[&str]); 15] = [
        (
            "max_conections = 3",
            &[],
            &[],
            &[
                "max_conections: unknown key, the nearest is max_connections ",
                "idlewild.toml",
            ],
        ),
        (
            "[auth]\nsecrt = \"x\"",
            &[],
            &[],
            &[
                "auth.secrt: unknown key, the nearest is auth.secret ",
                "idlewild.toml",
            ],
        ),
        (
            "[oauth]\nx = 1",
            &[],
            &[],
            &["oauth: unknown key, the nearest is auth "],
        ),
        (
            "secret = \"x\"",
            &[],
            &[],
            &["secret: unknown key, the nearest is auth.secret "],
        ),
        ("auth = 3", &[], &[], &["auth: is a table", "[auth]"]),
        (
            "heartbeat = 30",
            &[],
            &[],
            &["heartbeat: ", "30", "idlewild.toml"],
        ),
        (
            "heartbeat = \"30\"",
            &[],
            &[],
            &["heartbeat: `30` has no unit", "write e.g. 30s"],
        ),
        ("shards = -1", &[], &[], &["shards: ", "-1"]),
        (
            "listen = [\"127.0.0.1:1\", \"localhost:80\"]",
            &[],
            &[],
            &["listen[1]: `localhost:80`"],
        ),
        (
            "[[admin.api_keys]]\nname = \"a\"",
            &[],
            &[],
            &["admin.api_keys[0]", "hash"],
        ),
        ("a = [", &[], &[], &["idlewild.toml, line 1: "]),
        (
            "",
            &[
                ("IDLEWILD_API_KEY", "short"),
                ("IDLEWILD_AUTH__SECRET", SECRET),
            ],
            &[],
            &["admin.api_key: 5 bytes", "[from IDLEWILD_API_KEY]"],
        ),
        (
            "",
            &[("IDLEWILD_SHARDS", "many")],
            &[],
            &["shards: `many`", "[from IDLEWILD_SHARDS]"],
        ),
        (
            "",
            &[("IDLEWILD_LOG_LEVEL", "lo\nud")],
            &[],
            &["log_level: ", "lo\\nud", "`info`", "IDLEWILD_LOG_LEVEL"],
        ),
        (
            "",
            &[],
            &[("log_level", "loud")],
            &["log_level: ", "loud", "[from --log-level]"],
        ),
    ];
    for (toml, env, flags, parts) in cases {
        let error = refused(toml, env, flags);
        for part in parts {
            assert!(error.contains(part), "{error:?} lacks {part:?}");
        }
    }
}

#[test]
fn a_missing_file_is_refused_by_name() {
    let error = load(&ConfigSources {
        file: Some("/nonexistent/idlewild.toml".into()),
        ..ConfigSources::default()
    });
    assert!(
        error
            .unwrap_err()
            .to_string()
            .starts_with("/nonexistent/idlewild.toml: ")
    );
}

fn names(names: &[&str]) -> Vec<CookieName> {
    names.iter().map(|name| name.parse().unwrap()).collect()
}

#[test]
fn session_cookies_are_a_list_of_names() {
    let toml = format!("auth.secret = \"{SECRET}\"");
    let config = loaded(&toml, &[], &[]);
    assert_eq!(config.auth.session_cookie, names(&["sessionid"]));
    let two = [("IDLEWILD_AUTH__SESSION_COOKIE", "sid, tenant")];
    assert_eq!(
        loaded(&toml, &two, &[]).auth.session_cookie,
        names(&["sid", "tenant"])
    );
    let bad = [("IDLEWILD_AUTH__SESSION_COOKIE", "sid,a b")];
    let error = refused(&toml, &bad, &[]);
    assert!(
        error.starts_with("auth.session_cookie[1]: `a b` is not a cookie name"),
        "{error}"
    );
}

#[test]
fn the_logins_tokens_must_not_live_too_long() {
    let toml = format!("auth.secret = \"{SECRET}\"\nlogin.token_ttl = \"31d\"");
    let error = refused(&toml, &[], &[]);
    assert!(
        error.starts_with("login.token_ttl: 31d is longer than auth.max_token_life, 30d"),
        "{error}"
    );
    let longer = [("IDLEWILD_AUTH__MAX_TOKEN_LIFE", "31d")];
    loaded(&toml, &longer, &[]);
}
