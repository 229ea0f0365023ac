//! Measures what running servers allocate: nothing for a client on the broadcast path, a few bytes for a topic. A target of
//! its own, because its allocator counts for the whole process. Threads of the server before may still free memory, so each
//! figure is a median.

#![allow(missing_docs, unreachable_pub)] // nobody but this test sees it
#![allow(clippy::format_push_string, clippy::must_use_candidate)]

#[path = "contract/support/mod.rs"]
#[allow(dead_code, unused_imports)] // the contract tests use the rest
mod support;

#[path = "common/allocator.rs"]
mod allocator;
#[path = "common/kernel.rs"]
#[allow(dead_code)] // other tests use the rest
mod kernel;

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::time::Duration;

use allocator::{ALLOCATOR, TURN, bytes_held};
use serde_json::json;
use stats_alloc::Region;
use support::{Socket, Stream, TestServer, eventually};

const ROUNDS: usize = 15;

#[test]
fn a_topic_of_a_client_is_at_most_16_bytes() {
    const CLIENTS: usize = 1_000;
    const FEW: usize = 4;
    const MANY: usize = 32;
    let _turn = TURN.lock();
    let names: Vec<String> = (0..MANY).map(|n| format!("topic/{n}")).collect();
    let connect = |topics: usize| {
        let server = TestServer::start();
        let topics: Vec<&str> = names[..topics].iter().map(String::as_str).collect();
        // The first streams pay for what each topic and each shard needs once.
        let open = |n: usize| server.stream_of(&server.token_with(&format!("u{n}"), None, &topics));
        let first: Vec<Stream> = (0..40).map(open).collect();
        let (held, streams) = bytes_held(|| {
            let streams: Vec<Stream> = (40..40 + CLIENTS).map(open).collect();
            server.wait_for_metric("idlewild_handshakes_in_flight", 0.0);
            streams
        });
        drop((first, streams));
        held
    };
    let pairs = CLIENTS * (MANY - FEW);
    let mut tries: Vec<usize> = (0..3)
        .map(|_| connect(MANY).saturating_sub(connect(FEW)))
        .collect();
    tries.sort_unstable();
    let bytes = tries[1];
    println!("{bytes} bytes for {pairs} (client, topic) pairs");
    assert!(
        (8 * pairs..=16 * pairs).contains(&bytes),
        "{bytes} bytes for {pairs} pairs"
    );
}

#[test]
fn a_broadcast_allocates_nothing_for_a_client() {
    let _turn = TURN.lock();
    let few = median_allocations(100);
    let many = median_allocations(1_000);
    // One slice of about a hundred sends may allocate a few lists of frames. One allocation for each of
    // 900 more clients would show as 900.
    assert!(
        many.abs_diff(few) < 100,
        "{few} allocations for 100 clients, {many} for 1,000"
    );
}

/// Of the server's own memory; the C library's is not counted, which has some cryptographic state.
#[test]
fn a_connection_that_waits_holds_few_bytes() {
    const HALF_A_HEAD: &str = "GET /api/v1/auth/sse/notifications/ HTTP/1.1\r\nHost: localhost\r\n\
        Accept: text/event-stream\r\nAuthorization: Bearer aaaa";
    const REQUEST: &str = "GET /health/ HTTP/1.1\r\nHost: localhost\r\n\r\n";
    let _turn = TURN.lock();
    let (plain, tls) = (TestServer::start(), TestServer::with_tls(|_| {}));
    let client = Arc::new(support::transport::certificate().client());
    let mut client =
        rustls::ClientConnection::new(client, "localhost".try_into().unwrap()).unwrap();
    let mut hello = Vec::new();
    client.write_tls(&mut hello).unwrap();
    for (state, server, sent, is_answered, most) in [
        ("nothing sent", &plain, &[][..], false, 2_800),
        (
            "half a head sent",
            &plain,
            HALF_A_HEAD.as_bytes(),
            false,
            2_800,
        ),
        (
            "a request answered",
            &plain,
            REQUEST.as_bytes(),
            true,
            3_000,
        ),
        ("hello answered", &tls, &hello, true, 6_500),
    ] {
        let bytes = bytes_of_a_waiting_connection(server, sent, is_answered);
        println!("{state}: {bytes} bytes");
        assert!(bytes < most, "{state}: {bytes} bytes");
    }
}

/// Bytes that a connection holds once the server has read `sent`, and perhaps answered it.
fn bytes_of_a_waiting_connection(server: &TestServer, sent: &[u8], is_answered: bool) -> usize {
    const CONNECTIONS: usize = 200;
    let address = server.public.tcp;
    let connect = |_| {
        let mut socket = TcpStream::connect(address).unwrap();
        socket.write_all(sent).unwrap();
        if is_answered {
            assert_ne!(socket.read(&mut [0; 4_096]).unwrap(), 0);
        }
        socket
    };
    let open = |connections: usize| {
        let sockets: Vec<TcpStream> = (0..connections).map(connect).collect();
        eventually("the server has read what was sent", || {
            let client = |socket: &TcpStream| socket.local_addr().unwrap();
            sockets
                .iter()
                .all(|it| kernel::has_read_all(address, client(it)))
        });
        sockets
    };
    // The first ones pay for what each shard needs once.
    let _first = open(20);
    let (held, _sockets) = bytes_held(|| open(CONNECTIONS));
    held / CONNECTIONS
}

