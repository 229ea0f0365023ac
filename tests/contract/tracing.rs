//! Export of spans to a collector: their contents, sampling, and a collector that is down.

use std::io::Write;

use rustix::process::Signal;
use serde_json::json;

use crate::support::collector::{Collector, Manner, attribute};
use crate::support::process::{Process, config, idlewild};
use crate::support::{API_KEY, Answer, Client, NOTIFICATIONS, SECRET, Stream, eventually, request};

const TRACE_ID: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const PARENT_ID: &str = "00f067aa0ba902b7";
/// OTLP's numbers for a server span and for an error.
const KIND_SERVER: i32 = 2;
const STATUS_ERROR: i32 = 2;

fn collector() -> Collector {
    Collector::start(Manner::Status(200))
}

fn hex(bytes: &[u8]) -> String {
    bytes
        .iter()
        .fold(String::new(), |hex, byte| hex + &format!("{byte:02x}"))
}

fn admin(process: &Process, method: &str, path: &str, traceparent: &str, body: &str) -> Answer {
    let key = format!("Bearer {API_KEY}");
    let mut headers = vec![("Authorization", key.as_str())];
    if !traceparent.is_empty() {
        headers.push(("traceparent", traceparent));
    }
    request(process.admin(), method, path, &headers, body)
}

fn publish(process: &Process, traceparent: &str) {
    let event = json!({"to": {"all": true}, "data": "what is published"}).to_string();
    let answer = admin(process, "POST", "/v1/events", traceparent, &event);
    assert_eq!(answer.status, 202, "{}", answer.body);
}

fn token(user: &str) -> String {
    let env = [("IDLEWILD_AUTH__SECRET", SECRET)];
    let ended = idlewild(&["token", "--user", user], &env, "");
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    ended.stdout.trim().to_owned()
}

/// Ends the server, which sends the remaining spans, and returns its log.
fn end(process: Process) -> String {
    end_with(process, &mut [])
}

/// Ends a server that has these clients, and returns its log.
fn end_with(mut process: Process, clients: &mut [Stream]) -> String {
    process.signal(Signal::TERM);
    let ended = process.wait_with(clients);
    assert_eq!(ended.code(), Some(0), "{}", process.log());
    process.log()
}

fn lines(log: &str, text: &str) -> usize {
    log.lines().filter(|line| line.contains(text)).count()
}

#[test]
fn a_publish_continues_the_publishers_trace() {
    let collector = collector();
    let process = Process::serve(&collector.config());
    publish(&process, &format!("00-{TRACE_ID}-{PARENT_ID}-01"));
    end(process);

    let served = collector.span("POST /v1/events");
    assert_eq!(hex(&served.trace_id), TRACE_ID);
    assert_eq!(hex(&served.parent_span_id), PARENT_ID);
    assert_eq!(served.kind, KIND_SERVER);
    assert!(served.start_time_unix_nano <= served.end_time_unix_nano);
    for (key, value) in [
        ("http.request.method", "POST"),
        ("http.route", "/v1/events"),
        ("url.path", "/v1/events"),
        ("url.scheme", "http"),
        ("http.response.status_code", "202"),
    ] {
        assert_eq!(attribute(&served, key).as_deref(), Some(value), "{key}");
    }
    assert_eq!(served.attributes.len(), 5, "{:?}", served.attributes);

    let published = collector.span("publish");
    assert_eq!(published.parent_span_id, served.span_id);
    assert_eq!(attribute(&published, "idlewild.events").unwrap(), "1");
    let appended = collector.span("append");
    assert_eq!(appended.parent_span_id, published.span_id);
    assert_eq!(hex(&appended.trace_id), TRACE_ID);
    assert_eq!(collector.spans().len(), 3);

    assert_eq!(collector.resource("service.name").unwrap(), "idlewild");
    let version = collector.resource("service.version").unwrap();
    assert_eq!(version, env!("CARGO_PKG_VERSION"));
}

#[test]
fn a_tracestate_is_propagated_unless_it_is_too_long() {
    let collector = collector();
    let process = Process::serve(&collector.config());
    let key = format!("Bearer {API_KEY}");
    let parent = format!("00-{TRACE_ID}-{PARENT_ID}-01");
    for state in ["vendor=1".to_owned(), format!("vendor={}", "1".repeat(600))] {
        let headers = [
            ("Authorization", key.as_str()),
            ("traceparent", parent.as_str()),
            ("tracestate", state.as_str()),
        ];
        request(process.admin(), "GET", "/v1/stats", &headers, "");
    }
    end(process);
    let states: Vec<String> = collector
        .named("GET /v1/stats")
        .into_iter()
        .map(|span| span.trace_state)
        .collect();
    assert_eq!(states, ["vendor=1", ""]);
}

