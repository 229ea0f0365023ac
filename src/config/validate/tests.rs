use super::*;

/// A valid configuration with `toml` over it; `{dir}` stands for a directory.
fn checked(toml: &str) -> Result<Config, String> {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("idlewild.toml");
    std::fs::write(&file, toml.replace("{dir}", dir.path().to_str().unwrap())).unwrap();
    let mut env = Vec::new();
    if !toml.contains("secret") {
        let secret = "x".repeat(SECRET_MIN_BYTES);
        env.push(("IDLEWILD_AUTH__SECRET".to_owned(), secret));
    }
    let sources = crate::config::Sources {
        file: Some(file),
        env,
        ..Default::default()
    };
    crate::config::load(&sources).map_err(|error| error.to_string())
}

#[test]
fn every_refusal_names_its_key_and_the_way_out() {
    let hash = "0".repeat(64);
    let key = |name: &str, hash: &str| format!("{{ name = \"{name}\", hash = \"{hash}\" }}");
    let good = key("a", &format!("sha256:{hash}"));
    let cases: Vec<(String, &str, &str)> = [
        ("auth.secret = \"\"", "auth.secret", "openssl rand -hex 32"),
        (
            "auth.secret = \"twelve bytes\"",
            "auth.secret",
            "12 bytes, HS256 needs at least 32 (openssl rand -hex 32)",
        ),
        (
            "auth.secret = \"\"\nauth.algorithms = [\"RS256\", \"HS384\"]",
            "auth.secret",
            "HS384",
        ),
        ("auth.algorithms = []", "auth.algorithms", "HS256"),
        (
            "auth.algorithms = [\"RS256\"]",
            "auth.public_keys",
            "auth.jwks",
        ),
        ("auth.algorithms = [\"none\"]", "auth.algorithms[0]", "none"),
        (
            "auth.public_keys = [\"/nonexistent.pem\"]",
            "auth.public_keys[0]",
            "/nonexistent.pem",
        ),
        (
            "auth.public_keys = [\"{dir}\"]",
            "auth.public_keys[0]",
            "is no file",
        ),
        (
            "auth.jwks = \"/nonexistent.json\"",
            "auth.jwks",
            "/nonexistent.json",
        ),
        ("auth.jwks = \"https://a:0/\"", "auth.jwks", "port"),
        (
            "auth.session_auth_url = \"a.example/\"",
            "auth.session_auth_url",
            "neither http:// nor https://",
        ),
        (
            "auth.secret = \"short\"\nauth.session_auth_url = \"http://a/\"",
            "auth.secret",
            "5 bytes",
        ),
        (
            "auth.secret = \"\"\nauth.session_auth_url = \"http://a/\"\nlogin.users_file = \"{dir}/idlewild.toml\"",
            "login.users_file",
            "set auth.secret",
        ),
        ("auth.user_claim = \"\"", "auth.user_claim", "user_id"),
        ("auth.jwt_cookie = \"\"", "auth.jwt_cookie", "access_token"),
        ("auth.jwt_cookie = \"a b\"", "auth.jwt_cookie", "`a b`"),
        ("auth.jwt_cookie = \"a=b\"", "auth.jwt_cookie", "`a=b`"),
        (
            "auth.ticket_ttl = \"999ms\"",
            "auth.ticket_ttl",
            "999ms, write at least 1s",
        ),
        ("login.token_ttl = \"0s\"", "login.token_ttl", "1s"),
        (
            "login.users_file = \"/nonexistent.toml\"",
            "login.users_file",
            "/nonexistent.toml",
        ),
        (
            "retry_min = \"7s\"",
            "retry_min",
            "7s is longer than retry_max, 6s",
        ),
        ("retry_min = \"0s\"", "retry_min", "at least 1ms"),
        ("heartbeat = \"999ms\"", "heartbeat", "at least 1s"),
        ("heartbeat = \"25h\"", "heartbeat", "25h, write at most 24h"),
        (
            "handshake_timeout = \"0s\"",
            "handshake_timeout",
            "at least 1ms",
        ),
        ("stall_timeout = \"0s\"", "stall_timeout", "at least 1ms"),
        ("max_connections = 0", "max_connections", "at least 1"),
        (
            "max_connections_per_user = 0",
            "max_connections_per_user",
            "at least 1",
        ),
        ("max_handshakes = 0", "max_handshakes", "at least 1"),
        ("shards = 513", "shards", "513, write at most 512"),
        (
            "max_backlog_bytes = \"4095\"",
            "max_backlog_bytes",
            "at least 4096",
        ),
        (
            "max_publish_bytes = 1023",
            "max_publish_bytes",
            "at least 1024",
        ),
        (
            "max_publish_bytes = \"17MiB\"",
            "max_publish_bytes",
            "at most 16777216",
        ),
        ("send_buffer = \"2GiB\"", "send_buffer", "at most"),
        ("drain_rate = 0", "drain_rate", "at least 1"),
        ("history.max_bytes = 0", "history.max_bytes", "at least 1"),
        (
            "history.max_age = \"0s\"",
            "history.max_age",
            "at least 1ms",
        ),
        (
            "history.path = \"/dev/null\"",
            "history.path",
            "is no directory",
        ),
        (
            "history.path = \"/nowhere/history\"",
            "history.path",
            "mkdir -p",
        ),
        (
            "history.fsync = \"never\"",
            "history.fsync",
            "expected `interval` or `always`",
        ),
        (
            "base_path = \"api\"",
            "base_path",
            "`api` does not start with /",
        ),
        ("base_path = \"/api//\"", "base_path", "empty segment"),
        ("base_path = \"/a?b\"", "base_path", "`/a?b`"),
        ("base_path = \"/a#b\"", "base_path", "`/a#b`"),
        ("base_path = \"/a b\"", "base_path", "`/a b`"),
        ("listen = []", "listen", "at least one"),
        ("admin_listen = []", "admin_listen", "at least one"),
        (
            "admin_listen = [\"127.0.0.1:8000\"]",
            "admin_listen[0]",
            "`127.0.0.1:8000` stands twice",
        ),
        (
            "listen = [\"unix:/a\", \"unix:/a\"]",
            "listen[1]",
            "`unix:/a` stands twice",
        ),
        (
            "cors.origins = [\"*\", \"app.example\"]",
            "cors.origins[1]",
            "`app.example`",
        ),
        (
            "cors.origins = [\"https://\"]",
            "cors.origins[0]",
            "scheme://host",
        ),
        (
            "cors.origins = [\"https://a.example/\"]",
            "cors.origins[0]",
            "has a path",
        ),
        (
            "cors.origins = [\"https://*.example\"]",
            "cors.origins[0]",
            "no browser",
        ),
        (
            "cors.origins = [\"https://u@a.example\"]",
            "cors.origins[0]",
            "no browser",
        ),
        (
            "cors.origins = [\"https://A.example\"]",
            "cors.origins[0]",
            "lower case",
        ),
        (
            "cors.origins = [\"https://a:443\"]",
            "cors.origins[0]",
            "leave out",
        ),
        ("cors.origins = [\"http://a:x\"]", "cors.origins[0]", "port"),
        (
            "cors.origins = [\"http://:8080\"]",
            "cors.origins[0]",
            "no host",
        ),
        ("cors.origins = [\"null\"]", "cors.origins[0]", "`null`"),
        (
            "tls.listen = [\"0.0.0.0:8443\"]",
            "tls.certificates",
            "is empty",
        ),
        (
            "tls.certificates = [{ cert = \"a\", key = \"{dir}/idlewild.toml\" }]",
            "tls.certificates[0].cert",
            "cannot be read",
        ),
        ("engine.kind = \"redis\"", "engine.kind", "memory"),
        (
            "cors.credentials = true",
            "cors.credentials",
            "list the origins of your pages, or set cors.credentials = false",
        ),
        (
            "cors.credentials = true\ncors.origins = [\"https://a.example\", \"*\"]",
            "cors.credentials",
            "true with cors.origins = [\"*\"]",
        ),
        ("cors.headers = [\"*\"]", "cors.headers[0]", "name each"),
        (
            "cors.headers = [\"X-A\", \"X-B, X-C\"]",
            "cors.headers[1]",
            "`X-B, X-C`",
        ),
        (
            "admin_max_connections = 7",
            "admin_max_connections",
            "at least 8",
        ),
        (
            "admin.api_key = \"fifteen bytes..\"",
            "admin.api_key",
            "15 bytes long, at least 16",
        ),
        (
            "admin.api_key = \"a key of gr\u{fc}ner tee\"",
            "admin.api_key",
            "printable ASCII",
        ),
    ]
    .map(|(toml, key, part)| (toml.to_owned(), key, part))
    .into_iter()
    .chain([
        (
            format!("admin.api_keys = [{}]", key("a", "sha256:00")),
            "admin.api_keys[0].hash",
            "64 hex",
        ),
        (
            format!("admin.api_keys = [{}]", key("a", &hash)),
            "admin.api_keys[0].hash",
            "token api-key",
        ),
        (
            format!("admin.api_keys = [{}]", key(" ", &format!("sha256:{hash}"))),
            "admin.api_keys[0].name",
            "is empty",
        ),
        (
            format!("admin.api_keys = [{good}, {good}]"),
            "admin.api_keys[1].name",
            "`a` names two",
        ),
    ])
    .collect();
    for (toml, key, part) in cases {
        let error = checked(&toml).expect_err(&toml);
        assert!(error.starts_with(&format!("{key}: ")), "{toml}: {error}");
        assert!(error.contains(part), "{toml}: {error}");
        assert!(!error.contains('\n'), "{error:?}");
        // `auth.public_keys` and `tls.certificates` are refused for their defaults.
        let by_default = [
            "auth.algorithms = [\"RS256\"]",
            "tls.listen = [\"0.0.0.0:8443\"]",
        ];
        assert!(
            by_default.contains(&toml.as_str()) || error.ends_with("idlewild.toml]"),
            "{error}"
        );
    }
}

