//! What client and server negotiate, and clients that the server cannot agree with.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use rustls::{AlertDescription, Error, ProtocolVersion, version};

use super::{
    IN_FLIGHT, REFUSED, STREAMS, come, get, last_alert, stream_path, stream_request, tls_error,
};
use crate::support::{PATIENCE, TestServer, eventually, transport};

/// A connection on which nothing has been sent.
fn connect(server: &TestServer) -> TcpStream {
    let socket = TcpStream::connect(server.public.tcp).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    socket
}

/// The first `bytes` of a client hello.
fn begin(server: &TestServer, bytes: usize) -> TcpStream {
    let client = Arc::new(transport::certificate().client());
    let name = "localhost".try_into().unwrap();
    let mut tls = rustls::ClientConnection::new(client, name).unwrap();
    let mut hello = Vec::new();
    tls.write_tls(&mut hello).unwrap();
    assert!(hello.len() > bytes);
    let mut socket = connect(server);
    socket.write_all(&hello[..bytes]).unwrap();
    socket
}

/// Returns true if the server closes the connection without sending anything.
fn is_ended(socket: &mut TcpStream) -> bool {
    matches!(socket.read_to_end(&mut Vec::new()), Ok(0))
}

/// The only refusal in the operator's list.
#[track_caller]
fn assert_refusal(server: &TestServer, text: &str) {
    server.wait_for_metric(REFUSED, 1.0);
    let listed = server.admin("GET", "/v1/refusals", "").json();
    let listed = listed["refusals"].as_array().unwrap();
    assert_eq!(listed.len(), 1, "{listed:?}");
    assert_eq!(listed[0]["text"], text);
    assert_eq!(listed[0]["reason"], "handshake");
    assert_eq!(listed[0]["remote"], "127.0.0.1");
}

#[test]
fn http_1_is_negotiated_if_the_client_offers_it() {
    let server = TestServer::with_tls(|_| {});
    for (offered, agreed) in [
        (
            vec![b"h2".to_vec(), b"http/1.1".to_vec()],
            Some(&b"http/1.1"[..]),
        ),
        (vec![b"http/1.1".to_vec()], Some(b"http/1.1")),
        (vec![], None),
    ] {
        let mut client = transport::certificate().client();
        client.alpn_protocols = offered;
        let mut client = come(&server, &Arc::new(client), "localhost");
        client.send(get("/healthz"));
        assert_eq!(client.socket.session().alpn_protocol(), agreed);
        assert_eq!(
            client.socket.session().protocol_version(),
            Some(ProtocolVersion::TLSv1_3)
        );
        assert_eq!(client.stream().body(), "ok\n");
    }
    assert_eq!(server.metric(REFUSED), Some(0.0));
}

#[test]
fn a_client_that_only_speaks_http_2_gets_an_alert() {
    let server = TestServer::with_tls(|_| {});
    let mut client = transport::certificate().client();
    client.alpn_protocols = vec![b"h2".to_vec()];
    let mut client = come(&server, &Arc::new(client), "localhost");
    assert_eq!(
        tls_error(client.socket.handshake()),
        Error::AlertReceived(AlertDescription::NoApplicationProtocol)
    );
    drop(client);
    assert_refusal(&server, "No HTTP/1.1 in ALPN");
}

#[test]
fn a_client_with_an_old_tls_version_gets_an_alert() {
    let server = TestServer::with_tls(|_| {});
    let client = transport::certificate().client_of(&[&version::TLS12]);
    let mut client = come(&server, &Arc::new(client), "localhost");
    assert_eq!(
        tls_error(client.socket.handshake()),
        Error::AlertReceived(AlertDescription::ProtocolVersion)
    );
    drop(client);
    assert_refusal(&server, "TLS older than 1.3");
}

#[test]
fn a_client_that_does_not_trust_the_certificate_is_counted() {
    let server = TestServer::with_tls(|_| {});
    let stranger = crate::support::certificate::Certificate::of(&["localhost"]);
    let mut client = come(&server, &Arc::new(stranger.client()), "localhost");
    assert!(matches!(
        tls_error(client.socket.handshake()),
        Error::InvalidCertificate(_)
    ));
    drop(client);
    assert_refusal(&server, "TLS given up by the client");
}

#[test]
fn plain_http_is_answered_with_an_alert() {
    let server = TestServer::with_tls(|_| {});
    let mut plain = connect(&server);
    plain
        .write_all(stream_request(&server, "42").as_bytes())
        .unwrap();
    let mut answer = Vec::new();
    plain.read_to_end(&mut answer).unwrap();
    // An alert, its length, and the level "fatal".
    assert_eq!(
        (answer[0], answer.len(), answer[5]),
        (21, 7, 2),
        "{answer:?}"
    );
    // The client retries slowly, but is listed only once.
    assert_refusal(&server, "No TLS");
    server.advance(server.config.handshake_timeout);
    server.wait_for_metric(IN_FLIGHT, 0.0);
    assert_refusal(&server, "No TLS");
    drop(plain);
    assert_eq!(server.metric(&server.series(STREAMS)), Some(0.0));
}

