//! Checks `deploy/` and docs/operations.md against the server.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::time::Duration;

use idlewild::config::{Config, ConfigSources, load};

use crate::support::{SECRET, TestServer, request};

const ALERTS: &str = "deploy/prometheus/alerts.yml";
const GUIDE: &str = "docs/operations.md";
/// Where metrics are named.
const WATCHERS: [&str; 4] = [
    ALERTS,
    "deploy/prometheus/alerts_test.yml",
    "deploy/grafana/idlewild.json",
    GUIDE,
];
/// Labels that Prometheus adds, or that a query makes up.
const NOT_OURS: [&str; 3] = ["job", "instance", "le"];
/// What a drain takes beyond `drain_timeout`: the last streams, and the history.
const AFTER_THE_DRAIN: Duration = Duration::from_secs(4);

#[test]
fn every_metric_that_is_watched_is_on_the_page() {
    let server = TestServer::start();
    let page = request(server.admin, "GET", "/metrics", &[], "").body;
    for file in WATCHERS {
        let text = read(file);
        let named = metrics(&text);
        assert!(named.len() > 5, "{file}: {named:?}");
        for name in named {
            let is_there = page.lines().any(|line| {
                line.starts_with(&format!("# TYPE {name} ")) || metric_of(line) == name
            });
            assert!(is_there, "{file}: the server has no {name}");
        }
        for (name, label, value) in selectors(&text) {
            let mut pair = format!("{label}=\"{value}\"");
            if value.is_empty() {
                pair.pop();
            }
            let is_there = page
                .lines()
                .any(|line| metric_of(line) == name && line.contains(&pair));
            assert!(is_there, "{file}: the server has no {name}{{{pair}}}");
        }
    }
}

#[test]
fn selectors_are_found_in_yaml_and_in_json() {
    let text = r#"sum(rate(idlewild_a_total{job="x", reason=~"slow|stalled"}[5m])) "expr": "idlewild_b{to=\"all\"}""#;
    let found = selectors(text);
    let found: Vec<_> = found
        .iter()
        .map(|(name, label, value)| (name.as_str(), label.as_str(), value.as_str()))
        .collect();
    assert_eq!(
        found,
        [
            ("idlewild_a_total", "reason", "slow"),
            ("idlewild_a_total", "reason", "stalled"),
            ("idlewild_b", "to", "all"),
        ]
    );
}

#[test]
fn every_alert_has_its_heading_and_every_heading_its_alert() {
    let alerts: BTreeSet<String> = values(&read(ALERTS), "- alert:").collect();
    assert!(alerts.len() > 10, "{alerts:?}");
    let headings: BTreeSet<String> = values(&read(GUIDE), "### ")
        .filter(|heading| heading.starts_with("Idlewild"))
        .collect();
    assert_eq!(alerts, headings);
    let anchors: Vec<String> = alerts
        .iter()
        .map(|alert| format!("{GUIDE}#{}", alert.to_lowercase()))
        .collect();
    let runbooks: BTreeSet<String> = values(&read(ALERTS), "runbook:").collect();
    assert_eq!(runbooks, anchors.into_iter().collect());
    let tested: BTreeSet<String> =
        values(&read("deploy/prometheus/alerts_test.yml"), "alertname:").collect();
    assert_eq!(tested, alerts, "alerts without a test that they fire");
}

#[test]
fn what_is_shipped_as_configuration_is_accepted() {
    let package = "deploy/debian/idlewild.toml";
    let config = accepted(&read(package), &[]);
    assert_eq!(
        config.history.path.as_deref(),
        Some(Path::new("/var/lib/idlewild"))
    );

    let map = read("deploy/k8s/configmap.yaml");
    let (_, indented) = map.split_once("idlewild.toml: |\n").unwrap();
    let unindented: Vec<&str> = indented.lines().map(str::trim_start).collect();
    let config = accepted(&unindented.join("\n"), &[]);
    assert_eq!(config.listen[0].to_string(), "0.0.0.0:8000");

    // The image sets no variables, since they would override a mounted file.
    let image = read("deploy/Dockerfile");
    assert!(!image.contains("IDLEWILD_"));
    let command = image.lines().find_map(|line| line.strip_prefix("CMD "));
    let command: Vec<&str> = serde_json::from_str(command.unwrap()).unwrap();
    assert_eq!(
        command,
        [
            "serve",
            "--listen",
            "0.0.0.0:8000",
            "--admin-listen",
            "0.0.0.0:8001"
        ]
    );
    let compose = read("deploy/compose.yaml");
    let compose = compose.lines().filter_map(|line| {
        let line = line.trim();
        line.starts_with("IDLEWILD_")
            .then(|| line.split_once(": "))?
    });
    let variables: Vec<(&str, &str)> = compose.collect();
    assert!(variables.len() > 3, "{variables:?}");
    accepted("", &variables);
}

