//! The admin listener under load and with slow clients: health checks are answered, responses arrive,
//! and no client occupies a place forever.

use std::fs;
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::thread;
use std::time::Duration;

use serde_json::json;

use crate::support::process::{Process, idlewild};
use crate::support::{API_KEY, Client, PATIENCE, TestServer, eventually, request};

const LIMIT: usize = 16;

fn limited() -> TestServer {
    TestServer::with(|config| {
        config.admin_max_connections = LIMIT;
        config.admin_listen = vec!["127.0.0.1:0".parse().unwrap(); 3];
    })
}

fn admin_addresses(server: &TestServer) -> Vec<SocketAddr> {
    let endpoints = server.server.as_ref().unwrap().admin_endpoints();
    endpoints
        .iter()
        .map(|endpoint| endpoint.to_string().parse().unwrap())
        .collect()
}

fn connect(address: SocketAddr) -> TcpStream {
    let socket = TcpStream::connect(address).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    socket
}

/// An open connection that has had a response, so that the server knows it.
fn kept(address: SocketAddr) -> Client {
    let mut client = Client::connect(address);
    ask(&mut client);
    client
}

/// Sends a request on a connection that stays open.
fn ask(client: &mut Client) {
    client.send("GET /healthz HTTP/1.1\r\nHost: test\r\n\r\n");
    let mut answer = Vec::new();
    let mut buffer = [0; 1_024];
    while !answer.ends_with(b"ok\n") {
        let read = client.socket.read(&mut buffer).unwrap();
        assert!(read > 0, "closed");
        answer.extend_from_slice(&buffer[..read]);
    }
}

/// Returns true if the server has closed it by now.
pub fn is_closed(socket: &TcpStream) -> bool {
    socket.set_nonblocking(true).unwrap();
    let peeked = socket.peek(&mut [0]);
    socket.set_nonblocking(false).unwrap();
    match peeked {
        Ok(read) => read == 0,
        Err(error) => error.kind() != std::io::ErrorKind::WouldBlock,
    }
}

#[test]
fn health_readiness_and_metrics_respond_when_all_places_are_taken() {
    let server = limited();
    let addresses = admin_addresses(&server);
    let mut held: Vec<TcpStream> = Vec::new();
    for number in 0..4 * LIMIT {
        let mut socket = connect(addresses[number % 3]);
        if number % 2 == 0 {
            // A body that never arrives does not protect a connection either.
            let key = format!("Authorization: Bearer {API_KEY}");
            let head = format!(
                "POST /v1/events HTTP/1.1\r\nHost: t\r\n{key}\r\nContent-Length: 9\r\n\r\n{{"
            );
            socket.write_all(head.as_bytes()).unwrap();
        }
        held.push(socket);
    }
    // A connection that is not accepted yet would take the place of an earlier one, perhaps of a request below.
    eventually("all listeners share the limit", || {
        held.iter().filter(|socket| !is_closed(socket)).count() <= LIMIT
    });
    for address in addresses {
        for path in ["/healthz", "/readyz", "/metrics"] {
            assert_eq!(request(address, "GET", path, &[], "").status, 200, "{path}");
        }
        let url = format!("http://{address}");
        assert_eq!(idlewild(&["health", "--url", &url], &[], "").code, Some(0));
    }
    server.publish(&json!({"to": {"all": true}, "data": 1}));
}

#[test]
fn the_connection_that_is_idle_longest_is_closed_and_a_busy_one_is_not() {
    let server = limited();
    let mut held: Vec<Client> = (0..LIMIT).map(|_| kept(server.admin)).collect();
    let mut used = held.remove(0);
    let next_idle = held.remove(0);
    ask(&mut used);
    let _new = kept(server.admin);
    eventually("the longest idle is closed", || {
        is_closed(next_idle.socket.tcp())
    });
    ask(&mut used);
    held.iter_mut().for_each(ask);
}

#[test]
fn evictions_are_logged_once_per_second() {
    let process = Process::serve(&format!("admin_max_connections = {LIMIT}"));
    let _held: Vec<Client> = (0..3 * LIMIT).map(|_| kept(process.admin())).collect();
    let line = |log: &str| log.matches("idle longest").count();
    eventually("it is logged", || line(&process.log()) > 0);
    assert!(line(&process.log()) < LIMIT, "{}", process.log());
    let log = process.log();
    let line = log.lines().find(|line| line.contains("idle longest"));
    for field in [
        "WARN",
        "admin_max_connections=16",
        "peer=127.0.0.1:",
        "suppressed=",
    ] {
        assert!(line.unwrap().contains(field), "{field} in {line:?}");
    }
}

