//! Clients of the admin listener that end their side of the connection behind their request.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use tempfile::TempDir;

use crate::support::{API_KEY, PATIENCE, TestServer, eventually};

/// A server with both kinds of admin listener, whose application's log is on disk, so that
/// answers take a moment.
struct Both {
    server: TestServer,
    directory: TempDir,
}

impl Both {
    fn start() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let server = TestServer::with(|config| {
            let socket = format!("unix:{}/admin.sock", directory.path().display());
            config.admin_listen.push(socket.parse().unwrap());
            config.history.path = Some(directory.path().join("history"));
        });
        Self { server, directory }
    }

    /// What comes back for this, over each kind.
    fn answers(&self, requests: &str) -> [String; 2] {
        [
            Self::answer(self.tcp(), requests),
            Self::answer(self.unix(), requests),
        ]
    }

    fn tcp(&self) -> HalfClosed<TcpStream> {
        let address: SocketAddr = self.server.admin;
        let socket = TcpStream::connect(address).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        HalfClosed(socket, |socket| socket.shutdown(Shutdown::Write).unwrap())
    }

    fn unix(&self) -> HalfClosed<UnixStream> {
        let socket = UnixStream::connect(self.directory.path().join("admin.sock")).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        HalfClosed(socket, |socket| socket.shutdown(Shutdown::Write).unwrap())
    }

    fn answer<S: Read + Write>(client: HalfClosed<S>, requests: &str) -> String {
        let mut socket = client.send(requests);
        let mut answer = String::new();
        socket.read_to_string(&mut answer).unwrap();
        answer
    }
}

struct HalfClosed<S>(S, fn(&S));

impl<S: Write> HalfClosed<S> {
    /// The socket once all is sent and its end with it.
    fn send(mut self, requests: &str) -> S {
        self.0.write_all(requests.as_bytes()).unwrap();
        (self.1)(&self.0);
        self.0
    }
}

fn with_key(request: &str, body: &str) -> String {
    format!(
        "{request} HTTP/1.1\r\nHost: t\r\nAuthorization: Bearer {API_KEY}\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
}

#[test]
fn they_get_their_answer_from_every_route() {
    let both = Both::start();
    let event = r#"{"to":{"all":true},"data":1}"#;
    for (request, status) in [
        (with_key("GET /healthz", ""), 200),
        (with_key("GET /metrics", ""), 200),
        (with_key("GET /openapi.json", ""), 200),
        (with_key("GET /v1/stats", ""), 200),
        (with_key("POST /v1/events", event), 202),
        (with_key("POST /v1/events/batch", event), 202),
        (
            with_key("PUT /v1/users/42/session", r#"{"session_id":"a"}"#),
            200,
        ),
        (with_key("POST /v1/users/42/logout", ""), 200),
        (with_key("GET /v1/nowhere", ""), 404),
    ] {
        for answer in both.answers(&request) {
            let line = format!("HTTP/1.1 {status} ");
            assert!(answer.starts_with(&line), "{request}: {answer}");
        }
    }
}

#[test]
fn they_get_every_answer_to_requests_sent_together() {
    let both = Both::start();
    let event = with_key("POST /v1/events", r#"{"to":{"all":true},"data":1}"#);
    for answer in both.answers(&event.repeat(5)) {
        assert_eq!(answer.matches("HTTP/1.1 202 ").count(), 5, "{answer}");
    }
}

#[test]
fn they_get_an_answer_that_takes_its_time() {
    let both = Both::start();
    let wrong = "GET /v1/stats HTTP/1.1\r\nHost: t\r\nAuthorization: Bearer no such key\r\nConnection: close\r\n\r\n";
    for _ in 0..20 {
        assert!(Both::answer(both.tcp(), wrong).starts_with("HTTP/1.1 401 "));
    }
    // From now on wrong keys wait, and the clock stands still.
    let mut socket = both.tcp().send(wrong);
    let answer = std::thread::spawn(move || {
        let mut answer = String::new();
        socket.read_to_string(&mut answer).unwrap();
        answer
    });
    eventually("it is answered", || {
        both.server.advance(Duration::from_millis(100));
        answer.is_finished()
    });
    let answer = answer.join().unwrap();
    assert!(answer.starts_with("HTTP/1.1 401 "), "{answer}");
}

#[test]
fn one_that_ends_before_its_body_is_told_so() {
    let both = Both::start();
    for path in ["/v1/events", "/v1/events/batch"] {
        let head = with_key(&format!("POST {path}"), "1234").replace("1234", "{");
        for answer in both.answers(&head) {
            assert!(answer.starts_with("HTTP/1.1 400 "), "{path}: {answer}");
            assert!(answer.contains("cut off"), "{path}: {answer}");
        }
    }
}

#[test]
fn under_the_live_stream_an_end_means_that_the_client_has_gone() {
    let both = Both::start();
    let live = with_key("GET /v1/stats/live", "");
    // Input before the end does not matter.
    let with_more = format!("{live}{}", "x".repeat(200_000));
    // The clock stands still: no event is written that could fail.
    for answer in [both.answers(&live), both.answers(&with_more)].concat() {
        assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
        assert!(answer.contains("event: history\n"), "{answer}");
    }
}