#[test]
fn the_admin_socket_is_told_from_the_public_ones() {
    let names = |socket| values(&read(socket), "FileDescriptorName=").collect::<Vec<_>>();
    assert_eq!(names("deploy/systemd/idlewild-admin.socket"), ["admin"]);
    assert!(names("deploy/systemd/idlewild.socket").is_empty());
}

#[test]
fn every_supervisor_gives_the_server_time_to_drain() {
    let needed = Config::default().drain_timeout + AFTER_THE_DRAIN;
    for (file, key) in [
        ("deploy/systemd/idlewild.service", "TimeoutStopSec="),
        ("deploy/compose.yaml", "stop_grace_period:"),
        (
            "deploy/k8s/deployment.yaml",
            "terminationGracePeriodSeconds:",
        ),
    ] {
        let given = values(&read(file), key).next().expect(key);
        let given: u64 = given.trim_end_matches('s').parse().unwrap();
        assert!(Duration::from_secs(given) >= needed, "{file}: {key}{given}");
    }
}

#[test]
fn what_the_package_is_made_of_is_there() {
    let manifest: toml::Table = read("Cargo.toml").parse().unwrap();
    let package = &manifest["package"]["metadata"]["deb"];
    let assets = package["assets"].as_array().unwrap();
    for asset in assets {
        let source = asset[0].as_str().unwrap();
        if source.starts_with("target/") {
            continue;
        }
        let (folder, name) = source.rsplit_once('/').unwrap_or((".", source));
        let is_there = match name.split_once('*') {
            Some((start, end)) => fs::read_dir(root().join(folder)).unwrap().any(|entry| {
                let name = entry.unwrap().file_name().into_string().unwrap();
                name.starts_with(start) && name.ends_with(end)
            }),
            None => root().join(source).is_file(),
        };
        assert!(is_there, "Cargo.toml: {source} is missing");
    }
    let scripts = package["maintainer-scripts"].as_str().unwrap();
    assert!(root().join(scripts).join("postinst").is_file());
}

/// Loads a configuration as the server does; a secret's file is put where one is named.
fn accepted(file: &str, variables: &[(&str, &str)]) -> Config {
    let directory = tempfile::tempdir().unwrap();
    let secret = directory.path().join("secret");
    fs::write(&secret, SECRET).unwrap();
    let path = directory.path().join("idlewild.toml");
    fs::write(&path, file).unwrap();
    let mut env: Vec<(String, String)> = variables
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .filter(|(name, _)| name != "IDLEWILD_AUTH__SECRET_FILE")
        .collect();
    env.push((
        "IDLEWILD_AUTH__SECRET_FILE".to_owned(),
        secret.to_str().unwrap().to_owned(),
    ));
    load(&ConfigSources {
        file: Some(path),
        env,
        ..ConfigSources::default()
    })
    .unwrap()
}

/// What stands behind `key` at the start of a line.
fn values<'a>(text: &'a str, key: &'a str) -> impl Iterator<Item = String> + 'a {
    text.lines()
        .filter_map(move |line| line.trim().strip_prefix(key))
        .map(|value| value.trim().trim_matches('"').to_owned())
}

/// The server's metrics that a text names.
fn metrics(text: &str) -> BTreeSet<&str> {
    text.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_'))
        .filter(|word| word.starts_with("idlewild_") || word.starts_with("process_"))
        .collect()
}

/// Each (metric, label, value) that a query selects by; no value where only the label is named.
fn selectors(text: &str) -> Vec<(String, String, String)> {
    // JSON escapes the quotes.
    let text = text.replace("\\\"", "\"");
    let mut found = Vec::new();
    for (start, _) in text.match_indices('{') {
        let before = &text[..start];
        let name_at = before.rfind(|c: char| !(c.is_ascii_alphanumeric() || c == '_'));
        let name = &before[name_at.map_or(0, |at| at + 1)..];
        let Some((inside, _)) = text[start + 1..].split_once('}') else {
            continue;
        };
        if !(name.starts_with("idlewild_") || name.starts_with("process_")) {
            continue;
        }
        for matcher in inside.split(',') {
            // `idlewild_connects_total{transport}` in the guide: any value of it.
            let (label, value) = matcher.split_once('=').unwrap_or((matcher, ""));
            let label = label.trim_end_matches('!').trim();
            if NOT_OURS.contains(&label) {
                continue;
            }
            let alternatives = value.trim_start_matches('~').trim().trim_matches('"');
            found.extend(
                alternatives
                    .split('|')
                    .map(|value| (name.to_owned(), label.to_owned(), value.to_owned())),
            );
        }
    }
    found
}

/// The name in a line of the page.
fn metric_of(line: &str) -> &str {
    line.split(['{', ' ']).next().unwrap_or_default()
}

fn read(file: &str) -> String {
    fs::read_to_string(root().join(file)).unwrap_or_else(|error| panic!("{file}: {error}"))
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}