#[test]
fn the_edges_that_are_allowed_pass() {
    for toml in [
        "",
        "heartbeat = \"1s\"",
        "heartbeat = \"24h\"",
        "retry_min = \"1ms\"\nretry_max = \"1ms\"",
        "shards = 512",
        "max_backlog_bytes = \"4KiB\"",
        "max_publish_bytes = \"1KiB\"",
        "max_publish_bytes = \"16MiB\"",
        "send_buffer = 0",
        "listen = [\"127.0.0.1:0\", \"127.0.0.1:0\"]\nadmin_listen = [\"127.0.0.1:0\"]",
        "listen = []\ntls.listen = [\"127.0.0.1:0\"]\ntls.certificates = [{ cert = \"{dir}/idlewild.toml\", key = \"{dir}/idlewild.toml\" }]",
        "auth.algorithms = [\"EdDSA\"]\nauth.public_keys = [\"{dir}/idlewild.toml\"]",
        "auth.algorithms = [\"ES256\"]\nauth.jwks = \"{dir}/idlewild.toml\"",
        "auth.algorithms = [\"ES256\"]\nauth.jwks = \"https://a.example/jwks?p=1\"",
        "auth.jwks = \"HTTP://a.example/jwks\"",
        "auth.secret = \"\"\nauth.session_auth_url = \"http://a/\"",
        "auth.algorithms = [\"RS256\"]\nauth.session_auth_url = \"http://a/\"",
        "login.users_file = \"{dir}/idlewild.toml\"",
        "admin.api_key = \"of sixteen bytes\"",
        "cors.headers = [\"X-Tenant\"]",
        "cors.credentials = true\ncors.origins = [\"https://a.example\"]",
    ] {
        checked(toml).unwrap_or_else(|error| panic!("{toml}: {error}"));
    }
    for origin in [
        "*",
        "http://localhost:5173",
        "https://a.example",
        "http://[::1]",
        "http://[::1]:81",
        "capacitor://localhost",
    ] {
        checked(&format!("cors.origins = [\"{origin}\"]")).unwrap();
    }
}

