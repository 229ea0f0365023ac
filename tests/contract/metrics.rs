//! `GET /metrics`: has every metric of the contract, and each one changes when it should.

use std::time::Duration;

use serde_json::json;

use crate::support::{NOTIFICATIONS, TestServer, request};

#[test]
fn the_page_has_every_metric_of_the_contract_from_the_start() {
    let server = TestServer::start();
    let answer = request(server.admin, "GET", "/metrics", &[], "");
    let page = answer.body;
    let labelled = |name: &str, label: &str, values: &[&str]| -> Vec<String> {
        values
            .iter()
            .map(|value| format!("{name}{{{label}=\"{value}\"}}"))
            .collect()
    };
    let mut series = labelled("idlewild_connections", "transport", &["sse", "test", "ws"]);
    series.extend(labelled(
        "idlewild_connects_total",
        "transport",
        &["sse", "test", "ws"],
    ));
    let reasons = [
        "client_closed",
        "drained",
        "slow",
        "stalled",
        "expired",
        "logged_out",
        "evicted",
        "protocol",
        "resync",
        "error",
    ];
    series.extend(labelled("idlewild_disconnects_total", "reason", &reasons));
    let reasons = ["auth", "limit", "full", "topic", "test", "handshake"];
    series.extend(labelled("idlewild_refused_total", "reason", &reasons));
    series.push(format!(
        "idlewild_build_info{{version=\"{}\",commit=\"{}\"}}",
        env!("CARGO_PKG_VERSION"),
        option_env!("BUILD_COMMIT").unwrap_or("unknown"),
    ));
    series.extend(labelled(
        "idlewild_reloads_total",
        "outcome",
        &["applied", "refused"],
    ));
    series.extend(labelled(
        "idlewild_upgrades_total",
        "outcome",
        &["done", "declined", "failed"],
    ));
    series.extend(labelled(
        "idlewild_last_upgrade_streams",
        "outcome",
        &["moved", "lost"],
    ));
    let verdicts = ["start", "resume", "trimmed", "forked", "new-log"];
    series.extend(labelled(
        "idlewild_engine_resyncs_total",
        "verdict",
        &verdicts,
    ));
    let targets = ["user", "users", "topic", "all"];
    series.extend(labelled("idlewild_published_total", "to", &targets));
    series.extend(
        [
            "idlewild_ready",
            "idlewild_last_upgrade_timestamp_seconds",
            "idlewild_last_upgrade_duration_seconds",
            "idlewild_last_upgrade_pause_seconds",
            "idlewild_draining",
            "idlewild_max_connections",
            "idlewild_users",
            "idlewild_delivered_total",
            "idlewild_heartbeats_total",
            "idlewild_send_errors_total",
            "idlewild_backlog_bytes",
            "idlewild_backlogged_connections",
            "idlewild_handshakes_in_flight",
            "idlewild_jwks_unusable_keys",
            "idlewild_delivery_seconds_sum",
            "idlewild_delivery_seconds_count",
            "idlewild_history_bytes",
            "idlewild_history_events",
            "idlewild_engine_up",
            "idlewild_engine_lag_seconds",
            "idlewild_engine_beat_age_seconds",
            "idlewild_engine_unknown_total",
            "idlewild_limit_local_total",
            "idlewild_nodes",
            "idlewild_clock_offset_seconds",
            "process_cpu_seconds_total",
            "process_resident_memory_bytes",
            "process_virtual_memory_bytes",
            "process_open_fds",
            "process_max_fds",
            "process_start_time_seconds",
        ]
        .map(str::to_owned),
    );
    for name in series {
        let value = page
            .lines()
            .find_map(|line| line.strip_prefix(&name)?.strip_prefix(' '));
        assert!(
            value.is_some_and(|value| value.parse::<f64>().is_ok()),
            "{name} in\n{page}"
        );
    }
}

#[test]
fn the_histogram_has_its_unbounded_bucket_and_only_rises() {
    let server = TestServer::start();
    let mut stream = server.stream("42");
    for n in 0..5 {
        server.publish(&json!({"to": {"user": "42"}, "data": n}));
        stream.next().unwrap();
    }
    server.wait_for_metric("idlewild_delivery_seconds_count", 5.0);
    let unbounded = server.metric("idlewild_delivery_seconds_bucket{le=\"+Inf\"}");
    assert_eq!(unbounded, Some(5.0));
    let page = request(server.admin, "GET", "/metrics", &[], "").body;
    let buckets: Vec<(f64, f64)> = page
        .lines()
        .filter_map(|line| line.strip_prefix("idlewild_delivery_seconds_bucket{le=\""))
        .map(|line| {
            let (bound, count) = line.split_once("\"} ").unwrap();
            (bound.parse().unwrap(), count.parse().unwrap())
        })
        .collect();
    assert!(buckets.len() > 2);
    assert!(
        buckets.is_sorted_by(|a, b| a.0 < b.0 && a.1 <= b.1),
        "{buckets:?}"
    );
}

