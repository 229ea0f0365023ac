//! Requests in records of all kinds, with a stream as the last one.

use std::io::Write;

use rustls::AlertDescription;

use super::{
    IN_FLIGHT, STREAMS, assert_ends_with_close_notify, assert_lives, get, last_alert,
    stream_request,
};
use crate::support::{Client, NOTIFICATIONS, Stream, TestServer};

/// Sends these bytes as they are, sealed or not.
fn send_raw(client: &Client, bytes: &[u8]) {
    client.socket.tcp().write_all(bytes).unwrap();
}

/// Checks that the response is a stream that receives events.
#[track_caller]
fn assert_streams(server: &TestServer, stream: &mut Stream, user: &str) {
    assert_eq!(stream.status, 200, "{}", stream.head);
    stream.begin();
    assert_lives(server, stream, user);
}

/// Waits until the shards have processed what they were sent.
fn settle(server: &TestServer) {
    (0..10).for_each(|_| assert_eq!(server.get("/healthz").status, 200));
}

#[test]
fn a_stream_follows_several_answers_on_one_connection() {
    let server = TestServer::with_tls(|_| {});
    let mut stream = server.open("/healthz");
    for path in ["/nowhere", NOTIFICATIONS, "/healthz"] {
        stream.body();
        stream.socket.write_all(get(path).as_bytes()).unwrap();
        assert!(stream.follow());
    }
    assert_eq!(stream.body(), "ok\n");
    let last = stream_request(&server, "42");
    stream.socket.write_all(last.as_bytes()).unwrap();
    assert!(stream.follow());
    assert_streams(&server, &mut stream, "42");
}

#[test]
fn keys_that_were_updated_before_the_request_work_for_the_stream() {
    let server = TestServer::with_tls(|_| {});
    let mut stream = server.open("/healthz");
    assert_eq!(stream.body(), "ok\n");
    // The response to this request comes alone.
    let renewed = stream.socket.session().refresh_traffic_keys();
    renewed.unwrap();
    let last = stream_request(&server, "42");
    stream.socket.write_all(last.as_bytes()).unwrap();
    assert!(stream.follow());
    assert_streams(&server, &mut stream, "42");
}

#[test]
fn keys_that_were_updated_between_two_requests_work_for_the_stream() {
    let server = TestServer::with_tls(|_| {});
    let mut stream = server.open("/healthz");
    for _ in 0..3 {
        assert_eq!(stream.body(), "ok\n");
        let renewed = stream.socket.session().refresh_traffic_keys();
        renewed.unwrap();
        stream.socket.write_all(get("/healthz").as_bytes()).unwrap();
        assert!(stream.follow());
    }
    stream.body();
    let last = stream_request(&server, "42");
    stream.socket.write_all(last.as_bytes()).unwrap();
    assert!(stream.follow());
    assert_streams(&server, &mut stream, "42");
    stream.socket.session().send_close_notify();
    stream.socket.send_pending().unwrap();
    server.wait_for_metric("idlewild_disconnects_total{reason=\"client_closed\"}", 1.0);
}

#[test]
fn a_client_that_only_renews_its_keys_is_cut_off() {
    let server = TestServer::with_tls(|_| {});
    let mut stream = server.open("/healthz");
    assert_eq!(stream.body(), "ok\n");
    for _ in 0..40 {
        stream.socket.session().refresh_traffic_keys().unwrap();
    }
    stream.socket.send_pending().unwrap();
    assert_eq!(
        last_alert(&mut stream.socket),
        AlertDescription::UnexpectedMessage
    );
    drop(stream);
    server.wait_for_metric(IN_FLIGHT, 0.0);
}

#[test]
fn a_request_may_arrive_in_two_records_at_once_or_one_by_one() {
    let server = TestServer::with_tls(|_| {});
    for (user, at_once) in [("1", true), ("2", false)] {
        let request = stream_request(&server, user);
        let (start, rest) = request.as_bytes().split_at(request.len() / 2);
        let mut client = server.connect();
        let mut records = client.socket.seal(start);
        if !at_once {
            send_raw(&client, &records);
            settle(&server);
            records.clear();
        }
        records.append(&mut client.socket.seal(rest));
        send_raw(&client, &records);
        assert_streams(&server, &mut client.stream(), user);
    }
}

#[test]
fn a_request_may_arrive_one_byte_at_a_time() {
    let server = TestServer::with_tls(|_| {});
    let mut client = server.connect();
    let records = client.socket.seal(stream_request(&server, "42").as_bytes());
    for byte in records {
        send_raw(&client, &[byte]);
    }
    assert_streams(&server, &mut client.stream(), "42");
}

#[test]
fn a_request_may_consist_of_many_records_of_one_byte() {
    let server = TestServer::with_tls(|_| {});
    let mut client = server.connect();
    let mut records = Vec::new();
    for byte in stream_request(&server, "42").as_bytes() {
        records.append(&mut client.socket.seal(&[*byte]));
    }
    send_raw(&client, &records);
    assert_streams(&server, &mut client.stream(), "42");
}

#[test]
fn half_a_request_is_not_a_request() {
    let server = TestServer::with_tls(|_| {});
    let mut client = server.connect();
    let records = client.socket.seal(stream_request(&server, "42").as_bytes());
    let (last, before) = records.split_last().unwrap();
    send_raw(&client, before);
    settle(&server);
    server.wait_for_metric(IN_FLIGHT, 1.0);
    assert_eq!(server.metric(&server.series(STREAMS)), Some(0.0));
    send_raw(&client, &[*last]);
    assert_streams(&server, &mut client.stream(), "42");
}

#[test]
fn input_after_the_request_is_discarded() {
    let server = TestServer::with_tls(|_| {}).over_sse();
    // In the same record as the request, in a separate record, and in both.
    for (user, within, behind) in [("1", "x", ""), ("2", "", "x"), ("3", "x", "x")] {
        let mut client = server.connect();
        let more = |text: &str| get("/healthz").repeat(20 * text.len());
        let mut records = client
            .socket
            .seal((stream_request(&server, user) + &more(within)).as_bytes());
        records.append(&mut client.socket.seal(more(behind).as_bytes()));
        send_raw(&client, &records);
        let mut stream = client.stream();
        assert_streams(&server, &mut stream, user);
        assert!(stream.is_silent());
        // The shard continues with the client's records where rustls stopped.
        stream.socket.write_all(b"more").unwrap();
        stream.socket.shutdown_write().unwrap();
        assert!(stream.next().is_none());
    }
    server.wait_for_metric("idlewild_disconnects_total{reason=\"client_closed\"}", 3.0);
}

#[test]
fn an_incomplete_record_after_the_request_is_completed() {
    let server = TestServer::with_tls(|_| {}).over_sse();
    for (user, within) in [("1", ""), ("2", "behind the request")] {
        let request = stream_request(&server, user) + within;
        let mut client = server.connect();
        let mut records = client.socket.seal(request.as_bytes());
        let behind = client.socket.seal(&[b'x'; 1_000]);
        let (begun, rest) = behind.split_at(500);
        records.extend_from_slice(begun);
        send_raw(&client, &records);
        settle(&server);
        send_raw(&client, rest);
        assert_streams(&server, &mut client.stream(), user);
    }
}

#[test]
fn a_response_that_ends_the_connection_ends_tls_too() {
    let server = TestServer::with_tls(|_| {});
    let mut client = server.connect();
    client.send("GET /healthz HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n");
    assert_ends_with_close_notify(&mut client.socket);
    let mut broken = server.connect();
    broken.send("garbage\r\n\r\n");
    assert_ends_with_close_notify(&mut broken.socket);
}
