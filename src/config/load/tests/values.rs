//! The checks of each value.

use super::*;

#[test]
fn every_error_names_its_key_and_a_remedy() {
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
            "is not a file",
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
            "is not a directory",
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
            "`127.0.0.1:8000` is listed twice",
        ),
        (
            "listen = [\"unix:/a\", \"unix:/a\"]",
            "listen[1]",
            "`unix:/a` is listed twice",
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
        (
            "engine.kind = \"kafka\"",
            "engine.kind",
            "expected `memory` or `redis`",
        ),
        (
            "engine.url = \"redis://cache:x\"",
            "engine.url",
            "redis://[user:password@]host:6379/0",
        ),
        (
            "engine.password_file = \"/nonexistent\"",
            "engine.password_file",
            "`/nonexistent` cannot be read",
        ),
        (
            "engine.ca = \"/nonexistent.pem\"",
            "engine.ca",
            "`/nonexistent.pem` cannot be read",
        ),
        (
            "engine.ca = \"{dir}/idlewild.toml\"",
            "engine.ca",
            "/idlewild.toml` has no certificate",
        ),
        ("engine.prefix = \"\"", "engine.prefix", "is empty (idlewild:)"),
        (
            "engine.prefix = \"{a}:\"",
            "engine.prefix",
            "`{a}:` has a space, a control character or a brace",
        ),
        ("engine.prefix = \"a b\"", "engine.prefix", "`a b`"),
        ("engine.prefix = \"a\\u0000\"", "engine.prefix", "control"),
        ("engine.node = \"a/b\"", "engine.node", "`a/b`"),
        ("engine.node = \"n\u{f6}de\"", "engine.node", "A-Z a-z 0-9"),
        ("engine.replicas = 17", "engine.replicas", "17, write at most 16"),
        (
            "engine.linger = \"1001ms\"",
            "engine.linger",
            "1001ms, write at most 1s",
        ),
        (
            "engine.max_stale = \"999ms\"",
            "engine.max_stale",
            "999ms, write at least 1s, or 0s",
        ),
        (
            "engine.max_bytes = \"1023KiB\"",
            "engine.max_bytes",
            "at least 1048576",
        ),
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
            format!("engine.prefix = \"{}\"", "p".repeat(65)),
            "engine.prefix",
            "65 bytes long, write at most 64",
        ),
        (
            format!("engine.node = \"{}\"", "n".repeat(65)),
            "engine.node",
            "65 bytes long, write at most 64",
        ),
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
        // The defaults of `auth.public_keys` and `tls.certificates` are rejected here.
        let by_default = [
            "auth.algorithms = [\"RS256\"]",
            "tls.listen = [\"0.0.0.0:8443\"]",
        ];
        assert!(
            by_default.contains(&toml.as_str()) || error.contains("/idlewild.toml, line "),
            "{error}"
        );
    }
}