/// Allocations of the process from a broadcast's request to the last client's last byte.
fn median_allocations(clients: usize) -> usize {
    let server = TestServer::start();
    let mut streams: Vec<Stream> = (0..clients)
        .map(|n| server.stream(&format!("u{n}")))
        .collect();
    let event = json!({"to": {"all": true}, "data": {"type": "NEWS", "n": 1}});
    let mut counts: Vec<usize> = (0..ROUNDS)
        .map(|_| {
            let region = Region::new(ALLOCATOR);
            let id = server.publish(&event);
            for stream in &mut streams {
                read_frame(stream, &id);
            }
            region.change().allocations
        })
        .collect();
    counts.sort_unstable();
    counts[ROUNDS / 2]
}

/// Reads one frame, which fits the buffer, without allocating.
fn read_frame(stream: &mut Stream, id: &str) {
    let mut buffer = [0; 1_024];
    let mut read = 0;
    while !buffer[..read].ends_with(b"\n\n\r\n") {
        let more = stream.socket.read(&mut buffer[read..]).unwrap();
        assert!(more > 0, "closed");
        read += more;
    }
    assert!(
        buffer[..read]
            .windows(id.len())
            .any(|window| window == id.as_bytes())
    );
}

#[test]
fn a_websocket_client_is_served_without_an_allocation() {
    let _turn = TURN.lock();
    let [few, many] = [100, 1_000].map(WebSocketCounts::of);
    println!("{few:?} for 100 clients, {many:?} for 1,000");
    for (few, many) in [
        (few.broadcast, many.broadcast),
        (few.heartbeat, many.heartbeat),
        (few.pong, many.pong),
    ] {
        // As in the test above, one allocation per client would show as 900.
        assert!(
            many.abs_diff(few) < 100,
            "{few} allocations for 100 clients, {many} for 1,000"
        );
    }
}

/// Median allocations of the process until each client has received something.
#[derive(Debug)]
struct WebSocketCounts {
    broadcast: usize,
    heartbeat: usize,
    /// For one ping from each client.
    pong: usize,
}

impl WebSocketCounts {
    fn of(clients: usize) -> Self {
        const HEARTBEAT: Duration = Duration::from_secs(31);
        const MASK: [u8; 4] = [0; 4];
        const PING: [u8; 2] = [0x89, 0x80];
        const PONG: [u8; 2] = [0x8a, 0x80];
        let server = TestServer::start();
        let mut sockets: Vec<Socket> = (0..clients)
            .map(|n| websocket(&server, &format!("u{n}")))
            .collect();
        server.wait_for_metric("idlewild_handshakes_in_flight", 0.0);
        let event = json!({"to": {"all": true}, "data": {"type": "NEWS", "n": 1}});
        let broadcast = median(|| {
            server.publish(&event);
            for socket in &mut sockets {
                read_until(socket, b"\"type\":\"NEWS\"}}");
            }
        });
        let heartbeat = median(|| {
            server.advance(HEARTBEAT);
            for socket in &mut sockets {
                // A client that does not answer the ping is closed.
                read_until(socket, b"\"heartbeat\", \"data\": {}}");
                socket.write_all(&PONG).unwrap();
                socket.write_all(&MASK).unwrap();
            }
        });
        let pong = median(|| {
            for socket in &mut sockets {
                socket.write_all(&PING).unwrap();
                socket.write_all(&MASK).unwrap();
            }
            for socket in &mut sockets {
                read_until(socket, &[0x8a, 0]);
            }
        });
        Self {
            broadcast,
            heartbeat,
            pong,
        }
    }
}

/// The median of the allocations of several rounds.
fn median(mut round: impl FnMut()) -> usize {
    let mut counts: Vec<usize> = (0..ROUNDS)
        .map(|_| {
            let region = Region::new(ALLOCATOR);
            round();
            region.change().allocations
        })
        .collect();
    counts.sort_unstable();
    counts[ROUNDS / 2]
}

/// A client that has received its first message.
fn websocket(server: &TestServer, user: &str) -> Socket {
    let mut client = server.connect();
    let token = server.token(user);
    client.send(format!(
        "GET /ws/notifications/?token={token} HTTP/1.1\r\nHost: test\r\nConnection: Upgrade\r\n\
         Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    ));
    read_until(&mut client.socket, b"}}");
    client.socket
}

/// Reads bytes that end with `end` and fit into the buffer, without allocating.
fn read_until(socket: &mut Socket, end: &[u8]) {
    let mut buffer = [0; 1_024];
    let mut read = 0;
    while !buffer[..read].ends_with(end) {
        let more = socket.read(&mut buffer[read..]).unwrap();
        assert!(more > 0, "closed");
        read += more;
    }
}