#[test]
fn a_request_whose_body_does_not_arrive_times_out() {
    let server = TestServer::start();
    for path in ["/v1/events", "/v1/events/batch", "/v1/users/42/logout"] {
        let mut client = Client::connect(server.admin);
        client.send(format!(
            "POST {path} HTTP/1.1\r\nHost: t\r\nAuthorization: Bearer {API_KEY}\r\nExpect: 100-continue\r\nContent-Length: 9\r\n\r\n"
        ));
        // The server asks for the body, so it is waiting for it.
        let mut go_on = [0; 25];
        client.socket.read_exact(&mut go_on).unwrap();
        assert!(go_on.starts_with(b"HTTP/1.1 100 "));
        let moved = thread::spawn({
            let clock = server.clock.clone();
            move || {
                for _ in 0..62 {
                    clock.advance(Duration::from_secs(1));
                    thread::sleep(Duration::from_millis(2));
                }
            }
        });
        let bytes = client.read_to_end();
        moved.join().unwrap();
        let text = String::from_utf8(bytes).unwrap();
        assert!(text.starts_with("HTTP/1.1 408 "), "{path}: {text}");
        assert!(text.contains("connection: close"), "{path}: {text}");
        assert!(text.contains("\"timeout\""), "{path}: {text}");
    }
}

/// A connection on which the server waits for the rest of a body.
fn waited_for(address: SocketAddr) -> Client {
    let mut client = Client::connect(address);
    client.send(format!(
        "POST /v1/events HTTP/1.1\r\nHost: t\r\nAuthorization: Bearer {API_KEY}\r\nExpect: 100-continue\r\nContent-Length: 900\r\n\r\n"
    ));
    let mut go_on = [0; 25];
    client.socket.read_exact(&mut go_on).unwrap();
    assert!(go_on.starts_with(b"HTTP/1.1 100 "));
    client
}

#[test]
fn a_request_whose_body_trickles_in_times_out_after_ten_minutes() {
    let server = TestServer::start();
    let mut client = waited_for(server.admin);
    let mut answer = String::new();
    eventually("it is given up", || {
        // The client is never silent for long.
        if client.socket.write_all(b" ").is_err() {
            return true;
        }
        server.advance(Duration::from_secs(1));
        client.socket.is_readable()
    });
    let _ = client.socket.read_to_string(&mut answer);
    assert!(answer.starts_with("HTTP/1.1 408 "), "{answer}");
}

#[test]
fn a_connection_that_waits_for_a_body_is_idle() {
    let server = limited();
    let waiting: Vec<Client> = (0..LIMIT).map(|_| waited_for(server.admin)).collect();
    let _new = kept(server.admin);
    eventually("the longest idle is closed", || {
        is_closed(waiting[0].socket.tcp())
    });
    assert!(
        waiting[1..]
            .iter()
            .all(|client| !is_closed(client.socket.tcp()))
    );
}

/// The response to a client that sends its whole body, piece by piece, before it reads.
fn response_to_a_writer(address: SocketAddr, head: &str, pieces: usize, piece: &[u8]) -> String {
    let mut socket = connect(address);
    socket.set_nodelay(true).unwrap();
    let length = pieces * piece.len();
    let head = format!("{head}Content-Length: {length}\r\n\r\n");
    socket.write_all(head.as_bytes()).unwrap();
    for _ in 0..pieces {
        // The server has responded by now, and still has to read on.
        thread::sleep(Duration::from_millis(5));
        socket.write_all(piece).unwrap();
    }
    let mut answer = String::new();
    socket.read_to_string(&mut answer).unwrap();
    answer
}

#[test]
fn an_early_response_reaches_a_client_that_writes_slowly() {
    let server = TestServer::start();
    let wrong =
        "POST /v1/events HTTP/1.1\r\nHost: t\r\nAuthorization: Bearer nobody's key at all\r\n";
    let right = format!(
        "PUT /v1/users/42/session HTTP/1.1\r\nHost: t\r\nAuthorization: Bearer {API_KEY}\r\n"
    );
    for (head, status) in [(wrong, 401), (right.as_str(), 413)] {
        let answer = response_to_a_writer(server.admin, head, 40, &[b'x'; 1_000]);
        assert!(
            answer.starts_with(&format!("HTTP/1.1 {status} ")),
            "{answer}"
        );
        assert!(answer.contains("connection: close"), "{answer}");
    }
}

#[test]
fn an_early_response_reaches_a_client_with_five_megabytes() {
    let server = TestServer::start();
    let wrong =
        "POST /v1/events HTTP/1.1\r\nHost: t\r\nAuthorization: Bearer nobody's key at all\r\n";
    let right =
        format!("POST /v1/events HTTP/1.1\r\nHost: t\r\nAuthorization: Bearer {API_KEY}\r\n");
    let none = "POST /v1/events HTTP/1.1\r\nHost: t\r\n";
    let nowhere =
        format!("POST /v1/nowhere HTTP/1.1\r\nHost: t\r\nAuthorization: Bearer {API_KEY}\r\n");
    for (head, status) in [
        (wrong, 401),
        (none, 401),
        (right.as_str(), 413),
        (nowhere.as_str(), 404),
    ] {
        let answer = response_to_a_writer(server.admin, head, 5, &vec![b'x'; 1 << 20]);
        assert!(
            answer.starts_with(&format!("HTTP/1.1 {status} ")),
            "{answer}"
        );
    }
}

