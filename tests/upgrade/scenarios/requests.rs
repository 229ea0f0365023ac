//! Connections that are between two requests, or in the middle of one, while the server is replaced.

use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::clients::{HalfRecord, address, next_data, open, token};
use crate::server::Server;
use crate::support::{Address, Client, NOTIFICATIONS, Stream, eventually};

const TRANSPORTS: [&str; 2] = ["sse", "sse over tls"];

/// Opens a connection, and has its first request answered.
fn connect(address: Address) -> Stream {
    let mut connection = Client::connect(address).open("/healthz");
    assert_eq!(connection.body(), "ok\n");
    connection
}

/// Asks for a ticket, and returns it.
#[track_caller]
fn ticket(connection: &mut Stream, token: &str) -> String {
    let request = format!(
        "POST /api/v1/auth/sse/ticket/ HTTP/1.1\r\nHost: test\r\nAuthorization: Bearer {token}\r\nContent-Length: 0\r\n\r\n"
    );
    connection.socket.write_all(request.as_bytes()).unwrap();
    assert!(connection.follow(), "the connection was closed");
    assert_eq!(connection.status, 201, "{}", connection.head);
    let body: serde_json::Value = serde_json::from_str(&connection.body()).unwrap();
    body["ticket"].as_str().unwrap().to_owned()
}

