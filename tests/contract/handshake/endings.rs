//! Clients that leave, and clients that the server disconnects.

use std::io::{Read, Write};
use std::time::Duration;

use super::{IN_FLIGHT, OPENED, STREAMS, get, stream_path, stream_request, wait_until_empty};
use crate::support::backend::Backend;
use crate::support::http::Reply;
use crate::support::{BASE, NOTIFICATIONS, TestServer};

#[test]
fn a_client_that_half_closes_after_its_request_leaves_nothing() {
    let server = TestServer::start();
    for _ in 0..20 {
        let mut client = server.connect();
        client.send(stream_request(&server, "42"));
        client.socket.shutdown_write().unwrap();
        client.read_to_end();
    }
    wait_until_empty(&server);
}

#[test]
fn a_client_that_half_closes_an_open_stream_leaves_nothing() {
    let server = TestServer::start();
    let mut stream = server.stream("42");
    stream.socket.shutdown_write().unwrap();
    assert_eq!(stream.next(), None);
    wait_until_empty(&server);
    server.wait_for_metric("idlewild_disconnects_total{reason=\"client_closed\"}", 1.0);
}

#[test]
fn a_client_that_closes_its_side_still_gets_its_responses() {
    let server = TestServer::start().over_sse();
    let login = |body: &str| {
        format!(
            "POST {BASE}/login/ HTTP/1.1\r\nHost: test\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        )
    };
    let user = "{\"email\": \"user@example.com\", \"password\": \"password\"}";
    let ticket = format!("POST {BASE}/sse/ticket/ HTTP/1.1\r\nHost: test\r\n\r\n");
    let bearer = format!("Authorization: Bearer {}\r\n\r\n", server.token("42"));
    for (requests, expected) in [
        (get("/healthz"), vec![200]),
        (get("/nowhere"), vec![404]),
        (get(NOTIFICATIONS), vec![401]),
        (ticket.clone(), vec![401]),
        (
            ticket.replace("\r\n\r\n", &format!("\r\n{bearer}")),
            vec![201],
        ),
        (login(user), vec![200]),
        (login("{}"), vec![400]),
        // A request whose body is cut off.
        (login(user)[..120].to_owned(), vec![400]),
        (
            get("/healthz") + &login(user) + &get("/nowhere"),
            vec![200, 200, 404],
        ),
        (get("/healthz").repeat(100), vec![200; 100]),
    ] {
        let mut client = server.connect();
        client.send(&requests);
        client.socket.shutdown_write().unwrap();
        let bytes = client.read_to_end();
        let answers = String::from_utf8(bytes).unwrap();
        let statuses: Vec<u16> = answers
            .split("HTTP/1.1 ")
            .skip(1)
            .map(|answer| answer[..3].parse().unwrap())
            .collect();
        assert_eq!(statuses, expected, "{requests}");
    }
    wait_until_empty(&server);
}

#[test]
fn a_client_that_closes_its_side_before_its_stream_is_open_gets_no_stream() {
    let backend = Backend::start(Reply::body(200, "{\"user_id\": 42}"));
    backend.hold();
    let server = TestServer::with(|config| {
        config.auth.session_auth_url = Some(backend.url().parse().unwrap());
    });
    for lines in ["Cookie: sessionid=1\r\n", "Transfer-Encoding: chunked\r\n"] {
        let mut client = server.connect();
        client.get(NOTIFICATIONS, lines);
        server.wait_for_metric(IN_FLIGHT, 1.0);
        client.socket.shutdown_write().unwrap();
        server.wait_for_metric(IN_FLIGHT, 0.0);
    }
    backend.release();
    wait_until_empty(&server);
}

#[test]
fn a_client_that_ends_inside_a_head_leaves_nothing() {
    let server = TestServer::start();
    let request = stream_request(&server, "42");
    for bytes in [0, 1, 3, 20, request.len() - 2, request.len() - 1] {
        let mut client = server.connect();
        client.send(&request[..bytes]);
        client.socket.shutdown_write().unwrap();
        let answer = String::from_utf8(client.read_to_end()).unwrap();
        assert!(
            answer.is_empty() || answer.starts_with("HTTP/1.1 400 "),
            "{bytes}: {answer:?}"
        );
    }
    wait_until_empty(&server);
    assert_eq!(server.metric(&server.series(OPENED)), Some(0.0));
}

#[test]
fn clients_that_disappear_right_after_their_request_leave_nothing() {
    let server = TestServer::with(|config| config.max_connections_per_user = 1_000);
    let path = stream_path(&server, "42");
    for round in 0..100 {
        let mut client = server.connect();
        client.get(&path, "");
        if round % 2 == 0 {
            client.socket.reset();
        }
    }
    wait_until_empty(&server);
    // The same for clients whose response is on its way.
    for round in 0..100 {
        let stream = server.open(&path);
        if round % 2 == 0 {
            stream.reset();
        }
    }
    wait_until_empty(&server);
    assert!(server.stream("42").is_silent());
}

#[test]
fn an_idle_connection_is_closed_after_the_handshake_timeout() {
    let server = TestServer::start();
    let mut silent = server.connect();
    let mut slow = server.connect();
    slow.send("GET /heal");
    let mut kept = server.open("/healthz");
    kept.body();
    server.wait_for_metric(IN_FLIGHT, 3.0);
    server.advance(Duration::from_millis(9_900));
    assert_eq!(server.get("/healthz").status, 200);
    server.wait_for_metric(IN_FLIGHT, 3.0);
    server.advance(Duration::from_millis(200));
    assert_eq!(silent.read_to_end(), b"");
    slow.read_to_end();
    assert!(!kept.follow());
    server.wait_for_metric(IN_FLIGHT, 0.0);
    assert_eq!(
        server.metric("idlewild_refused_total{reason=\"handshake\"}"),
        Some(2.0)
    );
}

#[test]
fn a_slow_loris_has_no_more_time_than_a_silent_client() {
    let server = TestServer::start();
    let mut client = server.connect();
    server.wait_for_metric(IN_FLIGHT, 1.0);
    client.send("G");
    server.advance(Duration::from_secs(5));
    client.send("E");
    assert_eq!(server.metric(IN_FLIGHT), Some(1.0));
    server.advance(Duration::from_secs(5));
    let _ = client.socket.write_all(b"T");
    let mut rest = Vec::new();
    let _ = client.socket.read_to_end(&mut rest);
    assert_eq!(rest, b"");
    server.wait_for_metric(IN_FLIGHT, 0.0);
}

#[test]
fn a_request_whose_body_trickles_in_is_closed_after_the_handshake_timeout() {
    let server = TestServer::start();
    let mut client = server.connect();
    client.send(format!(
        "POST {BASE}/login/ HTTP/1.1\r\nHost: test\r\nContent-Length: 50\r\n\r\n{{"
    ));
    server.wait_for_metric(IN_FLIGHT, 1.0);
    server.advance(Duration::from_secs(5));
    client.send("\"");
    server.advance(Duration::from_secs(5));
    client.read_to_end();
    server.wait_for_metric(IN_FLIGHT, 0.0);
}

#[test]
fn a_client_that_does_not_read_its_response_is_closed_after_the_handshake_timeout() {
    let server = TestServer::start();
    let mut client = server.connect();
    let requests = get("/nowhere").repeat(100_000);
    client.socket.set_nonblocking(true);
    // Until the server stops responding, because the client does not read.
    crate::support::eventually("the server is blocked", || {
        let mut is_blocked = true;
        while client.socket.write(requests.as_bytes()).is_ok() {
            is_blocked = false;
        }
        is_blocked
    });
    crate::support::eventually("the connection ended", || {
        server.advance(Duration::from_secs(1));
        server.metric(IN_FLIGHT) == Some(0.0)
    });
}

#[test]
fn input_after_the_request_is_discarded_up_to_8_kib() {
    // With TLS, whole records count: header, type and tag as well.
    const RECORD: usize = 5 + 1 + 16;
    let server = TestServer::start().over_sse();
    let mut stream = server.stream("42");
    let more = if stream.socket.is_tls() { RECORD } else { 0 };
    for bytes in [4_000, 4_192] {
        stream.socket.write_all(&vec![b'x'; bytes - more]).unwrap();
    }
    let id = server.publish(&serde_json::json!({"to": {"user": "42"}, "data": 1}));
    assert_eq!(
        stream.next().unwrap(),
        format!("id: {id}\nevent: message\ndata: 1\n\n")
    );
    assert_eq!(server.metric(&server.series(STREAMS)), Some(1.0));
    stream.socket.write_all(b"x").unwrap();
    server.wait_for_metric("idlewild_disconnects_total{reason=\"error\"}", 1.0);
    assert_eq!(stream.next(), None);
    wait_until_empty(&server);
}