#[test]
fn one_trailing_slash_of_the_base_path_is_stripped() {
    for (written, read) in [("", ""), ("/", ""), ("/api/", "/api"), ("/api", "/api")] {
        let config = checked(&format!("base_path = \"{written}\"")).unwrap();
        assert_eq!(config.base_path, read);
    }
}

#[test]
fn descriptors_are_counted_for_the_table_that_holds_them() {
    let mut config = Config {
        max_connections: 1000,
        max_handshakes: 100,
        admin_max_connections: 50,
        shards: 2,
        ..Config::default()
    };
    let own = 2 * (8 + 1) + OTHER_DESCRIPTORS;
    let needed = 1000 + 100 + 50 + 64 + 18 + own;
    assert_eq!(needed, 1506);
    assert!(check_descriptors(&config, needed).is_ok());
    let error = check_descriptors(&config, needed - 1)
        .unwrap_err()
        .to_string();
    for part in [
        "max_connections: 1000",
        "1506",
        "1505",
        "ulimit -n 1506",
        "LimitNOFILE=1506",
    ] {
        assert!(error.contains(part), "{error}");
    }
    config.fd_tables = FdTables::PerShard;
    config.shards = 3;
    let own = 3 * (8 + 1) + OTHER_DESCRIPTORS;
    let share = 334 + 34 + own;
    assert!(check_descriptors(&config, share).is_ok());
    let error = check_descriptors(&config, share - 1)
        .unwrap_err()
        .to_string();
    let descriptors = format!("{share} descriptors a table");
    assert!(error.contains(&descriptors), "{error}");
    // The admin connections are in the main thread's table.
    config.admin_max_connections = 1000;
    assert!(check_descriptors(&config, 1082 + own).is_ok());
    assert!(check_descriptors(&config, 1082 + own - 1).is_err());
    config.max_connections = usize::MAX;
    config.shards = 0;
    assert!(check_descriptors(&config, u64::from(u32::MAX)).is_err());
}

