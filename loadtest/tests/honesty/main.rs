//! The harness against servers whose faults are known: what it says of them must be so.
//!
//! Each test runs the built program; the faulty server is a few threads here.

mod hub;
mod scenarios;
mod secure;
mod terminator;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Command, Output};
use std::sync::mpsc::{Receiver, Sender, channel};

use serde_json::Value;

#[test]
fn the_floor_beside_itself_loses_nothing() {
    let json = temp_file("floor.json");
    let path = json.display().to_string();
    let line =
        "broadcast --floor --vs-floor -n 60 --events 5 --rate 50 --rounds 1 --threads 2 --json";
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
}

#[test]
fn an_honest_server_passes() {
    let (output, report) = broadcast_to(<[String]>::to_vec);
    assert!(output.status.success(), "{output:?}");
    assert_eq!(
        (&report["received"], &report["failed"]),
        (&40.into(), &0.into())
    );
}

#[test]
fn a_lost_event_fails_the_run() {
    let (output, report) = broadcast_to(|frames| frames[..frames.len() - 1].to_vec());
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(
        (
            &report["missed"],
            &report["duplicates"],
            &report["out_of_order"]
        ),
        (&1.into(), &0.into(), &0.into())
    );
}

#[test]
fn a_doubled_event_fails_the_run() {
    let (output, report) =
        broadcast_to(|frames| frames.iter().chain(frames.last()).cloned().collect());
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(
        (
            &report["missed"],
            &report["duplicates"],
            &report["out_of_order"]
        ),
        (&0.into(), &1.into(), &0.into())
    );
}

#[test]
fn events_out_of_order_fail_the_run() {
    let (output, report) = broadcast_to(|frames| frames.iter().rev().cloned().collect());
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(
        (
            &report["missed"],
            &report["duplicates"],
            &report["out_of_order"]
        ),
        (&0.into(), &0.into(), &3.into())
    );
}

#[test]
fn what_cannot_be_run_is_said_in_one_line() {
    for (line, reason) in [
        ("hold -n 10 --url http://192.0.2.1:80", "--allow-remote"),
        ("hold -n 10", "--spawn, --floor, --url"),
        ("hold -n 10 --tls --url http://127.0.0.1:1", "say https://"),
        ("hold -n 10 --tls-cipher aes128 --floor", "add --tls"),
        (
            "idle -n 10 --url https://127.0.0.1:1 --admin-url https://127.0.0.1:2",
            "without TLS",
        ),
        (
            "idle -n 10 --url https://127.0.0.1:1 --tls-ca /dev/null",
            "no certificate in it",
        ),
        ("hold -n 10 --plateau 10 --floor", "must be below"),
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
fn more_than_a_threads_table_holds_is_refused() {
    let program = env!("CARGO_BIN_EXE_idlewild-load");
    let line = format!("ulimit -n 256 && exec {program} hold -n 1000 --threads 2 --floor");
    let output = Command::new("sh").args(["-c", &line]).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(
        said.contains("564 descriptors a thread, the limit is 256"),
        "{said}"
    );
}

const CLIENTS: usize = 10;
const EVENTS: usize = 4;

/// Broadcasts four events to ten clients of a server that gives the first of them what `fault` makes of
/// the four frames, and each other client the frames as they are.
fn broadcast_to(fault: fn(&[String]) -> Vec<String>) -> (Output, Value) {
    let public = TcpListener::bind("127.0.0.1:0").unwrap();
    let admin = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = |listener: &TcpListener| format!("http://{}", listener.local_addr().unwrap());
    let (public_url, admin_url) = (url(&public), url(&admin));
    let (frames, published) = channel();
    std::thread::spawn(move || serve(&public, &published, fault));
    std::thread::spawn(move || publish(&admin, &frames));
    let json = temp_file(&format!("{}.json", public_url.rsplit(':').next().unwrap()));
    let line = format!(
        "broadcast -n {CLIENTS} --events {EVENTS} --rate 100 --rounds 1 --threads 1 --url {public_url} --api-key k \
         --admin-url {admin_url} --json {}",
        json.display()
    );
    let output = load(line.split(' '));
    let report = serde_json::from_slice(&std::fs::read(&json).unwrap()).unwrap();
    std::fs::remove_file(&json).unwrap();
    (output, report)
}

/// Answers the clients, waits for all events, then sends each client its own.
fn serve(
    listener: &TcpListener,
    published: &Receiver<String>,
    fault: fn(&[String]) -> Vec<String>,
) {
    let mut clients: Vec<TcpStream> = (0..CLIENTS).map(|_| listener.accept().unwrap().0).collect();
    for client in &mut clients {
        read_head(client);
        client
            .write_all(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\nretry: 2000\n\n")
            .unwrap();
    }
    let frames: Vec<String> = (0..EVENTS).map(|_| published.recv().unwrap()).collect();
    for (index, client) in clients.iter_mut().enumerate() {
        let sent = if index == 0 {
            fault(&frames)
        } else {
            frames.clone()
        };
        client.write_all(sent.concat().as_bytes()).unwrap();
    }
    // Held until the load cuts them.
    for client in &mut clients {
        let _ = client.read(&mut [0]);
    }
}

/// Takes publishes on one keep-alive connection and passes each on as a frame.
fn publish(listener: &TcpListener, frames: &Sender<String>) {
    let (mut stream, _) = listener.accept().unwrap();
    for _ in 0..EVENTS {
        let length = read_head(&mut stream);
        let mut body = vec![0; length];
        stream.read_exact(&mut body).unwrap();
        let body: Value = serde_json::from_slice(&body).unwrap();
        assert_eq!(body["to"], serde_json::json!({"all": true}));
        frames
            .send(format!("event: message\r\ndata: {}\r\n\r\n", body["data"]))
            .unwrap();
        stream
            .write_all(b"HTTP/1.1 202 Accepted\r\nContent-Length: 2\r\n\r\n{}")
            .unwrap();
    }
}

/// Reads a request's head byte by byte, so that nothing after it is taken; returns its content length.
fn read_head(stream: &mut TcpStream) -> usize {
    let mut reader = BufReader::with_capacity(1, stream);
    let mut length = 0;
    loop {
        let mut line = String::new();
        assert!(
            reader.read_line(&mut line).unwrap() > 0,
            "the request ended within its head"
        );
        if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
            length = value.trim().parse().unwrap();
        }
        if line == "\r\n" {
            return length;
        }
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
