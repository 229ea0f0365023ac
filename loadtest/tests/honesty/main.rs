//! Runs the load generator against servers with known faults: it must report exactly these.
//!
//! Each test runs the built program. The faulty server is a few threads of the test.

mod hub;
mod late;
mod nodes;
mod publish;
mod scenarios;
mod secure;
mod server;
mod socket;
mod terminator;
mod upgrade;
mod websocket;

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Command, Output};
use std::sync::mpsc::{Receiver, Sender, channel};

use serde_json::Value;

use hub::{header, read_head};

/// The transport of a test's clients.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Transport {
    Sse,
    Ws,
}

impl Transport {
    const BOTH: [Self; 2] = [Self::Sse, Self::Ws];

    /// Runs `act` with both at the same time.
    fn each(act: impl Fn(Self) + Sync) {
        std::thread::scope(|scope| {
            let act = &act;
            for transport in Self::BOTH {
                scope.spawn(move || act(transport));
            }
        });
    }

    /// The value on the command line.
    fn name(self) -> &'static str {
        match self {
            Self::Sse => "sse",
            Self::Ws => "ws",
        }
    }
}

#[test]
fn the_floor_compared_with_itself_loses_nothing() {
    Transport::each(|transport| {
        let transport = transport.name();
        let json = temp_file(&format!("floor-{transport}.json"));
        let path = json.display().to_string();
        let line = format!(
            "broadcast --floor --vs-floor -n 60 --events 5 --rate 50 --rounds 1 --threads 2 \
             --transport {transport} --json"
        );
        let output = load(line.split(' ').chain([path.as_str()]));
        assert!(output.status.success(), "{output:?}");
        let report: Value = serde_json::from_slice(&std::fs::read(&json).unwrap()).unwrap();
        std::fs::remove_file(&json).unwrap();
        for figures in [&report, &report["floor"]] {
            assert_eq!(
                (
                    &figures["connected"],
                    &figures["received"],
                    &figures["expected"]
                ),
                (&60.into(), &300.into(), &300.into())
            );
        }
        assert!(report["ratio"]["time_to_last_ms.p50"].as_f64().unwrap() > 0.0);
    });
}

#[test]
fn an_honest_server_passes() {
    Transport::each(|transport| {
        let (output, report) = broadcast_to(transport, <[String]>::to_vec);
        assert!(output.status.success(), "{output:?}");
        assert_eq!(
            (&report["received"], &report["failed"]),
            (&40.into(), &0.into())
        );
    });
}

#[test]
fn a_lost_event_fails_the_run() {
    fails_with(|events| events[..events.len() - 1].to_vec(), [1, 0, 0]);
}

#[test]
fn a_duplicate_event_fails_the_run() {
    fails_with(
        |events| events.iter().chain(events.last()).cloned().collect(),
        [0, 1, 0],
    );
}

#[test]
fn events_out_of_order_fail_the_run() {
    fails_with(|events| events.iter().rev().cloned().collect(), [0, 0, 3]);
}

/// With each transport, the fault fails the run with these counts of missed, duplicate and out-of-order events.
fn fails_with(fault: fn(&[String]) -> Vec<String>, counts: [u64; 3]) {
    Transport::each(|transport| {
        let (output, report) = broadcast_to(transport, fault);
        assert_eq!(output.status.code(), Some(1));
        let counted = ["missed", "duplicates", "out_of_order"].map(|key| report[key].as_u64());
        assert_eq!(counted, counts.map(Some), "{transport:?}");
    });
}

#[test]
fn time_in_the_server_counts_as_latency() {
    Transport::each(|transport| {
        let (_, report) = broadcast_to(transport, <[String]>::to_vec);
        // The server sends all events after the last was published, so the first is late by this much. Figures have
        // three digits.
        let held_ms = 1_000 / RATE * (EVENTS - 1);
        let most_ms = report["latency_ms"]["max"].as_f64().unwrap();
        assert!(
            most_ms >= f64::from(u32::try_from(held_ms).unwrap()) * 0.999,
            "{report}"
        );
    });
}

#[test]
fn a_command_line_that_cannot_run_is_an_error_of_one_line() {
    for (line, reason) in [
        ("hold -n 10 --url http://192.0.2.1:80", "--allow-remote"),
        ("hold -n 10", "--spawn, --floor, --url"),
        ("hold -n 10 --tls --url http://127.0.0.1:1", "use https://"),
        ("hold -n 10 --tls-cipher aes128 --floor", "add --tls"),
        (
            "idle -n 10 --url https://127.0.0.1:1 --admin-url https://127.0.0.1:2",
            "without TLS",
        ),
        (
            "idle -n 10 --url https://127.0.0.1:1 --tls-ca /dev/null",
            "contains no certificate",
        ),
        ("hold -n 10 --plateau 10 --floor", "must be below"),
        ("upgrade -n 10 --floor", "the floor cannot be upgraded"),
        ("publish -n 10 --floor", "the floor has no admin listener"),
        (
            "publish -n 10 --rate 100000 --seconds 3600 --url http://127.0.0.1:1 --admin-url http://127.0.0.1:2",
            "360000000 events, at most 10000000",
        ),
        (
            "upgrade -n 10 --url http://127.0.0.1:1",
            "control socket with --control",
        ),
        (
            "peer nchan idle -n 10 --batch 2 --url http://127.0.0.1:1",
            "template of nchan has no [batch]",
        ),
        (
            "idle -n 10 --url http://127.0.0.1:1 --url http://127.0.0.1:1",
            "given twice",
        ),
        (
            "idle -n 10 --url http://127.0.0.1:1 --url https://127.0.0.1:2",
            "use the same for all",
        ),
        (
            "idle -n 10 --url http://127.0.0.1:1 --url http://127.0.0.1:2 --server-pid 1",
            "process of each --url",
        ),
        (
            "idle -n 10 --spawn --server-bin /nonexistent",
            "--server-bin",
        ),
    ] {
        let output = load(line.split(' '));
        assert_eq!(output.status.code(), Some(2), "{line}");
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(
            said.contains(reason) && said.trim_end().lines().count() == 1,
            "{line}: {said}"
        );
    }
}

