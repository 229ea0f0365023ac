//! The load generator over TLS: it runs the same scenarios, counts handshakes, and reports TLS errors of a stream.

use std::io::{BufRead, BufReader, Read};
use std::net::TcpListener;

use serde_json::Value;

use crate::hub::{Faults, Hub};
use crate::scenarios::run;
use crate::temp_file;
use crate::terminator::{Terminator, Then};

/// Runs a command line against a hub behind TLS. Returns the exit code and the report.
fn run_by_tls(then: Then, line: &str) -> (Option<i32>, Value) {
    let hub = Hub::start(Faults::default());
    let terminator = Terminator::start(&hub.public_url, then);
    let (code, report, _) = run(&format!(
        "{line} --path /s/${{user}} --url {} --admin-url {} --api-key k",
        terminator.url, hub.admin_url
    ));
    (code, report)
}

fn handshakes(report: &Value) -> [u64; 2] {
    ["handshakes_full", "handshakes_resumed"].map(|kind| report["tls"][kind].as_u64().unwrap())
}

#[test]
fn reconnecting_clients_resume_with_their_tickets() {
    let storm = "storm -n 20 --events 5 --rate 200";
    let (code, report) = run_by_tls(Then::GoOn, storm);
    assert_eq!(code, Some(0), "{report}");
    assert_eq!(
        (
            &report["back"],
            &report["received"],
            &report["tls"]["errors"]
        ),
        (&20.into(), &300.into(), &0.into())
    );
    let [full, resumed] = handshakes(&report);
    assert!(
        full + resumed == 40 && resumed >= 20,
        "{full} and {resumed}"
    );
    let (code, report) = run_by_tls(Then::GoOn, &format!("{storm} --tls-resume off"));
    assert_eq!((code, handshakes(&report)), (Some(0), [40, 0]));
}

#[test]
fn every_scenario_runs_over_tls_and_notes_how_the_floor_works() {
    let scenarios = [
        ("hold -n 40 --rest 200ms", None, 80),
        ("idle -n 20 --seconds 1", None, 20),
        (
            "broadcast -n 20 --events 5 --rate 100 --rounds 2",
            Some(200),
            40,
        ),
        (
            "unicast -n 20 --events 50 --rate 500 --rounds 1",
            Some(50),
            20,
        ),
        (
            "mixed -n 20 --seconds 1 --broadcast-rate 5 --unicast-rate 20",
            Some(120),
            20,
        ),
        ("storm -n 20 --events 5 --rate 100", Some(200), 40),
        ("slow 20% -n 20 --events 5 --rate 100", Some(180), 40),
        ("churn -n 20 --rate 50 --seconds 1", None, 21),
    ];
    std::thread::scope(|scope| {
        for (line, received, least_handshakes) in scenarios {
            scope.spawn(move || {
                let (code, report, _) = run(&format!("{line} --floor --tls --threads 2"));
                assert_eq!(code, Some(0), "{line}: {report}");
                assert_eq!(report["received"].as_u64(), received, "{line}");
                let [full, resumed] = handshakes(&report);
                assert!(
                    full + resumed >= least_handshakes,
                    "{line}: {full}, {resumed}"
                );
                let note = report["notes"][0].as_str().unwrap();
                assert!(note.contains("a whole rustls connection"), "{note}");
            });
        }
    });
}

#[test]
fn the_proxy_header_is_sent_before_tls() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("https://{}", listener.local_addr().unwrap());
    let first = std::thread::spawn(move || {
        let (stream, _) = listener.accept().unwrap();
        let mut reader = BufReader::new(stream);
        let (mut header, mut kind) = (String::new(), [0]);
        reader.read_line(&mut header).unwrap();
        reader.read_exact(&mut kind).unwrap();
        (header, kind)
    });
    let (code, report, _) = run(&format!(
        "idle -n 1 --seconds 1 --proxy-protocol --url {url}"
    ));
    assert_eq!((code, &report["failed"]), (Some(1), &1.into()));
    let (header, kind) = first.join().unwrap();
    assert!(header.starts_with("PROXY TCP4 198.18.0.0 "), "{header}");
    assert_eq!(kind, [22], "a record of a handshake");
}

#[test]
fn the_floor_has_no_tls_and_the_report_notes_it() {
    let line = "broadcast -n 20 --events 5 --rate 100 --rounds 1 --vs-floor --tls-cipher chacha20";
    let (code, report) = run_by_tls(Then::GoOn, line);
    assert_eq!(code, Some(0), "{report}");
    assert!(report["tls"].is_object() && report["floor"]["tls"].is_null());
    assert_eq!(report["floor"]["received"], 100);
    let notes = report["notes"].to_string();
    assert!(notes.contains("the floor has no TLS"), "{notes}");
}

#[test]
fn a_stream_that_ends_without_close_notify_is_a_tls_error() {
    fails_by(Then::Truncate, "tls: ended without close_notify", 5);
}

#[test]
fn an_invalid_record_is_a_tls_error() {
    let reason = "tls: a record that does not open with its key";
    fails_by(Then::Tamper, reason, 5);
}

#[test]
fn a_stream_that_ends_with_close_notify_is_lost_without_a_tls_error() {
    fails_by(Then::Close, "ended without a terminating chunk", 0);
}

/// Five streams that are lost for the same reason.
fn fails_by(then: Then, reason: &str, errors: u64) {
    let (code, report) = run_by_tls(then, "idle -n 5 --seconds 1");
    assert_eq!(code, Some(1), "{report}");
    assert_eq!(report["failures"], serde_json::json!({ reason: 5 }));
    assert_eq!(
        (&report["lost"], &report["tls"]["errors"]),
        (&5.into(), &errors.into())
    );
}

#[test]
fn the_certificate_is_verified_if_a_trusted_one_is_given() {
    let hub = Hub::start(Faults::default());
    let [ours, other] = [(); 2].map(|()| Terminator::start(&hub.public_url, Then::GoOn));
    let idle_at = |url: &str, trusted: Option<&Terminator>| {
        let file = temp_file("ca.pem");
        let option = match trusted {
            Some(terminator) => {
                std::fs::write(&file, &terminator.pem).unwrap();
                format!(" --tls-ca {}", file.display())
            }
            None => String::new(),
        };
        let (code, report, _) = run(&format!("idle -n 5 --seconds 1 --url {url}{option}"));
        (code, report)
    };
    let (code, report) = idle_at(&ours.url, Some(&ours));
    assert_eq!((code, &report["notes"]), (Some(0), &Value::Null));
    let (code, report) = idle_at(&ours.url, Some(&other));
    std::fs::remove_file(temp_file("ca.pem")).unwrap();
    assert_eq!((code, &report["tls"]["errors"]), (Some(1), &5.into()));
    let failures = report["failures"].to_string();
    assert!(
        failures.contains("tls: invalid peer certificate"),
        "{failures}"
    );
    let (code, report) = idle_at(&ours.url, None);
    assert_eq!(code, Some(0));
    let notes = report["notes"].to_string();
    assert!(notes.contains("not verified"), "{notes}");
}