#[test]
fn a_connection_that_was_kept_alive_is_served_by_the_new_process() {
    for transport in TRANSPORTS {
        let mut server = Server::start("");
        let address = address(server.addresses, transport);
        let token = token("1", None, &[]);
        let mut connections: Vec<_> = (0..3).map(|_| connect(address)).collect();
        let old = server.publish(r#"{"to":{"user":"1"},"data":"old"}"#);
        server.upgrade();
        let last = server.publish(r#"{"to":{"user":"1"},"data":"new"}"#);
        assert_eq!(
            server.publish(r#"{"to":{"user":"2"},"data":"-"}"#).len(),
            last.len()
        );
        let stream = &mut connections[0];
        let path = format!("{NOTIFICATIONS}?token={token}&last_event_id=");
        // The old process would not know this id.
        stream.ask(&format!("{path}{last}"));
        stream.begin();
        server.publish(r#"{"to":{"user":"1"},"data":"next"}"#);
        assert_eq!(next_data(stream), "next", "{transport}");
        let stream = &mut connections[1];
        let ticket = ticket(stream, &token);
        stream.ask(&format!(
            "{NOTIFICATIONS}?ticket={ticket}&last_event_id={old}"
        ));
        stream.begin();
        for data in ["new", "next"] {
            assert_eq!(next_data(stream), data, "{transport}");
        }
        // Through another upgrade, and with secrets that have moved before.
        server.upgrade();
        let stream = &mut connections[2];
        stream.ask(&format!("{path}{last}"));
        stream.begin();
        assert_eq!(next_data(stream), "next", "{transport}");
    }
}

#[test]
fn a_connection_without_a_request_yet_is_served_by_the_new_process() {
    for transport in TRANSPORTS {
        let mut server = Server::start("");
        let address = address(server.addresses, transport);
        let client = Client::connect(address);
        eventually("it is accepted", || {
            let metrics = server.admin("GET", "/metrics", "").body;
            metrics.contains("\nidlewild_handshakes_in_flight 1\n")
        });
        server.begin_upgrade();
        let new = server.wait_for_successor();
        server.follow(new);
        let last = server.publish(r#"{"to":{"user":"1"},"data":"new"}"#);
        // The old process would not know this id.
        let mut stream = client.reconnect(&token("1", None, &[]), &last);
        stream.begin();
        server.publish(r#"{"to":{"user":"1"},"data":"next"}"#);
        assert_eq!(next_data(&mut stream), "next", "{transport}");
    }
}

#[test]
fn half_of_a_request_is_completed_in_the_new_process() {
    for transport in TRANSPORTS {
        let mut server = Server::start("");
        let mut connection = connect(address(server.addresses, transport));
        let request = "GET /healthz HTTP/1.1\r\nHost: test\r\n\r\n";
        let (first, second) = request.split_at(20);
        connection.socket.write_all(first.as_bytes()).unwrap();
        server.upgrade();
        connection.socket.write_all(second.as_bytes()).unwrap();
        assert!(
            connection.follow(),
            "{transport}: the connection was closed"
        );
        assert_eq!(connection.body(), "ok\n", "{transport}");
    }
}

#[test]
fn half_of_a_record_is_completed_in_the_old_process_and_answered_by_the_new_one() {
    let mut server = Server::start("max_connections_per_user = 1\n");
    let token = token("1", None, &[]);
    let mut stream = open(address(server.addresses, "sse"), &token, "");
    let half = HalfRecord::send(server.addresses, "1");
    let old = server.pid();
    server.begin_upgrade();
    let new = server.wait_for_successor();
    server.follow(new);
    // The old process has no other stream of this user any more.
    assert_eq!(half.complete().status, 429);
    server.wait_for_end(old);
    server.publish(r#"{"to":{"user":"1"},"data":"last"}"#);
    assert_eq!(next_data(&mut stream), "last");
}

#[test]
fn no_request_on_a_connection_in_use_fails() {
    for transport in TRANSPORTS {
        let mut server = Server::start("");
        let address = address(server.addresses, transport);
        let is_over = Arc::new(AtomicBool::new(false));
        let clients: Vec<_> = (0..4)
            .map(|number| {
                let is_over = Arc::clone(&is_over);
                std::thread::spawn(move || {
                    let token = token(&number.to_string(), None, &[]);
                    let mut connection = connect(address);
                    let mut requests = 0;
                    while !is_over.load(Ordering::Relaxed) {
                        ticket(&mut connection, &token);
                        connection.ask("/healthz");
                        assert_eq!(connection.body(), "ok\n");
                        requests += 2;
                    }
                    requests
                })
            })
            .collect();
        for _ in 0..3 {
            server.upgrade();
        }
        is_over.store(true, Ordering::Relaxed);
        for client in clients {
            assert!(client.join().unwrap() > 0);
        }
    }
}

#[test]
fn all_connections_find_a_place_in_the_new_process() {
    for transport in TRANSPORTS {
        let mut server = Server::start("max_handshakes = 400\nshards = 1\n");
        let address = address(server.addresses, transport);
        let connections: Vec<_> = (0..160).map(|_| connect(address)).collect();
        // More than those that have been streams could take there.
        server.reconfigure("max_handshakes = 400", "max_handshakes = 200");
        server.upgrade();
        for mut connection in connections {
            connection.ask("/healthz");
            assert_eq!(connection.body(), "ok\n", "{transport}");
        }
    }
}

#[test]
fn the_rest_of_a_body_that_was_refused_is_no_request() {
    let users = tempfile::NamedTempFile::new().unwrap();
    let login = format!("[login]\nusers_file = \"{}\"\n", users.path().display());
    let mut server = Server::start_with_section(&login);
    let mut connection = connect(address(server.addresses, "sse"));
    let head = "POST /api/v1/auth/login/ HTTP/1.1\r\nHost: test\r\nContent-Length: 20000\r\n\r\n";
    connection.socket.write_all(head.as_bytes()).unwrap();
    server.begin_upgrade();
    let new = server.wait_for_successor();
    server.follow(new);
    let request = "GET /healthz HTTP/1.1\r\nHost: test\r\n\r\n";
    connection.socket.write_all(&[b'x'; 10_000]).unwrap();
    let rest = format!("{}{request}", "x".repeat(10_000 - request.len()));
    assert!(connection.follow());
    assert_eq!(connection.status, 413, "{}", connection.head);
    connection.body();
    // The connection may be closed by now.
    let _ = connection.socket.write_all(rest.as_bytes());
    assert!(!connection.follow(), "{}", connection.head);
}