#[test]
fn a_batch_has_a_span_for_each_group_of_lines() {
    let collector = collector();
    let process = Process::serve(&collector.config());
    let line = json!({"to": {"all": true}, "data": 1}).to_string() + "\n";
    let answer = admin(&process, "POST", "/v1/events/batch", "", &line.repeat(300));
    assert_eq!(answer.json()["accepted"], 300);
    end(process);
    let served = collector.span("POST /v1/events/batch");
    assert!(served.parent_span_id.is_empty());
    let groups = collector.named("publish");
    let events: i64 = groups
        .iter()
        .map(|group| attribute(group, "idlewild.events").unwrap())
        .map(|events| events.parse::<i64>().unwrap())
        .sum();
    assert!((2..10).contains(&groups.len()) && events == 300);
    assert!(
        groups
            .iter()
            .all(|group| group.parent_span_id == served.span_id)
    );
}

#[test]
fn spans_contain_routes_but_no_users_secrets_or_data() {
    let collector = collector();
    let process = Process::serve(&collector.config());
    let token = token("user-of-secrets");
    let stream = Client::connect(process.public()).open(&format!("{NOTIFICATIONS}?token={token}"));
    let session = json!({"session_id": "session-of-secrets", "message": "message-of-secrets"});
    let event = json!({"to": {"user": "user-of-secrets"}, "data": "data-of-secrets",
        "id": "id-of-secrets", "event": "name-of-secrets"});
    let user = "/v1/users/user-of-secrets";
    for (method, path, body, status) in [
        (
            "POST",
            "/v1/events?query-of-secrets",
            event.to_string(),
            202,
        ),
        ("POST", "/v1/events", "no JSON of secrets".to_owned(), 400),
        ("GET", user, String::new(), 200),
        ("PUT", &format!("{user}/session"), session.to_string(), 200),
        ("POST", &format!("{user}/logout"), String::new(), 200),
        ("DELETE", &format!("{user}/connections"), String::new(), 200),
        ("GET", "/v1/no-route-of-secrets", String::new(), 404),
        ("SECRETS", "/v1/events", String::new(), 405),
    ] {
        assert_eq!(
            admin(&process, method, path, "", &body).status,
            status,
            "{path}"
        );
    }
    // A client without a key must not add spans to a publisher's trace.
    let wrong = [
        ("Authorization", "Bearer key-of-secrets"),
        (
            "traceparent",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        ),
    ];
    assert_eq!(
        request(process.admin(), "GET", "/v1/stats", &wrong, "").status,
        401
    );
    end_with(process, &mut [stream]);

    let mut names = collector.names();
    names.sort();
    assert_eq!(
        names,
        [
            "DELETE /v1/users/{id}/connections",
            "GET",
            "GET /v1/users/{id}",
            "HTTP /v1/events",
            "POST /v1/events",
            "POST /v1/events",
            "POST /v1/users/{id}/logout",
            "PUT /v1/users/{id}/session",
            "append",
            "append",
            "append",
            "change session",
            "dispatch",
            "dispatch",
            "log out",
            "publish",
        ]
    );
    let other = collector.span("HTTP /v1/events");
    assert_eq!(attribute(&other, "http.request.method").unwrap(), "_OTHER");
    let missing = collector.span("GET");
    assert_eq!(
        attribute(&missing, "http.response.status_code").unwrap(),
        "404"
    );
    assert_eq!(attribute(&missing, "http.route"), None);
    // A client's mistake is not an error of the server.
    let errors = |span: &&_| span_failed(span);
    assert_eq!(collector.spans().iter().filter(errors).count(), 0);
    for secret in ["secrets", "SECRETS", &token, API_KEY, SECRET] {
        assert!(!collector.holds(secret), "{secret}");
    }
}

fn span_failed(span: &opentelemetry_proto::tonic::trace::v1::Span) -> bool {
    span.status
        .as_ref()
        .is_some_and(|status| status.code == STATUS_ERROR)
}

#[test]
fn there_are_no_spans_for_probes_scrapes_clients_and_deliveries() {
    let collector = collector();
    let process = Process::serve(&format!(
        "max_connections_per_user = 50\n{}",
        collector.config()
    ));
    let path = format!("{NOTIFICATIONS}?token={}", token("42"));
    let mut streams: Vec<_> = (0..50)
        .map(|_| Client::connect(process.public()).open(&path))
        .collect();
    for stream in &mut streams {
        assert_eq!(stream.status, 200);
        stream.next().unwrap();
    }
    publish(&process, "");
    for stream in &mut streams {
        assert!(stream.next().unwrap().contains("what is published"));
    }
    drop(streams);
    for path in ["/healthz", "/readyz", "/metrics"] {
        assert_eq!(request(process.admin(), "GET", path, &[], "").status, 200);
    }
    assert_eq!(
        request(process.public(), "GET", "/healthz", &[], "").status,
        200
    );
    end(process);
    assert_eq!(collector.names(), ["append", "publish", "POST /v1/events"]);
}

