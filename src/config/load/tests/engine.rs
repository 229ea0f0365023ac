//! `[engine]`: what is read from files, and the rules about several keys.

use super::*;
use crate::config::engine::EngineKind;
use crate::config::{InputFile, print};

const REDIS: &str = "engine.kind = \"redis\"";

#[test]
fn the_limits_themselves_are_allowed() {
    let name = "n".repeat(64);
    for toml in [
        "engine.url = \"unix:///run/redis.sock\"",
        "engine.node = \"a.B_9-\"",
        "engine.replicas = 16",
        "engine.linger = \"0s\"",
        "engine.linger = \"1s\"",
        "engine.max_stale = \"0s\"",
        "engine.max_stale = \"1s\"",
        "engine.max_bytes = \"1MiB\"",
        &format!("engine.node = \"{name}\"\nengine.prefix = \"{name}\""),
    ] {
        let config = checked(&format!("{REDIS}\n{toml}"));
        let config = config.unwrap_or_else(|error| panic!("{toml}: {error}"));
        assert_eq!(config.engine.kind, EngineKind::Redis);
    }
}

#[test]
fn the_password_is_that_of_the_file_or_the_url() {
    let password = |toml: &str| {
        let engine = checked(&format!("{REDIS}\n{toml}")).unwrap().engine;
        engine.password().map(|it| it.expose().to_owned())
    };
    assert_eq!(password(""), None);
    let in_url = password("engine.url = \"redis://:hunter2@cache\"");
    assert_eq!(in_url.as_deref(), Some("hunter2"));
    let mut file = tempfile::NamedTempFile::new().unwrap();
    std::io::Write::write_all(&mut file, b"\xef\xbb\xbfhunter2\r\n").unwrap();
    let path = file.path().display();
    let in_file = format!("engine.url = \"redis://me@cache\"\nengine.password_file = \"{path}\"");
    assert_eq!(password(&in_file).as_deref(), Some("hunter2"));

    let config = checked(&in_file).unwrap();
    let shown = format!("{:?}\n{}", config.engine, print(&config));
    assert!(!shown.contains("hunter2"), "{shown}");
    let line = format!("password_file = \"{path}\"\n");
    assert!(shown.contains(&line), "{shown}");
}

#[test]
fn a_password_file_without_a_password_is_rejected() {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    std::io::Write::write_all(&mut file, b" \n").unwrap();
    let path = file.path().display().to_string();
    let error = checked(&format!("engine.password_file = \"{path}\"")).unwrap_err();
    let expected = format!("engine.password_file: `{path}` is empty");
    assert!(error.starts_with(&expected), "{error}");
    // Not UTF-8: the content is not repeated.
    std::io::Write::write_all(&mut file, b"hunter2\xff").unwrap();
    let error = checked(&format!("engine.password_file = \"{path}\"")).unwrap_err();
    let expected = format!("engine.password_file: `{path}` cannot be read");
    assert!(
        error.starts_with(&expected) && !error.contains("hunter2"),
        "{error}"
    );
}

#[test]
fn the_certificate_authority_is_read() {
    let toml = "engine.url = \"rediss://cache\"\nengine.ca = \"{dir}/ca.pem\"";
    let ca = checked(&format!("{REDIS}\n{toml}")).unwrap().engine.ca;
    assert!(
        ca.as_ref()
            .map(InputFile::content)
            .is_some_and(|it| it.starts_with(b"-----BEGIN"))
    );
}

/// Each with the key that the error names, and a part of it.
const CONTRADICTIONS: [(&str, &str, &str); 6] = [
    (
        "history.path = \"{dir}/history\"",
        "history.path",
        "stores the events in Redis",
    ),
    (
        "engine.ca = \"{dir}/ca.pem\"",
        "engine.ca",
        "write rediss://",
    ),
    (
        "engine.url = \"unix:///r.sock\"\nengine.ca = \"{dir}/ca.pem\"",
        "engine.ca",
        "write rediss://",
    ),
    (
        "engine.url = \"redis+sentinel://h/m\"\nengine.ca = \"{dir}/ca.pem\"",
        "engine.ca",
        "write rediss://",
    ),
    (
        "engine.url = \"redis://me:hunter2@cache\"\nengine.password_file = \"{dir}/idlewild.toml\"",
        "engine.password_file",
        "keep one of the two",
    ),
    (
        "engine.url = \"redis://me@cache\"",
        "engine.url",
        "names a user without a password",
    ),
];

#[test]
fn contradictions_are_rejected() {
    for (toml, key, part) in CONTRADICTIONS {
        let error = checked(&format!("{REDIS}\n{toml}")).expect_err(toml);
        assert!(error.starts_with(&format!("{key}: ")), "{toml}: {error}");
        assert!(error.contains(part), "{toml}: {error}");
        assert!(
            !error.contains('\n') && !error.contains("hunter2"),
            "{error:?}"
        );
    }
}

#[test]
fn the_memory_engine_ignores_the_keys_of_redis() {
    for (toml, _, _) in CONTRADICTIONS {
        let config = checked(toml).unwrap_or_else(|error| panic!("{toml}: {error}"));
        assert_eq!(config.engine.kind, EngineKind::Memory);
    }
}

#[test]
fn consequences_of_another_error_are_not_reported() {
    for (toml, key) in [
        (
            "engine.url = \"redis://c:x\"\nengine.ca = \"{dir}/ca.pem\"",
            "engine.url",
        ),
        ("engine.ca = \"/nonexistent\"", "engine.ca"),
        (
            "engine.url = \"redis://me@cache\"\nengine.password_file = \"/nonexistent\"",
            "engine.password_file",
        ),
        ("history.path = \"/nowhere/history\"", "history.path"),
    ] {
        let lines = checked(&format!("{REDIS}\n{toml}")).unwrap_err();
        assert!(lines.starts_with(&format!("{key}: ")), "{toml}: {lines}");
        assert_eq!(lines.lines().count(), 1, "{toml}: {lines}");
    }
}
