//! Several requests on one connection, with a stream as the last one.

use std::io::{ErrorKind, Read, Write};

use serde_json::json;

use super::{OPENED, STREAMS, get, stream_path, stream_request, wait_until_empty};
use crate::support::{BASE, NOTIFICATIONS, Socket, Stream, TestServer};

/// Checks that the next frame is the first of a stream, and that an event arrives.
fn assert_streams(server: &TestServer, stream: &mut Stream, user: &str) {
    assert_eq!(stream.status, 200, "{}", stream.head);
    if !server.public.is_websocket {
        assert_eq!(stream.header("content-type"), Some("text/event-stream"));
    }
    stream.begin();
    let id = server.publish(&json!({"to": {"user": user}, "data": "x"}));
    assert_eq!(
        stream.next().unwrap(),
        format!("id: {id}\nevent: message\ndata: x\n\n")
    );
}

#[test]
fn a_stream_follows_several_responses_on_a_keep_alive_connection() {
    let server = TestServer::start();
    let mut stream = server.open("/healthz");
    for path in ["/nowhere", NOTIFICATIONS, "/healthz/"] {
        stream.body();
        stream.socket.write_all(get(path).as_bytes()).unwrap();
        assert!(stream.follow());
    }
    assert_eq!(stream.body(), "ok\n");
    stream
        .socket
        .write_all(stream_request(&server, "42").as_bytes())
        .unwrap();
    assert!(stream.follow());
    assert_streams(&server, &mut stream, "42");
}

#[test]
fn a_stream_that_is_pipelined_after_a_request_comes_after_its_response() {
    let server = TestServer::start();
    let mut client = server.connect();
    client.send(get("/healthz") + &stream_request(&server, "42"));
    let mut stream = client.stream();
    assert_eq!((stream.status, stream.body().as_str()), (200, "ok\n"));
    assert!(stream.follow());
    assert_streams(&server, &mut stream, "42");
}

#[test]
fn many_pipelined_requests_are_answered_before_a_stream() {
    const REQUESTS: usize = 600; // more than is read at once
    let server = TestServer::start();
    let mut client = server.connect();
    let stream_request = stream_request(&server, "42");
    client.send(get("/healthz").repeat(REQUESTS) + &stream_request);
    let mut stream = client.stream();
    for _ in 0..REQUESTS {
        assert_eq!((stream.status, stream.body().as_str()), (200, "ok\n"));
        assert!(stream.follow());
    }
    assert_streams(&server, &mut stream, "42");
}

#[test]
fn a_refused_stream_leaves_the_connection_for_the_next_request() {
    let server = TestServer::start();
    let mut client = server.connect();
    client.send(get(NOTIFICATIONS) + &stream_request(&server, "42"));
    let mut stream = client.stream();
    assert_eq!(stream.status, 401);
    assert!(stream.body().contains("Authentication required"));
    assert!(stream.follow());
    assert_streams(&server, &mut stream, "42");
}

#[test]
fn of_two_pipelined_streams_the_first_opens_and_the_second_is_discarded() {
    let server = TestServer::start().over_sse();
    let mut client = server.connect();
    client.send(get(&stream_path(&server, "42")) + &get(&stream_path(&server, "43")));
    let mut stream = client.stream();
    assert_streams(&server, &mut stream, "42");
    assert_eq!(server.metric(&server.series(STREAMS)), Some(1.0));
    assert_eq!(server.metric("idlewild_users"), Some(1.0));
    assert!(stream.is_silent());
}

#[test]
fn a_request_pipelined_after_a_stream_is_discarded() {
    let server = TestServer::start().over_sse();
    let mut client = server.connect();
    client.send(get(&stream_path(&server, "42")) + &get("/healthz").repeat(20));
    let mut stream = client.stream();
    assert_streams(&server, &mut stream, "42");
    assert!(stream.is_silent());
}