#[test]
fn streams_and_events_move_their_metrics() {
    let server = TestServer::start();
    let is = |name: &str, value: f64| server.wait_for_metric(name, value);
    is("idlewild_engine_up", 1.0);
    let token = server.token_with("42", None, &["news"]);
    let mut stream = server.stream_of(&token);
    let second = server.stream("42");
    let test = server.open("/api/v1/auth/sse/test/");
    is(&server.series("idlewild_connections"), 2.0);
    is("idlewild_connections{transport=\"test\"}", 1.0);
    is("idlewild_users", 1.0);
    for to in [
        json!({"user": "42"}),
        json!({"users": ["42", "43"]}),
        json!({"topic": "news"}),
        json!({"all": true}),
    ] {
        server.publish(&json!({"to": to, "data": 1}));
        stream.next().unwrap();
    }
    for to in ["user", "users", "topic", "all"] {
        is(&format!("idlewild_published_total{{to=\"{to}\"}}"), 1.0);
    }
    // The first stream got four events; the second got three, without the topic's.
    is("idlewild_delivered_total", 7.0);
    is("idlewild_delivery_seconds_count", 4.0);
    is("idlewild_history_events", 4.0);
    assert!(server.metric("idlewild_history_bytes").unwrap() > 4.0 * 40.0);
    server.advance(Duration::from_secs(31));
    assert!(stream.next().unwrap().contains("heartbeat"));
    is("idlewild_heartbeats_total", 2.0);
    drop((second, test));
    is("idlewild_disconnects_total{reason=\"client_closed\"}", 2.0);
    is(&server.series("idlewild_connections"), 1.0);
    is("idlewild_connections{transport=\"test\"}", 0.0);
    is(&server.series("idlewild_connects_total"), 2.0);
    drop(stream);
    is("idlewild_users", 0.0);
    // Retained events are dropped after their maximum age.
    server.advance(Duration::from_secs(11 * 60));
    is("idlewild_history_events", 0.0);
    is("idlewild_history_bytes", 0.0);
}

#[test]
fn refusals_and_handshakes_move_their_metrics() {
    let server = TestServer::with(|config| config.max_connections_per_user = 1);
    let is = |name: &str, value: f64| server.wait_for_metric(name, value);
    let idle = server.connect();
    is("idlewild_handshakes_in_flight", 1.0);
    drop(idle);
    is("idlewild_handshakes_in_flight", 0.0);
    assert_eq!(server.get(NOTIFICATIONS).status, 401);
    is("idlewild_refused_total{reason=\"auth\"}", 1.0);
    let token = server.token_with("42", None, &["news"]);
    let _stream = server.stream_of(&token);
    assert_eq!(
        server.get(&format!("{NOTIFICATIONS}?token={token}")).status,
        429
    );
    is("idlewild_refused_total{reason=\"limit\"}", 1.0);
    let path = format!("{NOTIFICATIONS}?token={token}&topic=secrets");
    assert_eq!(server.get(&path).status, 403);
    is("idlewild_refused_total{reason=\"topic\"}", 1.0);
    // The last request's connection may still be counted.
    is("idlewild_handshakes_in_flight", 0.0);
    let _late = server.connect();
    is("idlewild_handshakes_in_flight", 1.0);
    server.advance(Duration::from_secs(11));
    is("idlewild_refused_total{reason=\"handshake\"}", 1.0);
    is("idlewild_handshakes_in_flight", 0.0);
}

#[test]
fn a_full_server_counts_refused_streams() {
    let server = TestServer::with(|config| config.max_connections = 1);
    let _stream = server.stream("42");
    let token = server.token("43");
    let answer = server.get(&format!("{NOTIFICATIONS}?token={token}"));
    assert_eq!(answer.status, 503);
    assert!(answer.body.contains("Server full"));
    server.wait_for_metric("idlewild_refused_total{reason=\"full\"}", 1.0);
}

#[test]
fn a_scraper_gets_the_format_it_asks_for() {
    let server = TestServer::start();
    let page = |headers: &[(&str, &str)]| request(server.admin, "GET", "/metrics", headers, "");
    let plain = page(&[]);
    assert_eq!(
        plain.header("content-type"),
        Some("text/plain; version=0.0.4; charset=utf-8")
    );
    assert!(
        plain
            .body
            .contains("# TYPE idlewild_delivered_total counter\n")
    );
    assert!(!plain.body.contains("# EOF"));
    let open = page(&[(
        "Accept",
        "application/openmetrics-text;version=1.0.0,*/*;q=0.1",
    )]);
    assert!(open.body.contains("# TYPE idlewild_delivered counter\n"));
    assert!(open.body.ends_with("# EOF\n"));
}

#[test]
fn answers_of_the_admin_listener_are_counted_by_route_and_status() {
    let server = TestServer::start();
    let count = |route: &str, status: u16| {
        let labels = format!("{{route=\"{route}\",status=\"{status}\"}}");
        server.metric(&format!("idlewild_admin_requests_total{labels}"))
    };
    for user in ["1", "2"] {
        assert_eq!(
            server.admin("GET", &format!("/v1/users/{user}"), "").status,
            200
        );
    }
    server.publish(&json!({"to": {"all": true}, "data": 1}));
    assert_eq!(server.admin("POST", "/v1/events", "{").status, 400);
    assert_eq!(
        request(server.admin, "GET", "/v1/stats", &[], "").status,
        401
    );
    for path in ["/nothing", "/v1/nothing"] {
        assert_eq!(server.admin("GET", path, "").status, 404);
    }
    assert_eq!(count("/v1/users/{id}", 200), Some(2.0));
    assert_eq!(count("/v1/events", 202), Some(1.0));
    assert_eq!(count("/v1/events", 400), Some(1.0));
    assert_eq!(count("/v1/stats", 401), Some(1.0));
    // A path that is not served has no label of its own.
    assert_eq!(count("unknown", 404), Some(2.0));
}
