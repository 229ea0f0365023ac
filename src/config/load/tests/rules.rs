//! Rules about several keys, and which errors are reported together.

use super::*;

#[test]
fn the_limits_themselves_are_allowed() {
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
        assert_eq!(&*config.base_path, read);
    }
}

#[test]
fn all_errors_are_reported_one_per_line() {
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
fn consequences_of_another_error_are_not_reported() {
    for (file, key) in [
        // Since the algorithms are invalid, a missing secret or key is not reported.
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