#[test]
fn everything_that_is_wrong_is_reported_a_line_each() {
    let file = r#"
listen = []
max_handshakes = 0
heartbeat = "soon"
retry_min = "9s"
on_limit = "perhaps"
max_conections = 5

[auth]
secret = "twelve bytes"
jwt_cookie = "a b"

[cors]
origins = ["*", "https://App.example"]
credentials = true

[telemetry]
sample_ratio = 2.0
"#;
    let lines = checked(file).unwrap_err();
    let keys = [
        "listen",
        "max_handshakes",
        "heartbeat",
        "retry_min",
        "on_limit",
        "max_conections",
        "auth.secret",
        "auth.jwt_cookie",
        "cors.origins[1]",
        "cors.credentials",
        "telemetry.sample_ratio",
    ];
    for key in keys {
        let begins = format!("{key}: ");
        let of_key = lines.lines().filter(|line| line.starts_with(&begins));
        assert_eq!(of_key.count(), 1, "{key} in {lines}");
    }
    assert_eq!(lines.lines().count(), keys.len(), "{lines}");
}

#[test]
fn what_may_follow_from_another_error_is_not_reported() {
    for (file, key) in [
        // Neither a secret nor a key is missing for algorithms that nobody knows yet.
        ("auth.algorithms = [\"RS265\"]", "auth.algorithms[0]"),
        ("auth.algorithms = []", "auth.algorithms"),
        ("auth.secrets = \"x\"", "auth.secrets"),
        ("auth.secret_file = \"/nonexistent\"", "auth.secret_file"),
        (
            "auth.secret = \"\"\nauth.jwks = \"https://a:0/\"\nauth.algorithms = [\"RS256\"]",
            "auth.jwks",
        ),
        ("retry_min = \"3h\"\nretry_max = \"long\"", "retry_max"),
        ("cors.origins = 5\ncors.credentials = true", "cors.origins"),
    ] {
        let lines = checked(file).unwrap_err();
        assert!(lines.starts_with(&format!("{key}: ")), "{file}: {lines}");
        assert_eq!(lines.lines().count(), 1, "{file}: {lines}");
    }
}
