//! Runs every scenario once, against the floor or a hub with known faults.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::atomic::{AtomicU32, Ordering};

use serde_json::Value;

use crate::hub::{Faults, Hub, Request, header};
use crate::server::{API_KEY, Server};
use crate::{Transport, load, temp_file};

/// Runs a command line with `--json`. Returns the exit code, the report, and stdout and stderr.
pub(crate) fn run(line: &str) -> (Option<i32>, Value, String) {
    static RUNS: AtomicU32 = AtomicU32::new(0);
    let json = temp_file(&format!(
        "run-{}.json",
        RUNS.fetch_add(1, Ordering::Relaxed)
    ));
    let path = json.display().to_string();
    let output = load(line.split(' ').chain(["--json", path.as_str()]));
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    let report = std::fs::read(&json).unwrap_or_else(|_| panic!("{line}: {said}"));
    std::fs::remove_file(&json).unwrap();
    (
        output.status.code(),
        serde_json::from_slice(&report).unwrap(),
        said,
    )
}

/// The same against a hub, with event streams. Also returns the clients' requests.
fn run_on_hub(faults: Faults, line: &str) -> (Option<i32>, Value, Vec<Request>) {
    run_on_hub_by(Transport::Sse, faults, line)
}

fn run_on_hub_by(
    transport: Transport,
    faults: Faults,
    line: &str,
) -> (Option<i32>, Value, Vec<Request>) {
    let hub = Hub::start(faults);
    let line = format!(
        "{line} --path /s/${{user}} --url {} --admin-url {} --api-key k --transport {}",
        hub.public_url,
        hub.admin_url,
        transport.name()
    );
    let (code, report, _) = run(&line);
    (code, report, hub.requests.try_iter().collect())
}

#[test]
fn hold_measures_memory_and_creates_the_directory_of_its_report() {
    let directory = temp_file("runs");
    let json = directory.join("hold.json");
    let path = json.display().to_string();
    let line = "hold --floor --vs-floor -n 60 --rest 200ms --threads 2 --json";
    let output = load(line.split(' ').chain([path.as_str()]));
    assert!(output.status.success(), "{output:?}");
    let report: Value = serde_json::from_slice(&std::fs::read(&json).unwrap()).unwrap();
    std::fs::remove_dir_all(&directory).unwrap();
    for figures in [&report, &report["floor"]] {
        assert_eq!(figures["connected"], 60);
        assert!(figures["pss_mib"]["full"].as_f64().unwrap() > 0.0);
        assert!(figures["user_bytes_per_connection"].is_f64());
    }
}

#[test]
fn hold_opens_its_warm_up_burst_and_then_its_connections() {
    let line = "hold -n 12 --plateau 4 --warm-up 3 --rest 100ms";
    let (code, report, requests) = run_on_hub(Faults::default(), line);
    assert_eq!((code, requests.len()), (Some(0), 3 + 12), "{report}");
}

#[test]
fn idle_counts_the_heartbeats_of_the_server() {
    let (code, report, _) = run("idle --floor --vs-floor -n 30 --seconds 1");
    assert_eq!(code, Some(0));
    for figures in [&report, &report["floor"]] {
        assert_eq!(
            (&figures["connected"], &figures["heartbeats"]),
            (&30.into(), &0.into())
        );
        assert!(figures["server_cpu_s"].is_f64());
    }
}

#[test]
fn each_unicast_reaches_the_clients_of_one_user() {
    // In the second round, the floor's slots are as the first round has left them.
    let line = "unicast --floor --vs-floor -n 40 --events 100 --rate 1000 --rounds 2";
    let (code, report, _) = run(&format!("{line} --floor-threads 3"));
    assert_eq!(code, Some(0), "{report}");
    for figures in [&report, &report["floor"]] {
        assert_eq!(
            (&figures["received"], &figures["missed"]),
            (&200.into(), &0.into())
        );
    }
    let (code, report, _) = run_on_hub(
        Faults::default(),
        "unicast -n 12 --users 4 --events 20 --rate 500 --rounds 1",
    );
    assert_eq!(code, Some(0));
    assert_eq!(report["expected"], 60, "three connections per user");
}

#[test]
fn an_event_for_another_user_fails_the_run() {
    let talkative = Faults {
        talkative: true,
        ..Faults::default()
    };
    let line = "unicast -n 5 --events 10 --rate 500 --rounds 1";
    Transport::each(|transport| {
        let (code, report, _) = run_on_hub_by(transport, talkative, line);
        assert_eq!(code, Some(1));
        assert_eq!(
            (&report["misdirected"], &report["missed"]),
            (&40.into(), &0.into())
        );
    });
}

#[test]
fn events_that_are_due_share_a_request_and_keep_their_order() {
    let (server, secret) = (Server::start("batch"), Server::secret_file("batch"));
    let line = format!(
        "mixed -n 5 --seconds 1 --broadcast-rate 500 --unicast-rate 500 --batch 50 --url {} --admin-url {} \
         --secret-file {} --api-key {API_KEY}",
        server.public_url(),
        server.admin_url(),
        secret.display()
    );
    let (code, report, _) = run(&line);
    std::fs::remove_file(&secret).unwrap();
    assert_eq!(code, Some(0), "{report}");
    assert_eq!(report["received"], 500 * 5 + 500);
    assert_eq!(server.counter("idlewild_published_total"), 1_000);
    // The two kinds are due at the same times, so there is always a pair.
    assert!(server.counter("idlewild_admin_requests_total") <= 510);
}

