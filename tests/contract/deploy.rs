//! Checks `deploy/` and docs/operations.md against the server.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::time::Duration;

use idlewild::config::{Config, ConfigSources, EngineKind, load};

use crate::support::process::{Process, config, token_signed_with};
use crate::support::{Client, NOTIFICATIONS, SECRET, TestServer, eventually, request};

const ALERTS: &str = "deploy/prometheus/alerts.yml";
const GUIDE: &str = "docs/operations.md";
/// Files that name metrics.
const WATCHERS: [&str; 4] = [
    ALERTS,
    "deploy/prometheus/alerts_test.yml",
    "deploy/grafana/idlewild.json",
    GUIDE,
];
/// Labels that Prometheus adds or that a query creates.
const NOT_OURS: [&str; 3] = ["job", "instance", "le"];
/// Time that a drain takes after `drain_timeout`, for the last streams and the history.
const AFTER_THE_DRAIN: Duration = Duration::from_secs(4);

#[test]
fn every_metric_that_alerts_and_dashboards_use_exists() {
    let server = TestServer::start();
    let scrape = || request(server.admin, "GET", "/metrics", &[], "").body;
    // An answer is counted after it, so the second scrape shows the first.
    scrape();
    let page = scrape();
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
fn every_alert_has_a_heading_and_every_heading_an_alert() {
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
fn shipped_configuration_files_are_accepted() {
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

    let map = read("deploy/k8s/nodes/configmap.yaml");
    let (_, indented) = map.split_once("idlewild.toml: |\n").unwrap();
    let unindented: Vec<&str> = indented.lines().map(str::trim_start).collect();
    let config = accepted(
        &unindented.join("\n"),
        &[("IDLEWILD_ENGINE__NODE", "pod-1")],
    );
    assert_eq!(config.engine.kind, EngineKind::Redis);
    assert_eq!(config.engine.replicas, 1);

    // The image sets no variables, because they would override a mounted file.
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
    for (file, kind) in [
        ("deploy/compose.yaml", EngineKind::Memory),
        ("deploy/compose-nodes.yaml", EngineKind::Redis),
    ] {
        let compose = read(file);
        let compose = compose.lines().filter_map(|line| {
            let line = line.trim();
            line.starts_with("IDLEWILD_")
                .then(|| line.split_once(": "))?
        });
        let variables: Vec<(&str, &str)> = compose.collect();
        assert!(variables.len() > 3, "{file}: {variables:?}");
        assert_eq!(accepted("", &variables).engine.kind, kind, "{file}");
    }
}

/// The page tells operators which rights are enough, and the script gives them.
#[test]
fn the_rights_of_the_redis_user_are_the_same_in_the_guide_and_in_the_script() {
    let rights = |file: &str| {
        let text = read(file);
        let line = text.lines().find(|line| line.contains("-@all +"));
        let line = line.unwrap_or_else(|| panic!("{file}: no rights"));
        let words = line.split(' ').filter(|word| word.starts_with('+'));
        words.map(str::to_owned).collect::<BTreeSet<_>>()
    };
    let guide = rights("docs/cluster.md");
    assert!(guide.len() > 20, "{guide:?}");
    assert_eq!(guide, rights("deploy/redis/start.sh"));
}

/// Kubernetes sets variables for every Service of the namespace, unless the pod declines them. Ours begin
/// with the prefix of the configuration's variables.
#[test]
fn the_server_starts_with_the_variables_that_kubernetes_sets_for_the_shipped_services() {
    let variables = service_links(&read("deploy/k8s/service.yaml"));
    let names: Vec<&str> = variables.iter().map(|(name, _)| name.as_str()).collect();
    for name in [
        "IDLEWILD_SERVICE_HOST",
        "IDLEWILD_SERVICE_PORT_PUBLIC",
        "IDLEWILD_PORT_80_TCP_ADDR",
        "IDLEWILD_ADMIN_SERVICE_HOST",
        "IDLEWILD_ADMIN_PORT",
        "IDLEWILD_ADMIN_PORT_8001_TCP",
    ] {
        assert!(names.contains(&name), "{name}: {names:?}");
    }
    let env: Vec<(&str, &str)> = variables
        .iter()
        .map(|(name, value)| (name.as_str(), value.as_str()))
        .collect();
    let process = Process::serve_with(&config(""), &env);
    let path = format!("{NOTIFICATIONS}?token={}", token_signed_with(SECRET, "1"));
    assert_eq!(Client::connect(process.public()).open(&path).status, 200);
    eventually("the log has a warning", || {
        process.log().contains("enableServiceLinks")
    });
    // One line for all of them.
    let log = process.log();
    assert_eq!(log.matches("unknown variable").count(), 1, "{log}");

    for file in [
        "deploy/k8s/deployment.yaml",
        "deploy/k8s/nodes/deployment.yaml",
    ] {
        let declines = values(&read(file), "enableServiceLinks:").next();
        assert_eq!(declines.as_deref(), Some("false"), "{file}");
    }
}

#[test]
fn the_admin_socket_has_its_own_name() {
    let names = |socket| values(&read(socket), "FileDescriptorName=").collect::<Vec<_>>();
    assert_eq!(names("deploy/systemd/idlewild-admin.socket"), ["admin"]);
    assert!(names("deploy/systemd/idlewild.socket").is_empty());
}

/// The process that takes over is not the main process yet, and the control socket is in this directory by default.
#[test]
fn the_unit_lets_a_new_process_take_over_and_the_server_make_its_control_socket() {
    let unit = read("deploy/systemd/idlewild.service");
    let set = |key| values(&unit, key).collect::<Vec<_>>();
    assert_eq!(set("NotifyAccess="), ["all"]);
    assert_eq!(set("ReadWritePaths="), ["/run/idlewild"]);
    let created = set("ExecStartPre=+/usr/bin/install -d -o idlewild -g idlewild ");
    assert_eq!(created, ["/run/idlewild"]);
    assert!(read("docs/configuration.md").contains("\"\" = /run/idlewild/control.sock"));
}

#[test]
fn every_stop_timeout_is_long_enough_for_the_drain() {
    let needed = Config::default().drain_timeout + AFTER_THE_DRAIN;
    for (file, key) in [
        ("deploy/systemd/idlewild.service", "TimeoutStopSec="),
        ("deploy/compose.yaml", "stop_grace_period:"),
        ("deploy/compose-nodes.yaml", "stop_grace_period:"),
        (
            "deploy/k8s/nodes/deployment.yaml",
            "terminationGracePeriodSeconds:",
        ),
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
fn every_file_of_the_package_exists() {
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

/// Loads a configuration as the server does. Creates the files of secrets.
fn accepted(file: &str, variables: &[(&str, &str)]) -> Config {
    let directory = tempfile::tempdir().unwrap();
    let secret = directory.path().join("secret");
    fs::write(&secret, SECRET).unwrap();
    let path = directory.path().join("idlewild.toml");
    fs::write(&path, file).unwrap();
    let mut env: Vec<(String, String)> = variables
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .filter(|(name, _)| !name.ends_with("_FILE"))
        .collect();
    let is_redis = file.contains("password_file")
        || variables
            .iter()
            .any(|(name, _)| *name == "IDLEWILD_ENGINE__PASSWORD_FILE");
    let mut files = vec!["IDLEWILD_AUTH__SECRET_FILE"];
    if is_redis {
        files.push("IDLEWILD_ENGINE__PASSWORD_FILE");
    }
    for variable in files {
        env.push((variable.to_owned(), secret.to_str().unwrap().to_owned()));
    }
    load(&ConfigSources {
        file: Some(path),
        env,
        ..ConfigSources::default()
    })
    .unwrap()
}

/// The variables that the kubelet sets for the Services in a file, as `pkg/kubelet/envvars` makes them.
fn service_links(manifests: &str) -> Vec<(String, String)> {
    const HOST: &str = "10.96.0.10";
    let capitals = |name: &str| name.to_uppercase().replace('-', "_");
    let mut variables = Vec::new();
    for service in manifests.split("\n---\n") {
        let name = values(service, "name:")
            .next()
            .expect("a Service has a name");
        let service_name = capitals(&name);
        variables.push((format!("{service_name}_SERVICE_HOST"), HOST.to_owned()));
        let ports: Vec<(String, String)> = values(service, "- {name:")
            .map(|rest| {
                let (name, rest) = rest.split_once(", port: ").expect("a port has a number");
                let (number, _) = rest.split_once(',').unwrap_or((rest, ""));
                (capitals(name), number.to_owned())
            })
            .collect();
        for (nth, (port_name, number)) in ports.iter().enumerate() {
            let url = format!("tcp://{HOST}:{number}");
            if nth == 0 {
                variables.push((format!("{service_name}_SERVICE_PORT"), number.clone()));
                variables.push((format!("{service_name}_PORT"), url.clone()));
            }
            let link = format!("{service_name}_PORT_{number}_TCP");
            variables.extend([
                (
                    format!("{service_name}_SERVICE_PORT_{port_name}"),
                    number.clone(),
                ),
                (link.clone(), url),
                (format!("{link}_PROTO"), "tcp".to_owned()),
                (format!("{link}_PORT"), number.clone()),
                (format!("{link}_ADDR"), HOST.to_owned()),
            ]);
        }
    }
    variables
}

/// The values of lines that begin with `key`.
fn values<'a>(text: &'a str, key: &'a str) -> impl Iterator<Item = String> + 'a {
    text.lines()
        .filter_map(move |line| line.trim().strip_prefix(key))
        .map(|value| value.trim().trim_matches('"').to_owned())
}

/// The server's metrics that a text contains.
fn metrics(text: &str) -> BTreeSet<&str> {
    text.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_'))
        .filter(|word| word.starts_with("idlewild_") || word.starts_with("process_"))
        .collect()
}

/// Each (metric, label, value) that a query selects. The value is empty if only the label is named.
fn selectors(text: &str) -> Vec<(String, String, String)> {
    // In JSON, quotes are escaped.
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
            // `idlewild_connects_total{transport}` in the guide stands for any value.
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

/// The metric's name in a line of the metrics page.
fn metric_of(line: &str) -> &str {
    line.split(['{', ' ']).next().unwrap_or_default()
}

fn read(file: &str) -> String {
    fs::read_to_string(root().join(file)).unwrap_or_else(|error| panic!("{file}: {error}"))
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}
