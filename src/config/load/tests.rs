use std::time::Duration;

use super::*;
use crate::config::{Algorithm, Endpoint, TrustedProxy};

const SECRET: &str = "0123456789abcdef0123456789abcdef";

type Pairs<'a> = &'a [(&'a str, &'a str)];

/// Sources with a secret, a file of `toml` and these variables and flags.
fn sources(dir: &tempfile::TempDir, toml: &str, env: Pairs<'_>, flags: Pairs<'_>) -> Sources {
    let owned = |pairs: Pairs<'_>| {
        pairs
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect::<Vec<_>>()
    };
    let file = dir.path().join("idlewild.toml");
    fs::write(&file, toml).unwrap();
    Sources {
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
        // Its lack would be an error of its own.
        let secret = ("IDLEWILD_AUTH__SECRET".to_owned(), SECRET.to_owned());
        sources.env.push(secret);
    }
    let error = load(&sources).unwrap_err().to_string();
    assert!(!error.contains('\n'), "{error:?}");
    error
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
fn text_is_read_as_the_type_of_its_key() {
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
    assert_eq!(config.auth.secret, digits);
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
fn what_cannot_be_read_is_refused_with_its_key_and_origin() {
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
            &["heartbeat: `30` has no unit", "250ms"],
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
fn a_secret_never_stands_in_an_error() {
    for toml in [
        "auth.secret = 987654321",
        "auth.secret = \"987654321\"",
        "auth.secret = [\"987654321\"]",
        "admin.api_key = 987654321",
        "admin.api_keys = [\"987654321\"]",
        "admin.api_keys = \"987654321\"",
        "admin.api_keys = [{ name = \"a\", hash = 987654321 }]",
        "admin = \"987654321\"",
        "auth = \"987654321\"",
        "auth.secret = \"987654321",
    ] {
        let error = refused(toml, &[], &[]);
        assert!(!error.contains("987654321"), "{error:?}");
    }
    let error = refused("", &[("IDLEWILD_ADMIN__API_KEYS", "[987654321, ]x]")], &[]);
    assert!(
        !error.contains("987654321") && error.contains("admin.api_keys"),
        "{error:?}"
    );
}

#[test]
fn a_missing_file_is_refused_by_name() {
    let error = load(&Sources {
        file: Some("/nonexistent/idlewild.toml".into()),
        ..Sources::default()
    });
    assert!(
        error
            .unwrap_err()
            .to_string()
            .starts_with("/nonexistent/idlewild.toml: ")
    );
}

#[test]
fn the_secret_file_is_the_secret_without_the_white_space_around_it() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("secret");
    let env = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    let file = env("IDLEWILD_AUTH__SECRET_FILE", path.to_str().unwrap());
    for space in ["", "\n", "\r\n", " \t\n\n"] {
        fs::write(&path, format!("{space}{SECRET}{space}")).unwrap();
        let config = load(&Sources {
            env: vec![file.clone()],
            ..Sources::default()
        })
        .unwrap();
        assert_eq!(config.auth.secret, SECRET);
    }
    let both = vec![file.clone(), env("IDLEWILD_AUTH__SECRET", SECRET)];
    let error = load(&Sources {
        env: both,
        ..Sources::default()
    })
    .unwrap_err()
    .to_string();
    assert!(
        error.starts_with("auth.secret_file: ") && !error.contains(SECRET),
        "{error}"
    );
    fs::remove_file(&path).unwrap();
    let error = load(&Sources {
        env: vec![file],
        dev: Some(dev_secrets()),
        ..Sources::default()
    });
    assert!(
        error
            .unwrap_err()
            .to_string()
            .starts_with("auth.secret_file: ")
    );
}

fn dev_secrets() -> DevSecrets {
    DevSecrets {
        auth_secret: "made up for a developer, 32 bytes".to_owned(),
        api_key: "made up for a developer".to_owned(),
    }
}

#[test]
fn white_space_around_secrets_and_keys_is_trimmed() {
    let hash = format!("sha256:{}", "0".repeat(64));
    let toml = format!("admin.api_keys = [{{ name = \"django\", hash = \" {hash}\\n\" }}]");
    let config = loaded(
        &toml,
        &[
            ("IDLEWILD_AUTH__SECRET", &format!(" {SECRET}\n")),
            ("IDLEWILD_ADMIN__API_KEY", "a key of the tests\r\n"),
        ],
        &[],
    );
    assert_eq!(config.auth.secret, SECRET);
    assert_eq!(config.admin.api_key, "a key of the tests");
    assert_eq!(config.admin.api_keys[0].hash, hash);
    // Windows editors begin a file with a byte order mark and end it with a line.
    let mut file = tempfile::NamedTempFile::new().unwrap();
    std::io::Write::write_all(&mut file, format!("\u{feff}{SECRET}\r\n").as_bytes()).unwrap();
    let toml = format!("auth.secret_file = {:?}", file.path());
    let key = [("IDLEWILD_ADMIN__API_KEY", "\u{feff}a key of the tests\r\n")];
    let config = loaded(&toml, &key, &[]);
    assert_eq!(config.auth.secret, SECRET);
    assert_eq!(config.admin.api_key, "a key of the tests");
    // What is nothing else is no secret, and what is too short without it stays too short.
    let none = refused("", &[("IDLEWILD_AUTH__SECRET", " \n")], &[]);
    assert!(none.starts_with("auth.secret: is empty"), "{none}");
    let padded = format!("short{}", " ".repeat(40));
    let short = refused("", &[("IDLEWILD_AUTH__SECRET", &padded)], &[]);
    assert!(short.starts_with("auth.secret: 5 bytes"), "{short}");
}

#[test]
fn session_cookies_are_a_list_of_names() {
    let toml = format!("auth.secret = \"{SECRET}\"");
    let config = loaded(&toml, &[], &[]);
    assert_eq!(config.auth.session_cookie, ["sessionid"]);
    let names = [("IDLEWILD_AUTH__SESSION_COOKIE", "sid, tenant")];
    assert_eq!(
        loaded(&toml, &names, &[]).auth.session_cookie,
        ["sid", "tenant"]
    );
    let bad = [("IDLEWILD_AUTH__SESSION_COOKIE", "sid,a b")];
    let error = refused(&toml, &bad, &[]);
    assert!(
        error.starts_with("auth.session_cookie[1]: `a b` is no cookie name"),
        "{error}"
    );
}

#[test]
fn the_login_makes_no_tokens_that_live_too_long() {
    let toml = format!("auth.secret = \"{SECRET}\"\nlogin.token_ttl = \"31d\"");
    let error = refused(&toml, &[], &[]);
    assert!(
        error.starts_with("login.token_ttl: 31d is longer than auth.max_token_life, 30d"),
        "{error}"
    );
    let longer = [("IDLEWILD_AUTH__MAX_TOKEN_LIFE", "31d")];
    loaded(&toml, &longer, &[]);
}

#[test]
fn dev_fills_in_only_what_is_missing() {
    let dev = Sources {
        dev: Some(dev_secrets()),
        ..Sources::default()
    };
    let config = load(&dev).unwrap();
    assert_eq!(
        (config.auth.secret, config.admin.api_key),
        (dev_secrets().auth_secret, dev_secrets().api_key)
    );
    let env = [
        ("IDLEWILD_AUTH__SECRET", SECRET),
        ("IDLEWILD_ADMIN__API_KEY", "my own key for this"),
    ]
    .map(|(name, value)| (name.to_owned(), value.to_owned()));
    let config = load(&Sources {
        env: env.into(),
        ..dev
    })
    .unwrap();
    assert_eq!(
        (config.auth.secret.as_str(), config.admin.api_key.as_str()),
        (SECRET, "my own key for this")
    );
    assert!(!dev_secrets().sign(&config));
}

#[test]
fn keys_and_hashes_are_read_without_the_white_space_around_them() {
    let hash = format!("sha256:{}", "0".repeat(64));
    let toml = format!("[[admin.api_keys]]\nname = \"a\"\nhash = \" {hash}\\n\"");
    let secret = ("IDLEWILD_AUTH__SECRET", SECRET);
    let config = loaded(
        &toml,
        &[secret, ("IDLEWILD_API_KEY", " of sixteen bytes\r\n")],
        &[],
    );
    assert_eq!(config.admin.api_keys[0].hash, hash);
    assert_eq!(config.admin.api_key, "of sixteen bytes");
    let in_file = "admin.api_key = \"\tof sixteen bytes\\n\"";
    assert_eq!(
        loaded(in_file, &[secret], &[]).admin.api_key,
        "of sixteen bytes"
    );
}

#[test]
fn an_empty_variable_of_the_api_key_counts_as_unset() {
    let key = "a key that is long enough to be good";
    let in_file = format!("auth.secret = \"{SECRET}\"\nadmin.api_key = \"{key}\"");
    let without = format!("auth.secret = \"{SECRET}\"");
    let [full, short] = API_KEY_VARIABLES;
    let cases: [(&str, [(&str, &str); 2]); 4] = [
        (&without, [(full, ""), (short, key)]),
        (&without, [(full, " \n"), (short, key)]),
        (&without, [(full, key), (short, "")]),
        (&in_file, [(full, ""), (short, "")]),
    ];
    for (toml, env) in cases {
        let dir = tempfile::tempdir().unwrap();
        let sources = sources(&dir, toml, &env, &[]);
        let config = load(&sources).unwrap();
        assert_eq!(config.admin.api_key, key, "{env:?}");
        assert_eq!(warnings(&sources, &config), Vec::<String>::new(), "{env:?}");
    }
}

#[test]
fn the_full_name_of_the_api_key_beats_the_short_one_and_a_weak_key_is_warned_of() {
    let dir = tempfile::tempdir().unwrap();
    let env = [
        ("IDLEWILD_ADMIN__API_KEY", "the key by its full name"),
        ("IDLEWILD_API_KEY", "the key by its short name"),
        ("IDLEWILD_AUTH__SECRET", SECRET),
    ];
    let sources = sources(&dir, "", &env, &[]);
    let config = load(&sources).unwrap();
    assert_eq!(config.admin.api_key, "the key by its full name");
    let lines = warnings(&sources, &config);
    assert_eq!(lines.len(), 2, "{lines:?}");
    assert!(lines[0].contains("IDLEWILD_API_KEY: ignored"), "{lines:?}");
    assert!(
        lines[1].contains("admin.api_key: 24 bytes long"),
        "{lines:?}"
    );
    assert!(
        lines.iter().all(|line| !line.contains("the key by")),
        "{lines:?}"
    );
}