#[test]
fn mixed_counts_both_kinds() {
    let line = "mixed -n 10 --seconds 1 --broadcast-rate 5 --unicast-rate 50";
    Transport::each(|transport| {
        let (code, report, _) = run_on_hub_by(transport, Faults::default(), line);
        assert_eq!(code, Some(0));
        assert_eq!(report["expected"], 5 * 10 + 50);
    });
}

#[test]
fn a_storm_is_resumed_where_it_was_cut() {
    let line = "storm -n 20 --events 5 --rate 200";
    Transport::each(|transport| {
        let (code, report, requests) = run_on_hub_by(transport, Faults::default(), line);
        assert_eq!(code, Some(0), "{report}");
        assert_eq!(
            (&report["back"], &report["expected"]),
            (&20.into(), &300.into())
        );
        assert!(report["back_s"].as_f64().unwrap() > 0.0);
        let (first, second) = requests.split_at(20);
        let resumed = |request: &Request| match transport {
            Transport::Sse => header(&request.head, "last-event-id") == Some("4"),
            Transport::Ws => request.head.contains("?last_event_id=4 HTTP/1.1"),
        };
        assert!(!first.iter().any(resumed) && second.iter().all(resumed));
    });
}

#[test]
fn a_storm_against_a_server_without_history_misses_events() {
    let forgetful = Faults {
        forgetful: true,
        ..Faults::default()
    };
    // At this rate, all events are published before the first client has reconnected.
    let line = "storm -n 20 --events 5 --rate 20 --connect-rate 10";
    let without = "storm -n 20 --events 5 --rate 200 --no-replay";
    Transport::each(|transport| {
        let (code, report, _) = run_on_hub_by(transport, forgetful, line);
        assert_eq!(code, Some(1));
        assert!(report["missed"].as_u64().unwrap() > 0, "{report}");
        let (code, report, _) = run_on_hub_by(transport, forgetful, without);
        assert_eq!(code, Some(0));
        assert_eq!(report["expected"], 200);
    });
}

#[test]
fn slow_clients_are_not_expected_to_receive_events() {
    let (code, report, _) = run("slow 20% --floor -n 50 --events 5 --rate 50 --threads 2");
    assert_eq!(code, Some(0));
    assert_eq!(
        (&report["slow_clients"], &report["expected"]),
        (&10.into(), &450.into())
    );
    for without in ["latency_ms_without", "time_to_last_ms_without"] {
        assert!(report[without]["p50"].as_f64().unwrap() > 0.0);
    }
}

#[test]
fn churn_replaces_the_clients_that_leave() {
    let (code, report, _) = run("churn --floor -n 50 --rate 100 --seconds 2 --threads 2");
    assert_eq!(code, Some(0));
    assert_eq!(
        (&report["connected"], &report["failed"]),
        (&50.into(), &0.into())
    );
    assert!(report["churned"].as_u64().unwrap() >= 50, "{report}");
    assert!(report["timeline"].as_array().unwrap().len() >= 2);
}

#[test]
fn tokens_and_source_addresses_can_be_listed() {
    let tokens = temp_file("tokens");
    std::fs::write(&tokens, "aa.b.c anna\ndd.e.f 17\n").unwrap();
    let line = format!(
        "unicast -n 4 --events 10 --rate 500 --rounds 1 --source 127.9.8.7,127.9.8.8 --tokens-file {}",
        tokens.display()
    );
    let (code, report, requests) = run_on_hub(Faults::default(), &line);
    std::fs::remove_file(&tokens).unwrap();
    assert_eq!(code, Some(0), "{report}");
    assert_eq!(report["expected"], 20, "two connections per token");
    let from: BTreeSet<IpAddr> = requests.iter().map(|request| request.from).collect();
    let expected = ["127.9.8.7", "127.9.8.8"].map(|address| address.parse().unwrap());
    assert_eq!(from, expected.into());
    for token in ["aa.b.c", "dd.e.f"] {
        let with = |request: &&Request| request.head.contains(&format!("?token={token} "));
        assert_eq!(requests.iter().filter(with).count(), 2);
    }
}

#[test]
fn the_requests_for_a_peer_follow_its_template() {
    let template = temp_file("peer.toml");
    std::fs::write(
        &template,
        "name = 'other'\nsubscribe = { path = '/feed/${user}', headers = { X-Feed = 'f${number}' } }\n\
         [publish]\npath = '/push?all'\nbody = '{\"data\":${data}}'\nstatus = [202]\n",
    )
    .unwrap();
    let hub = Hub::start(Faults::default());
    let line = |scenario: &str| {
        format!(
            "peer {} {scenario} -n 3 --events 4 --rate 100 --rounds 1 --url {} --admin-url {}",
            template.display(),
            hub.public_url,
            hub.admin_url
        )
    };
    let (code, report, _) = run(&line("broadcast"));
    assert_eq!(code, Some(0), "{report}");
    assert_eq!(
        (&report["subject"], &report["received"]),
        (&"other".into(), &12.into())
    );
    let heads: Vec<String> = hub
        .requests
        .try_iter()
        .map(|request| request.head)
        .collect();
    assert!(heads.iter().any(|head| {
        head.starts_with("GET /feed/2 HTTP/1.1\r\n") && head.contains("X-Feed: f2\r\n")
    }));
    let refused = load(line("unicast").split(' '));
    std::fs::remove_file(&template).unwrap();
    assert_eq!(refused.status.code(), Some(2));
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(said.contains("template does not say"), "{said}");
}

#[test]
fn the_floor_command_serves_until_its_input_ends() {
    let output = load(["floor", "--threads", "2"]);
    assert!(output.status.success());
    let address = String::from_utf8(output.stdout).unwrap();
    assert!(
        address.trim().parse::<std::net::SocketAddr>().is_ok(),
        "{address}"
    );
}