#[test]
fn a_client_that_stays_after_its_last_response_loses_its_place() {
    let server = TestServer::start();
    let mut socket = connect(server.admin);
    socket
        .write_all(b"GET /healthz HTTP/1.1\r\nHost: t\r\nConnection: close\r\n\r\n")
        .unwrap();
    let mut answer = String::new();
    // Reads until the server shuts down its side, while ours stays open.
    socket.read_to_string(&mut answer).unwrap();
    assert!(answer.ends_with("ok\n"));
    eventually("the server has closed its socket", || {
        server.advance(Duration::from_secs(1));
        // Bytes that are sent to a closed socket cause a reset.
        socket.write_all(b"x").is_err()
    });
    let _ = socket.shutdown(Shutdown::Both);
}

#[test]
fn keep_alive_detects_a_peer_that_disappeared() {
    let server = TestServer::start();
    let client = kept(server.admin);
    let hex = |address: SocketAddr| match address.ip() {
        std::net::IpAddr::V4(v4) => {
            format!("{:08X}:{:04X}", v4.to_bits().swap_bytes(), address.port())
        }
        std::net::IpAddr::V6(_) => unreachable!("the tests' addresses"),
    };
    let ends = format!(
        "{} {}",
        hex(server.admin),
        hex(client.socket.tcp().local_addr().unwrap())
    );
    let sockets = fs::read_to_string("/proc/self/net/tcp").unwrap();
    let line = sockets.lines().find(|line| line.contains(&ends)).unwrap();
    // proc(5): the fifth field begins with the active timer, and 2 is keep-alive.
    let timer = line.split_whitespace().nth(5).unwrap();
    assert!(timer.starts_with("02:"), "{line}");
}

#[test]
fn wrong_keys_are_delayed_and_a_valid_one_is_not() {
    let server = TestServer::start();
    let ask = |key: &str| {
        let headers = [("Authorization", key)];
        request(server.admin, "GET", "/v1/stats", &headers, "")
    };
    for _ in 0..20 {
        assert_eq!(ask("Bearer not the key").status, 401);
    }
    // The clock stands still: five requests wait, and the next is refused.
    let mut asked: Vec<Client> = (0..8)
        .map(|_| {
            let mut client = Client::connect(server.admin);
            client.send(
                "GET /v1/stats HTTP/1.1\r\nHost: t\r\nAuthorization: Bearer not the key\r\nConnection: close\r\n\r\n",
            );
            client
        })
        .collect();
    eventually("three are answered", || {
        let answered = asked.iter_mut().map(|client| client.socket.is_readable());
        answered.filter(|is_readable| *is_readable).count() == 3
    });
    assert_eq!(ask("Bearer not the key").status, 429);
    assert_eq!(ask(&format!("Bearer {API_KEY}")).status, 200);
    // A request without a key is not counted as a guess.
    assert_eq!(
        request(server.admin, "GET", "/v1/stats", &[], "").status,
        401
    );
    server.advance(Duration::from_secs(5));
    let answers = asked.iter_mut().map(Client::read_to_end);
    let answers: Vec<String> = answers.map(|it| String::from_utf8(it).unwrap()).collect();
    let with = |status: &str| {
        let line = format!("HTTP/1.1 {status} ");
        answers
            .iter()
            .filter(move |answer| answer.starts_with(&line))
    };
    assert_eq!(
        (with("401").count(), with("429").count()),
        (5, 3),
        "{answers:?}"
    );
    assert!(with("429").all(|answer| answer.contains("retry-after: 1")));
}

#[test]
fn readiness_reports_a_full_server() {
    let server = TestServer::with(|config| config.max_connections = 1);
    let ready = || {
        let answer = request(server.admin, "GET", "/readyz", &[], "");
        (answer.status, answer.json())
    };
    assert_eq!(ready(), (200, json!({"ready": true})));
    let stream = server.stream("42");
    assert_eq!(ready(), (200, json!({"ready": true, "reason": "full"})));
    drop(stream);
    eventually("there is room again", || {
        ready().1 == json!({"ready": true})
    });
}

#[test]
fn head_of_health_readiness_and_metrics_has_no_body() {
    let server = TestServer::start();
    for path in ["/healthz", "/readyz", "/metrics"] {
        let head = request(server.admin, "HEAD", path, &[], "");
        assert_eq!((head.status, head.body.as_str()), (200, ""), "{path}");
        let length: usize = head.header("content-length").unwrap().parse().unwrap();
        assert!(length > 2, "{path}");
    }
    let head = request(server.public, "HEAD", "/healthz", &[], "");
    assert_eq!((head.status, head.body.as_str()), (200, ""));
    assert_eq!(head.header("content-length"), Some("3"));
}