#[test]
fn more_connections_than_a_threads_table_allows_are_refused() {
    let program = env!("CARGO_BIN_EXE_idlewild-load");
    let line = format!("ulimit -n 256 && exec {program} hold -n 1000 --threads 2 --floor");
    let output = Command::new("sh").args(["-c", &line]).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(
        said.contains("564 descriptors per thread, but the limit is 256"),
        "{said}"
    );
}

const CLIENTS: usize = 10;
const EVENTS: usize = 4;
/// Events per second.
const RATE: usize = 100;

/// Broadcasts four events to ten clients of a server. The first client gets them as `fault` changes them, and the
/// others get them unchanged.
fn broadcast_to(transport: Transport, fault: fn(&[String]) -> Vec<String>) -> (Output, Value) {
    let public = TcpListener::bind("127.0.0.1:0").unwrap();
    let admin = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = |listener: &TcpListener| format!("http://{}", listener.local_addr().unwrap());
    let (public_url, admin_url) = (url(&public), url(&admin));
    let (events, published) = channel();
    std::thread::spawn(move || serve(transport, &public, &published, fault));
    std::thread::spawn(move || publish(&admin, &events));
    let json = temp_file(&format!("{}.json", public_url.rsplit(':').next().unwrap()));
    let line = format!(
        "broadcast -n {CLIENTS} --events {EVENTS} --rate {RATE} --rounds 1 --threads 1 --url {public_url} \
         --api-key k --admin-url {admin_url} --transport {} --json {}",
        transport.name(),
        json.display()
    );
    let output = load(line.split(' '));
    let report = serde_json::from_slice(&std::fs::read(&json).unwrap()).unwrap();
    std::fs::remove_file(&json).unwrap();
    (output, report)
}

/// Answers the clients, waits for all events, then sends each client its events.
fn serve(
    transport: Transport,
    listener: &TcpListener,
    published: &Receiver<String>,
    fault: fn(&[String]) -> Vec<String>,
) {
    let mut clients: Vec<TcpStream> = (0..CLIENTS).map(|_| listener.accept().unwrap().0).collect();
    for client in &mut clients {
        let request = read_head(client);
        match transport {
            Transport::Sse => client
                .write_all(
                    b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\nretry: 2000\n\n",
                )
                .unwrap(),
            Transport::Ws => drop(socket::accept(client.try_clone().unwrap(), &request)),
        }
    }
    let events: Vec<String> = (0..EVENTS).map(|_| published.recv().unwrap()).collect();
    for (index, client) in clients.iter_mut().enumerate() {
        let sent = if index == 0 {
            fault(&events)
        } else {
            events.clone()
        };
        let frames = sent.iter().map(|data| match transport {
            Transport::Sse => format!("event: message\r\ndata: {data}\r\n\r\n").into_bytes(),
            Transport::Ws => socket::text_frame(socket::event("1", data).as_bytes(), true, true),
        });
        client
            .write_all(&frames.collect::<Vec<_>>().concat())
            .unwrap();
    }
    // Open until the load generator closes them.
    for client in &mut clients {
        let _ = client.read(&mut [0]);
    }
}

/// Accepts publish requests on one keep-alive connection, and passes on the data of each.
fn publish(listener: &TcpListener, events: &Sender<String>) {
    let (mut stream, _) = listener.accept().unwrap();
    for _ in 0..EVENTS {
        let head = read_head(&mut stream);
        let length = header(&head, "content-length").unwrap().parse().unwrap();
        let mut body = vec![0; length];
        stream.read_exact(&mut body).unwrap();
        let body: Value = serde_json::from_slice(&body).unwrap();
        assert_eq!(body["to"], serde_json::json!({"all": true}));
        events.send(body["data"].to_string()).unwrap();
        stream
            .write_all(b"HTTP/1.1 202 Accepted\r\nContent-Length: 2\r\n\r\n{}")
            .unwrap();
    }
}

pub(crate) fn load<'a>(arguments: impl IntoIterator<Item = &'a str>) -> Output {
    Command::new(env!("CARGO_BIN_EXE_idlewild-load"))
        .env_remove("IDLEWILD_LOAD_API_KEY")
        .args(arguments)
        .output()
        .unwrap()
}

pub(crate) fn temp_file(name: &str) -> std::path::PathBuf {
    std::env::temp_dir().join(format!("idlewild-load-test-{}-{name}", std::process::id()))
}
