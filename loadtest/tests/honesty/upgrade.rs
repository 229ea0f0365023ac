//! Upgrades: of a real server, and of one whose reports are made up.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixListener;
use std::path::PathBuf;

use serde_json::{Value, json};

use crate::hub::{Faults, Hub};
use crate::load;
use crate::scenarios::run;
use crate::temp_file;

/// A control socket that expects requests for these programs, and answers each with these lines. The thread ends with
/// the test's process.
fn control(name: &str, binaries: [Option<&'static str>; 2], answer: &'static str) -> PathBuf {
    let path = temp_file(&format!("{name}.sock"));
    let listener = UnixListener::bind(&path).unwrap();
    let mut expected = binaries.into_iter();
    std::thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let mut request = String::new();
            BufReader::new(&stream).read_line(&mut request).unwrap();
            let request: Value = serde_json::from_str(&request).unwrap();
            assert_eq!(
                request,
                json!({ "command": "upgrade", "binary": expected.next().unwrap() })
            );
            (&stream).write_all(answer.as_bytes()).unwrap();
        }
    });
    path
}

fn line(hub: &Hub, control: &std::path::Path) -> String {
    format!(
        "upgrade -n 5 --rounds 2 --every 100ms --broadcast-rate 20 --unicast-rate 50 --path /s/${{user}} \
         --url {} --admin-url {} --api-key k --control {}",
        hub.public_url,
        hub.admin_url,
        control.display()
    )
}

/// Each third of the clients uses another transport. One client reads nothing, and its stream moves, too.
#[test]
fn a_real_server_moves_all_streams_and_loses_nothing() {
    let line = "upgrade -n 90 --spawn --mix --slow 2% --rounds 2 --every 300ms --broadcast-rate 10 \
                --unicast-rate 50 --threads 2 --set shards=2";
    let (code, report, said) = run(line);
    assert_eq!(code, Some(0), "{report} {said}");
    let number = |key: &str| report[key].as_u64().unwrap();
    assert_eq!((number("upgrades"), number("streams_moved")), (2, 180));
    assert_eq!((number("missed"), number("lost")), (0, 0));
    assert_eq!(number("received"), number("expected"));
    assert!(report["publish_ms"]["max"].as_f64().unwrap() > 0.0);
    let handshakes = &report["tls"];
    assert_eq!(
        handshakes["handshakes_full"].as_u64().unwrap()
            + handshakes["handshakes_resumed"].as_u64().unwrap(),
        30
    );
    assert_eq!(report.get("nodes"), None, "it is one server");
}

#[test]
fn a_stream_that_the_server_could_not_move_fails_the_run() {
    let hub = Hub::start(Faults::default());
    let control = control(
        "unmoved",
        [Some("/a"), Some("/b")],
        "{\"progress\":\"ready\"}\n{\"done\":{\"pid\":1,\"version\":\"1\",\"connections\":4,\"lost\":1,\"took_ms\":7,\"longest_pause_ms\":3}}\n",
    );
    let line = line(&hub, &control) + " --binary /a --binary /b";
    let (code, report, _) = run(&line);
    assert_eq!(code, Some(1));
    let reported = [
        "streams_moved",
        "streams_not_moved",
        "upgrade_ms_max",
        "pause_ms_max",
    ];
    assert_eq!(
        reported.map(|key| report[key].as_u64().unwrap()),
        [8, 2, 7, 3]
    );
    assert_eq!(report["problems"], Value::from(vec!["2 streams not moved"]));
}

#[test]
fn an_upgrade_that_the_server_declines_ends_the_run_with_its_reason() {
    let hub = Hub::start(Faults::default());
    let control = control(
        "declined",
        [None, None],
        "{\"error\":\"the new process declined\"}\n",
    );
    let output = load(line(&hub, &control).split(' '));
    assert_eq!(output.status.code(), Some(2));
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(
        said.contains("upgrade 1: ") && said.contains("the new process declined"),
        "{said}"
    );
}