#[test]
fn a_login_starts_no_trace() {
    let collector = collector();
    let directory = tempfile::tempdir().unwrap();
    let users = directory.path().join("users.toml");
    let users = users.to_str().unwrap();
    let add = ["user", "add", "--file", users, "--email", "ann@example.com"];
    assert_eq!(idlewild(&add, &[], "correct horse\n").code, Some(0));
    let process = Process::serve_config(&format!(
        "{}[login]\nusers_file = \"{users}\"\n",
        config(&collector.config())
    ));
    let body = r#"{"email": "ann@example.com", "password": "correct horse"}"#;
    let login = request(process.public(), "POST", "/api/v1/auth/login/", &[], body);
    assert_eq!(login.status, 200, "{}", login.body);
    end(process);
    assert_eq!(collector.requests(), 0);
}

#[test]
fn a_durable_history_has_spans_for_write_and_flush() {
    let collector = collector();
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("history");
    let process = Process::serve(&format!(
        "history.path = \"{}\"\n{}",
        path.display(),
        collector.config()
    ));
    publish(&process, &format!("00-{TRACE_ID}-{PARENT_ID}-01"));
    eventually("what was written is flushed", || {
        !collector.named("flush").is_empty()
    });
    end(process);
    let committed = collector.span("commit");
    assert_eq!(hex(&committed.trace_id), TRACE_ID);
    assert_eq!(committed.parent_span_id, collector.span("publish").span_id);
    assert_eq!(attribute(&committed, "idlewild.events").unwrap(), "1");
    // The write is shared by several requests, so its span has no parent.
    assert!(collector.span("flush").parent_span_id.is_empty());
}

#[test]
fn the_publisher_decides_about_sampling_and_otherwise_the_ratio() {
    let collector = collector();
    let process = Process::serve(&format!(
        "telemetry.sample_ratio = 0.0\n{}",
        collector.config()
    ));
    publish(&process, "");
    publish(&process, &format!("00-{TRACE_ID}-{PARENT_ID}-00"));
    publish(&process, "nonsense");
    publish(&process, &format!("00-{TRACE_ID}-{PARENT_ID}-01"));
    end(process);
    assert_eq!(collector.spans().len(), 3);
    assert_eq!(hex(&collector.span("publish").trace_id), TRACE_ID);
}

#[test]
fn spans_arrive_where_every_shard_has_its_own_descriptors() {
    let collector = collector();
    let process = Process::serve(&format!(
        "fd_tables = \"per-shard\"\nshards = 2\n{}",
        collector.config()
    ));
    let path = format!("{NOTIFICATIONS}?token={}", token("42"));
    let mut stream = Client::connect(process.public()).open(&path);
    stream.next().unwrap();
    publish(&process, "");
    // While the server runs, without a flush.
    eventually("the spans arrive", || collector.spans().len() == 3);
    publish(&process, "");
    for _ in 0..2 {
        assert!(stream.next().unwrap().contains("what is published"));
    }
    end_with(process, &mut [stream]);
    assert_eq!(collector.spans().len(), 6);
    assert_eq!(collector.connections(), 1, "one connection is kept");
}

#[test]
fn an_unreachable_collector_costs_its_spans_and_one_log_line() {
    // Bound, so that no other program gets the port, but not listening.
    let away = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    let anywhere: std::net::SocketAddr = "127.0.0.1:0".parse().unwrap();
    away.bind(&anywhere.into()).unwrap();
    let address = away.local_addr().unwrap().as_socket().unwrap();
    let log = publish_much(&format!("telemetry.otlp_endpoint = \"http://{address}\"\n"));
    assert_eq!(lines(&log, "cannot export spans"), 1, "{log}");
    assert!(log.contains("Connection refused"), "{log}");
}

#[test]
fn a_collector_that_refuses_costs_its_spans_and_one_log_line() {
    let collector = Collector::start(Manner::Status(500));
    let log = publish_much(&collector.config());
    assert_eq!(lines(&log, "cannot export spans"), 1, "{log}");
    assert!(log.contains("the collector answered 500"), "{log}");
    assert!(collector.requests() > 1);
}

