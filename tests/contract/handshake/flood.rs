//! More half-open connections than the server has places for.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use socket2::{Domain, Socket, Type};

use super::{IN_FLIGHT, STREAMS, stream_request};
use crate::support::{Address, Client, Stream, TestServer, engine_kind, eventually};

/// The default of `max_handshakes`.
const MOST: f64 = 1_024.0;
const STEP: Duration = Duration::from_millis(250);
/// Longer than `handshake_timeout`.
const LONG_STEP: Duration = Duration::from_secs(11);

/// Starts to connect; the kernel completes the connection.
fn begin_to_connect(address: SocketAddr) -> TcpStream {
    let socket = Socket::new(Domain::IPV4, Type::STREAM.nonblocking(), None).unwrap();
    match socket.connect(&address.into()) {
        Ok(()) => {}
        Err(error) if error.raw_os_error() == Some(libc::EINPROGRESS) => {}
        Err(error) => panic!("{error}"),
    }
    socket.into()
}

fn is_open(socket: &mut TcpStream) -> bool {
    matches!(socket.read(&mut [0]), Err(error) if error.kind() == ErrorKind::WouldBlock)
}

/// Sends a request on a new connection; `None` if the connection ends before.
fn ask(address: Address, request: &str) -> Option<Client> {
    let mut client = Client::connect(address);
    let sent = client.socket.write_all(request.as_bytes());
    sent.is_ok().then_some(client)
}

/// Repeats a request until it gets a response, and returns the number of failures. A TLS handshake needs several turns,
/// and so does a place under a limit that several nodes share. The tests' clock may pass the deadline between them.
/// The first attempt may have been made before.
fn insist(first: Option<Client>, address: Address, request: &str) -> (Stream, u32) {
    let is_at_once = !address.is_tls && engine_kind() == "memory";
    let mut asked = first.or_else(|| ask(address, request));
    let mut refused = 0;
    loop {
        if let Some(stream) = asked.and_then(Client::answered) {
            return (stream, refused);
        }
        assert!(!is_at_once, "refused");
        refused += 1;
        asked = ask(address, request);
    }
}

#[test]
fn ten_thousand_idle_connections_do_not_keep_a_client_out() {
    flood(10_000, STEP);
}

#[test]
fn a_connection_that_is_overdue_when_it_has_to_give_way_is_refused_once() {
    flood(2_500, LONG_STEP);
}

/// Opens idle connections while the server's clock advances in steps, so that the older ones time out.
fn flood(connections: u32, step: Duration) {
    let server = TestServer::with(|config| {
        // The clock would pass the deadline of a WebSocket's ping before its client can answer.
        config.stall_timeout = Duration::from_secs(24 * 3_600);
    });
    let mut idle: Vec<_> = (0..connections)
        .map(|_| begin_to_connect(server.public.tcp))
        .collect();
    server.wait_for_metric(IN_FLIGHT, MOST);

    let (address, request) = (server.public, stream_request(&server, "42"));
    // A long step between connecting and asking would be too late. Only few connections leave room in the listener's
    // queue while the clock stands still.
    let first = (step == LONG_STEP && !address.is_tls)
        .then(|| ask(address, &request))
        .flatten();
    let fresh = std::thread::spawn(move || {
        let (mut stream, refused) = insist(first, address, &request);
        assert_eq!(stream.status, 200);
        stream.begin();
        (stream, refused)
    });
    let in_flight = || server.metric(IN_FLIGHT).unwrap();
    eventually("the fresh client is served", || {
        assert!(in_flight() <= MOST);
        server.advance(step);
        fresh.is_finished()
    });
    let (mut stream, refused) = fresh.join().unwrap();

    eventually("all idle connections are gone", || {
        assert!(in_flight() <= MOST);
        server.advance(step);
        idle.retain_mut(is_open);
        idle.is_empty()
    });
    server.wait_for_metric(IN_FLIGHT, 0.0);
    assert_eq!(
        server.metric("idlewild_refused_total{reason=\"handshake\"}"),
        Some(f64::from(connections + refused))
    );
    // Meanwhile, the stream has received heartbeats and nothing else.
    assert_eq!(server.metric(&server.series(STREAMS)), Some(1.0));
    let id = server.publish(&serde_json::json!({"to": {"user": "42"}, "data": 1}));
    let frame =
        std::iter::from_fn(|| stream.next()).find(|frame| !frame.contains("event: heartbeat"));
    assert_eq!(
        frame.unwrap(),
        format!("id: {id}\nevent: message\ndata: 1\n\n")
    );
}