#[test]
fn all_requests_before_a_stream_get_complete_responses_in_order() {
    let server = TestServer::start();
    // A few responses fit into the sockets' buffers, many do not. So in some rounds the stream is ready
    // while an earlier response is only partly sent.
    for (number, requests) in [10, 150, 250, 350, 450, 600, 800, 1_200, 2_000, 5_000]
        .into_iter()
        .enumerate()
    {
        let user = format!("reader-{number}");
        let mut all: Vec<u8> = Vec::new();
        for request in 0..requests {
            let path = if request % 3 == 0 {
                "/healthz"
            } else {
                "/nowhere"
            };
            all.extend_from_slice(get(path).as_bytes());
        }
        all.extend_from_slice(stream_request(&server, &user).as_bytes());
        let client = server.connect_narrow();
        let mut socket = client.socket.try_clone().unwrap();
        let written = write_what_fits(&mut socket, &all);
        // Round trips give both shards time to respond as far as they can.
        (0..20).for_each(|_| assert_eq!(server.get("/healthz").status, 200));
        let writer = std::thread::spawn(move || {
            socket.write_all(&all[written..]).unwrap();
            socket.flush().unwrap();
        });
        let mut stream = client.stream();
        for request in 0..requests {
            let (status, body) = if request % 3 == 0 {
                (200, "ok\n")
            } else {
                (404, "{\"error\":\"Not found\"}")
            };
            assert_eq!(
                (stream.status, stream.body().as_str()),
                (status, body),
                "{request}"
            );
            assert!(stream.follow(), "ended after {request} of {requests}");
        }
        assert_streams(&server, &mut stream, &user);
        writer.join().unwrap();
    }
}

fn write_what_fits(socket: &mut Socket, all: &[u8]) -> usize {
    socket.set_nonblocking(true);
    let mut written = 0;
    while written < all.len() {
        match socket.write(&all[written..]) {
            Ok(bytes) => written += bytes,
            Err(error) if error.kind() == ErrorKind::WouldBlock => break,
            Err(error) => panic!("{error}"),
        }
    }
    socket.set_nonblocking(false);
    written
}

#[test]
fn a_body_that_has_not_ended_is_never_read_as_a_request() {
    let server = TestServer::start().over_sse();
    let inside = get(&stream_path(&server, "42"));
    for framing in [
        "Content-Length: 1000000\r\n\r\n".to_owned(),
        "Transfer-Encoding: chunked\r\n\r\nf4240\r\n".to_owned(),
    ] {
        let mut client = server.connect();
        let head = format!("POST {BASE}/sse/ticket/ HTTP/1.1\r\nHost: test\r\n{framing}");
        // The server may close before it has received all of this.
        let _ = client
            .socket
            .write_all((head + &inside.repeat(10)).as_bytes());
        let mut answer = client.stream();
        assert_eq!(answer.status, 401);
        assert_eq!(answer.body(), "{\"error\":\"Authentication required\"}");
        let _ = answer.socket.write_all(inside.as_bytes());
        let _ = answer.socket.shutdown_write();
        assert!(!answer.follow(), "{}", answer.head);
    }
    assert_eq!(server.metric(&server.series(OPENED)), Some(0.0));
    wait_until_empty(&server);
}

#[test]
fn after_a_large_unread_body_the_stream_opens_or_the_connection_ends() {
    let server = TestServer::start();
    for bytes in [10, 4_000, 9_000, 70_000, 600_000] {
        let client = server.connect();
        let head = format!(
            "POST {BASE}/sse/ticket/ HTTP/1.1\r\nHost: test\r\nContent-Length: {bytes}\r\n\r\n"
        );
        let all = format!(
            "{head}{}{}",
            "b".repeat(bytes),
            stream_request(&server, "42")
        );
        let mut socket = client.socket.try_clone().unwrap();
        let writer = std::thread::spawn(move || {
            let _ = socket.write_all(all.as_bytes());
        });
        let mut answer = client.stream();
        assert_eq!(
            (answer.status, answer.body().as_str()),
            (401, "{\"error\":\"Authentication required\"}")
        );
        if answer.follow() {
            assert_streams(&server, &mut answer, "42");
        } else {
            assert_eq!(answer.socket.read(&mut [0]).unwrap_or(0), 0);
        }
        writer.join().unwrap();
        drop(answer);
        wait_until_empty(&server);
    }
}
