//! PROXY headers: the client's address behind a load balancer.

use std::io::{Read, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use idlewild::config::{Config, Endpoint};

use crate::support::{Client, NOTIFICATIONS, TestServer, eventually};

const VERSION_1: &[u8] = b"PROXY TCP4 192.0.2.7 192.0.2.1 4321 443\r\n";
/// Version 2, from 2001:db8::7, with a field of three bytes after the addresses.
const VERSION_2: &[u8] = b"\r\n\r\n\0\r\nQUIT\n\x21\x21\x00\x2a\
    \x20\x01\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0\x07\
    \x20\x01\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0\x01\
    \x10\xe1\x01\xbb\x05\x00\x03abc";
/// Version 2, as a load balancer's own health check sends it.
const LOCAL: &[u8] = b"\r\n\r\n\0\r\nQUIT\n\x20\x00\x00\x00";

const REFUSED: &str = "idlewild_refused_total{reason=\"handshake\"}";

/// A server whose TCP listener requires a header.
fn server() -> TestServer {
    TestServer::with(|config| config.proxy_protocol = config.listen.clone())
}

fn path(server: &TestServer) -> String {
    format!("{NOTIFICATIONS}?token={}", server.token("42"))
}

/// A request for a stream over SSE.
fn request(server: &TestServer, headers: &str) -> String {
    let path = path(server);
    format!("GET {path} HTTP/1.1\r\nHost: test\r\n{headers}\r\n")
}

/// The remote address of the only connection of user 42, from the admin listener.
fn remote(server: &TestServer) -> String {
    let presence = server.admin("GET", "/v1/users/42", "").json();
    let connections = presence["connections"].as_array().unwrap();
    assert_eq!(connections.len(), 1, "{presence}");
    connections[0]["remote"].as_str().unwrap().to_owned()
}

/// Returns true if the server closes the connection without a response.
fn is_ended(client: &mut Client) -> bool {
    client.read_to_end().is_empty()
}

#[test]
fn both_versions_give_the_address_of_the_client() {
    for (header, address) in [
        (VERSION_1, "192.0.2.7"),
        (VERSION_2, "2001:db8::7"),
        (LOCAL, "127.0.0.1"),
        (b"PROXY UNKNOWN\r\n", "127.0.0.1"),
    ] {
        let server = server();
        let mut client = server.connect();
        client.socket.begin_with(header);
        client.get(&path(&server), "");
        let mut stream = client.stream();
        assert_eq!(stream.status, 200);
        stream.begin();
        assert_eq!(remote(&server), address);
        server.publish(&serde_json::json!({"to": {"user": "42"}, "data": "hello"}));
        assert!(stream.next().unwrap().contains("data: hello"));
    }
}

#[test]
fn a_header_may_come_in_pieces() {
    let server = server();
    for header in [VERSION_1, VERSION_2] {
        let mut client = server.connect();
        for byte in header {
            client.socket.tcp().write_all(&[*byte]).unwrap();
        }
        client.get(&path(&server), "");
        assert_eq!(client.stream().status, 200);
    }
}

#[test]
fn later_requests_on_the_connection_need_no_header() {
    let server = server();
    let mut client = server.connect();
    client.socket.begin_with(VERSION_1);
    client.send("GET /healthz HTTP/1.1\r\nHost: t\r\n\r\n");
    let mut head = [0; 15];
    client.socket.read_exact(&mut head).unwrap();
    assert_eq!(&head, b"HTTP/1.1 200 OK");
    client.get(&path(&server), "");
    eventually("the client is seated", || {
        server.metric(&server.series("idlewild_connections")) == Some(1.0)
    });
    assert_eq!(remote(&server), "192.0.2.7");
}

#[test]
fn a_connection_that_outlives_its_stream_needs_no_second_header() {
    let change = |config: &mut Config| {
        config.proxy_protocol = config.listen.clone();
        config.proxy_protocol.extend_from_slice(&config.tls.listen);
        config.trusted_proxies = vec!["192.0.2.7".parse().unwrap()];
    };
    for server in [TestServer::with(change), TestServer::with_tls(change)] {
        let server = server.over_sse();
        for (header, address) in [
            (VERSION_1, "192.0.2.7"),
            (VERSION_2, "2001:db8::7"),
            (LOCAL, "127.0.0.1"),
        ] {
            // The address comes from the header, then from a request of a trusted sender, and then from
            // the header again.
            let forwarded = if header == VERSION_1 {
                "198.51.100.9"
            } else {
                address
            };
            let mut client = server.connect();
            client.socket.begin_with(header);
            client.get(&path(&server), "");
            let mut stream = client.stream();
            for (headers, address) in [
                ("X-Forwarded-For: 198.51.100.9\r\n", forwarded),
                ("X-Forwarded-For: 198.51.100.9\r\n", forwarded),
                ("", address),
                ("", address),
            ] {
                assert_eq!(stream.status, 200);
                server.admin("DELETE", "/v1/users/42/connections", "");
                stream.rest();
                let request = request(&server, headers);
                stream.socket.write_all(request.as_bytes()).unwrap();
                assert!(stream.follow());
                assert_eq!(remote(&server), address);
            }
            drop(stream);
            server.wait_for_metric("idlewild_users", 0.0);
        }
    }
}

#[test]
fn without_a_header_the_connection_is_ended_and_counted() {
    let server = server();
    for (number, bytes) in (1_u32..).zip([
        request(&server, "").into_bytes(),
        b"PROXY TCP4 nowhere 192.0.2.1 1 2\r\n".to_vec(),
        [b"PROXY UNKNOWN ".as_slice(), &[b'x'; 200]].concat(),
    ]) {
        let mut client = server.connect();
        client.socket.tcp().write_all(&bytes).unwrap();
        assert!(is_ended(&mut client));
        server.wait_for_metric(REFUSED, f64::from(number));
    }
}

#[test]
fn a_port_check_is_not_counted_as_a_refusal() {
    let server = server();
    for start in [&b""[..], b"PROXY TCP4"] {
        let mut client = server.connect();
        client.socket.tcp().write_all(start).unwrap();
        client.socket.tcp().shutdown(Shutdown::Write).unwrap();
        assert!(is_ended(&mut client));
    }
    server.wait_for_metric("idlewild_handshakes_in_flight", 0.0);
    assert!(server.metric(REFUSED).unwrap() < 0.5);
}

#[test]
fn the_header_has_to_arrive_within_handshake_timeout() {
    let server = server();
    let mut silent = server.connect();
    let mut half = server.connect();
    half.socket.tcp().write_all(&VERSION_1[..20]).unwrap();
    server.wait_for_metric("idlewild_handshakes_in_flight", 2.0);
    server.advance(Duration::from_secs(11));
    assert!(is_ended(&mut silent));
    assert!(is_ended(&mut half));
    server.wait_for_metric(REFUSED, 2.0);
}

#[test]
fn a_client_behind_the_balancer_cannot_forge_its_address() {
    let server = server();
    let mut client = server.connect();
    let spoofed = "X-Forwarded-For: 198.51.100.1\r\n";
    client.socket.begin_with(VERSION_1);
    client.get(&path(&server), spoofed);
    let _stream = client.stream();
    assert_eq!(remote(&server), "192.0.2.7");
}

#[test]
fn a_client_cannot_forge_an_address_if_the_balancer_gives_none() {
    for header in [
        LOCAL,
        b"PROXY UNKNOWN\r\n",
        b"\r\n\r\n\0\r\nQUIT\n\x21\x00\x00\x00",
    ] {
        let server = server();
        let mut client = server.connect();
        let spoofed = "X-Forwarded-For: 198.51.100.1\r\n";
        client.socket.begin_with(header);
        client.get(&path(&server), spoofed);
        let _stream = client.stream();
        assert_eq!(remote(&server), "127.0.0.1");
    }
}

#[test]
fn a_connection_without_its_header_does_not_delay_a_drain() {
    let mut server = server();
    let mut silent = server.connect();
    server.wait_for_metric("idlewild_handshakes_in_flight", 1.0);
    let drained = server.drain();
    assert!(is_ended(&mut silent));
    drained.join().unwrap();
}

#[test]
fn the_address_from_a_trusted_proxy_behind_the_balancer_is_used() {
    let server = TestServer::with(|config| {
        config.proxy_protocol = config.listen.clone();
        config.trusted_proxies = vec!["192.0.2.0/24".parse().unwrap()];
    });
    let mut client = server.connect();
    let forwarded = "X-Forwarded-For: 198.51.100.1\r\n";
    client.socket.begin_with(VERSION_1);
    client.get(&path(&server), forwarded);
    let _stream = client.stream();
    assert_eq!(remote(&server), "198.51.100.1");
}

#[test]
fn login_failures_count_for_the_client_not_the_balancer() {
    let server = server();
    let body = r#"{"email": "nobody@example.com", "password": "wrong"}"#;
    let login = |client: &str, account: usize| {
        let mut connection = server.connect();
        let body = body.replace("nobody", &format!("nobody{account}"));
        let header = format!("PROXY TCP4 {client} 192.0.2.1 4321 443\r\n");
        connection.socket.begin_with(header.as_bytes());
        connection.send(format!(
            "POST /api/v1/auth/login/ HTTP/1.1\r\nHost: t\r\nConnection: close\r\n\
             Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        ));
        let answer = String::from_utf8(connection.read_to_end()).unwrap();
        answer[9..12].to_owned()
    };
    for account in 0..5 {
        assert_eq!(login("192.0.2.7", account), "401");
    }
    assert_eq!(login("192.0.2.7", 5), "429");
    assert_eq!(login("192.0.2.8", 6), "401");
}

#[test]
fn other_listeners_accept_no_header() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("public.sock");
    let server = TestServer::with(|config| {
        config.proxy_protocol = config.listen.clone();
        config.listen.push(Endpoint::Unix(path.clone()));
    });
    let mut plain = UnixStream::connect(&path).unwrap();
    plain.write_all(VERSION_1).unwrap();
    let mut answer = String::new();
    plain.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");
    drop(server);
}

#[test]
fn a_unix_socket_may_require_one() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("public.sock");
    let server = TestServer::with(|config| {
        config.listen.push(Endpoint::Unix(path.clone()));
        config.proxy_protocol = vec![Endpoint::Unix(path.clone())];
    })
    .over_sse();
    let mut client = UnixStream::connect(&path).unwrap();
    client
        .write_all(&[VERSION_2, request(&server, "").as_bytes()].concat())
        .unwrap();
    eventually("the client is seated", || {
        server.metric(&server.series("idlewild_connections")) == Some(1.0)
    });
    assert_eq!(remote(&server), "2001:db8::7");
}