#[test]
fn a_collector_that_never_answers_delays_neither_publishing_nor_the_shutdown() {
    let collector = Collector::start(Manner::Silent);
    let log = publish_much(&collector.config());
    assert!(collector.requests() >= 1);
    assert_eq!(lines(&log, "telemetry: spans were lost"), 1, "{log}");
}

/// Publishes more than the queue of spans can hold, then ends the server.
fn publish_much(telemetry: &str) -> String {
    let process = Process::serve(&format!("log_format = \"json\"\n{telemetry}"));
    let path = format!("{NOTIFICATIONS}?token={}", token("42"));
    let mut stream = Client::connect(process.public()).open(&path);
    stream.next().unwrap();
    let key = format!("Authorization: Bearer {API_KEY}");
    let body = json!({"to": {"all": true}, "data": "what is published"}).to_string();
    let mut client = Client::connect(process.admin());
    client.send(format!(
        "POST /v1/events HTTP/1.1\r\nHost: test\r\n{key}\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    ));
    let mut answers = client.stream();
    for sent in 1..=1_000 {
        assert_eq!(answers.status, 202, "{}", answers.head);
        answers.body();
        if sent == 1_000 {
            break;
        }
        let post = format!(
            "POST /v1/events HTTP/1.1\r\nHost: test\r\n{key}\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        answers.socket.write_all(post.as_bytes()).unwrap();
        assert!(answers.follow());
    }
    for _ in 0..1_000 {
        assert!(stream.next().unwrap().contains("what is published"));
    }
    let log = end_with(process, &mut [stream]);
    let lost: Vec<u64> = log
        .lines()
        .filter_map(|line| {
            serde_json::from_str::<serde_json::Value>(line).unwrap()["lost"].as_u64()
        })
        .collect();
    assert_eq!(lost, [3_000], "{log}");
    log
}

#[test]
fn without_an_endpoint_nothing_is_exported() {
    let collector = collector();
    let endpoint = collector.endpoint();
    // Variables that other programs use have no effect here.
    let env = [("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint.as_str())];
    let process = Process::serve_with(&config(""), &env);
    publish(&process, &format!("00-{TRACE_ID}-{PARENT_ID}-01"));
    end(process);
    assert_eq!(collector.connections(), 0);
}

#[test]
fn the_endpoint_may_come_from_a_variable_and_an_invalid_one_is_refused() {
    let collector = collector();
    let endpoint = collector.endpoint();
    let env = [
        ("IDLEWILD_TELEMETRY__OTLP_ENDPOINT", endpoint.as_str()),
        ("IDLEWILD_TELEMETRY__SERVICE_NAME", "push"),
        ("IDLEWILD_TELEMETRY__SAMPLE_RATIO", "1"),
    ];
    let process = Process::serve_with(&config(""), &env);
    publish(&process, "");
    end(process);
    assert_eq!(collector.resource("service.name").unwrap(), "push");

    let env = [(
        "IDLEWILD_TELEMETRY__OTLP_ENDPOINT",
        "https://collector:4318",
    )];
    let ended = idlewild(&["serve", "--dev", "--listen", "127.0.0.1:0"], &env, "");
    assert_eq!(ended.code, Some(2));
    let refusal = "telemetry.otlp_endpoint: `https://collector:4318` asks for TLS";
    assert!(ended.stderr.contains(refusal), "{}", ended.stderr);
}

#[test]
fn the_log_contains_no_spans_at_any_level() {
    for format in ["text", "json"] {
        let collector = collector();
        let process = Process::serve(&format!(
            "log_level = \"trace\"\nlog_format = \"{format}\"\n{}",
            collector.config()
        ));
        publish(&process, "");
        let log = end(process);
        assert_eq!(collector.spans().len(), 3);
        for piece in ["idlewild::spans", "otel", "http.route", "admin request{"] {
            assert!(!log.contains(piece), "{piece} in {log}");
        }
    }
}

#[test]
fn the_export_does_not_depend_on_the_log_level() {
    let collector = collector();
    let process = Process::serve(&collector.config());
    let quiet = config(&format!("log_level = \"error\"\n{}", collector.config()));
    let quiet = quiet.replace(API_KEY, "another key for tests only");
    std::fs::write(process.config_file(), quiet).unwrap();
    process.signal(Signal::HUP);
    let event = json!({"to": {"all": true}, "data": 1}).to_string();
    let key = [("Authorization", "Bearer another key for tests only")];
    eventually("it is reloaded", || {
        request(process.admin(), "POST", "/v1/events", &key, &event).status == 202
    });
    let log = end(process);
    assert!(!log.contains("drained"), "{log}");
    assert_eq!(collector.named("append").len(), 1);
}
