//! Secrets and API keys: their sources, and that they are never shown.

use super::*;
use crate::config::{API_KEY_VARIABLES, DevSecrets, warnings};

#[test]
fn an_error_never_contains_a_secret() {
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
        "auth.secret = x987654321",
        "[auth]\nsecret = x987654321",
        "auth.secrets = x987654321",
        "engine.url = redis://:987654321@a",
        "engine.url = [\"redis://:987654321@a\"]",
        "engine.url = \"redis://:987654321\"",
        "engine.url = \"redis+cluster://:987654321@a/1\"",
        "admin.api_key = x987654321",
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
fn white_space_around_the_secret_in_a_file_is_trimmed() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("secret");
    let env = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    let file = env("IDLEWILD_AUTH__SECRET_FILE", path.to_str().unwrap());
    for space in ["", "\n", "\r\n", " \t\n\n"] {
        fs::write(&path, format!("{space}{SECRET}{space}")).unwrap();
        let config = load(&ConfigSources {
            env: vec![file.clone()],
            ..ConfigSources::default()
        })
        .unwrap();
        assert_eq!(config.auth.secret, Secret::new(SECRET));
    }
    let both = vec![file.clone(), env("IDLEWILD_AUTH__SECRET", SECRET)];
    let error = load(&ConfigSources {
        env: both,
        ..ConfigSources::default()
    })
    .unwrap_err()
    .to_string();
    assert!(
        error.starts_with("auth.secret_file: ") && !error.contains(SECRET),
        "{error}"
    );
    fs::remove_file(&path).unwrap();
    let error = load(&ConfigSources {
        env: vec![file],
        dev: Some(dev_secrets()),
        ..ConfigSources::default()
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
    assert_eq!(config.auth.secret, Secret::new(SECRET));
    assert_eq!(config.admin.api_key, Secret::new("a key of the tests"));
    assert_eq!(config.admin.api_keys[0].hash, hash.parse().unwrap());
    // Windows editors put a byte order mark at the start of a file and a line break at its end.
    let mut file = tempfile::NamedTempFile::new().unwrap();
    std::io::Write::write_all(&mut file, format!("\u{feff}{SECRET}\r\n").as_bytes()).unwrap();
    let toml = format!("auth.secret_file = {:?}", file.path());
    let key = [("IDLEWILD_ADMIN__API_KEY", "\u{feff}a key of the tests\r\n")];
    let config = loaded(&toml, &key, &[]);
    assert_eq!(config.auth.secret, Secret::new(SECRET));
    assert_eq!(config.admin.api_key, Secret::new("a key of the tests"));
    // A secret of only such characters is missing, and one that is too short without them stays too short.
    let none = refused("", &[("IDLEWILD_AUTH__SECRET", " \n")], &[]);
    assert!(none.starts_with("auth.secret: is empty"), "{none}");
    let padded = format!("short{}", " ".repeat(40));
    let short = refused("", &[("IDLEWILD_AUTH__SECRET", &padded)], &[]);
    assert!(short.starts_with("auth.secret: 5 bytes"), "{short}");
}

#[test]
fn dev_fills_in_only_what_is_missing() {
    let dev = ConfigSources {
        dev: Some(dev_secrets()),
        ..ConfigSources::default()
    };
    let config = load(&dev).unwrap();
    assert_eq!(
        (config.auth.secret, config.admin.api_key),
        (
            Secret::new(&dev_secrets().auth_secret),
            Secret::new(&dev_secrets().api_key)
        )
    );
    let env = [
        ("IDLEWILD_AUTH__SECRET", SECRET),
        ("IDLEWILD_ADMIN__API_KEY", "my own key for this"),
    ]
    .map(|(name, value)| (name.to_owned(), value.to_owned()));
    let config = load(&ConfigSources {
        env: env.into(),
        ..dev
    })
    .unwrap();
    assert_eq!(
        (&config.auth.secret, &config.admin.api_key),
        (&Secret::new(SECRET), &Secret::new("my own key for this"))
    );
    assert!(!dev_secrets().is_auth_secret_used(&config));
}

#[test]
fn white_space_around_keys_and_hashes_is_ignored() {
    let hash = format!("sha256:{}", "0".repeat(64));
    let toml = format!("[[admin.api_keys]]\nname = \"a\"\nhash = \" {hash}\\n\"");
    let secret = ("IDLEWILD_AUTH__SECRET", SECRET);
    let config = loaded(
        &toml,
        &[secret, ("IDLEWILD_API_KEY", " of sixteen bytes\r\n")],
        &[],
    );
    assert_eq!(config.admin.api_keys[0].hash, hash.parse().unwrap());
    assert_eq!(config.admin.api_key, Secret::new("of sixteen bytes"));
    let in_file = "admin.api_key = \"\tof sixteen bytes\\n\"";
    assert_eq!(
        loaded(in_file, &[secret], &[]).admin.api_key,
        Secret::new("of sixteen bytes")
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
        assert_eq!(config.admin.api_key, Secret::new(key), "{env:?}");
        assert_eq!(warnings(&sources, &config), Vec::<String>::new(), "{env:?}");
    }
}

#[test]
fn the_api_keys_full_name_beats_the_short_one_and_a_weak_key_causes_a_warning() {
    let dir = tempfile::tempdir().unwrap();
    let env = [
        ("IDLEWILD_ADMIN__API_KEY", "the key by its full name"),
        ("IDLEWILD_API_KEY", "the key by its short name"),
        ("IDLEWILD_AUTH__SECRET", SECRET),
    ];
    let sources = sources(&dir, "", &env, &[]);
    let config = load(&sources).unwrap();
    assert_eq!(
        config.admin.api_key,
        Secret::new("the key by its full name")
    );
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