#[test]
fn garbage_is_refused_and_closes_the_connection() {
    let server = TestServer::with_tls(|_| {});
    let noise: Vec<u8> = (0..40_000_u32)
        .map(|n| n.wrapping_mul(2_654_435_761).to_be_bytes()[1])
        .collect();
    let garbage: [&[u8]; 5] = [
        b"\0\0\0\0\0\0\0\0",
        // Data instead of a hello.
        b"\x17\x03\x03\x00\x02hi",
        // A record that is too long.
        b"\x16\x03\x01\xff\xff",
        // A malformed hello.
        b"\x16\x03\x01\x00\x05\x01\x00\x00\x01x",
        &noise,
    ];
    for (number, bytes) in (1_u32..).zip(garbage) {
        let mut socket = connect(&server);
        // The connection may end before everything is sent.
        let _ = socket.write_all(bytes);
        let _ = socket.shutdown(Shutdown::Write);
        let mut answer = Vec::new();
        let _ = socket.read_to_end(&mut answer);
        assert!(answer.len() <= 7, "{answer:?}");
        server.wait_for_metric(REFUSED, f64::from(number));
    }
    server.wait_for_metric(IN_FLIGHT, 0.0);
    assert_eq!(server.get("/healthz").body, "ok\n");
}

#[test]
fn half_a_hello_is_closed_at_the_handshake_timeout() {
    let server = TestServer::with_tls(|_| {});
    let mut half = begin(&server, 40);
    server.wait_for_metric(IN_FLIGHT, 1.0);
    server.advance(Duration::from_millis(9_900));
    assert_eq!(server.get("/healthz").status, 200);
    server.wait_for_metric(IN_FLIGHT, 1.0);
    server.advance(Duration::from_millis(200));
    assert!(is_ended(&mut half));
    server.wait_for_metric(IN_FLIGHT, 0.0);
    assert_refusal(&server, "No request in time");
}

#[test]
fn a_handshake_without_a_request_is_closed_at_the_same_timeout() {
    let server = TestServer::with_tls(|_| {});
    let mut client = server.connect();
    client.socket.handshake().unwrap();
    server.wait_for_metric(IN_FLIGHT, 1.0);
    server.advance(Duration::from_secs(11));
    assert!(client.read_to_end().is_empty());
    assert_refusal(&server, "No request in time");
}

#[test]
fn half_hellos_give_way_to_newer_connections() {
    const HALF: u32 = 20;
    let server = TestServer::with_tls(|config| {
        config.shards = 1;
        config.max_handshakes = 4;
    });
    let mut half: Vec<_> = (0..HALF).map(|_| begin(&server, 40)).collect();
    server.wait_for_metric(IN_FLIGHT, 4.0);
    let path = stream_path(&server, "42");
    let mut fresh = server.connect();
    let fresh = std::thread::spawn(move || {
        fresh.get(&path, "");
        fresh.stream().status
    });
    eventually("the fresh client is served", || {
        // All of this takes far less time than `handshake_timeout`.
        server.advance(Duration::from_millis(100));
        fresh.is_finished()
    });
    assert_eq!(fresh.join().unwrap(), 200);
    assert!(is_ended(&mut half[0]));
    assert!(server.metric(REFUSED).unwrap() > 15.0);
}

#[test]
fn a_port_check_is_not_counted_as_a_refusal() {
    let server = TestServer::with_tls(|_| {});
    for bytes in [0, 1, 40] {
        let mut socket = begin(&server, bytes);
        socket.shutdown(Shutdown::Write).unwrap();
        assert!(is_ended(&mut socket), "{bytes}");
    }
    let mut client = server.connect();
    client.socket.handshake().unwrap();
    client.socket.shutdown_write().unwrap();
    assert!(client.read_to_end().is_empty());
    server.wait_for_metric(IN_FLIGHT, 0.0);
    assert_eq!(server.metric(REFUSED), Some(0.0));
}

#[test]
fn half_a_hello_does_not_delay_a_drain() {
    let mut server = TestServer::with_tls(|_| {});
    let mut half = begin(&server, 40);
    server.wait_for_metric(IN_FLIGHT, 1.0);
    let drained = server.drain();
    assert!(is_ended(&mut half));
    drained.join().unwrap();
}

#[test]
fn a_broken_record_before_any_request_is_a_broken_connection() {
    let server = TestServer::with_tls(|_| {});
    let mut client = server.connect();
    let mut records = client.socket.seal(get("/healthz").as_bytes());
    *records.last_mut().unwrap() ^= 1;
    client.socket.tcp().write_all(&records).unwrap();
    assert_eq!(
        last_alert(&mut client.socket),
        AlertDescription::BadRecordMac
    );
    drop(client);
    server.wait_for_metric(IN_FLIGHT, 0.0);
}
