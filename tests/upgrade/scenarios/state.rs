//! What the server knows goes on in the new process.

use std::net::TcpStream;
use std::sync::Arc;

use rustls::client::Resumption;
use rustls::{ClientConnection, HandshakeKind};

use crate::clients::{address, next_data, open, token};
use crate::server::Server;
use crate::support::{Client, NOTIFICATIONS, Socket, request, transport};

#[test]
fn a_revoked_token_stays_revoked_and_a_session_ends_as_before() {
    let mut server = Server::start("");
    let address = address(server.addresses, "sse");
    let session = |name: &str| {
        let body = format!(r#"{{"session_id":"{name}"}}"#);
        let answer = server.admin("PUT", "/v1/users/1/session", &body);
        assert_eq!(answer.status, 200, "{}", answer.body);
    };
    session("old");
    session("current");
    let mut stream = open(address, &token("1", Some("current"), &[]), "");
    server.upgrade();
    let status = |token: &str| {
        let client = Client::connect(address);
        client
            .open(&format!("{NOTIFICATIONS}?token={token}"))
            .status
    };
    let of_session = |session: &str| token("1", Some(session), &[]);
    assert_eq!(status(&of_session("old")), 401);
    let answer = server.admin("PUT", "/v1/users/1/session", r#"{"session_id":"next"}"#);
    assert_eq!(answer.status, 200, "{}", answer.body);
    assert!(next_data(&mut stream).contains("FORCE_LOGOUT"));
    assert!(stream.next().is_none() && stream.is_complete);
    assert_eq!(status(&of_session("current")), 401);
    let before = of_session("next");
    let answer = server.admin("POST", "/v1/users/1/logout", "{}");
    assert_eq!(answer.status, 200, "{}", answer.body);
    server.upgrade();
    assert_eq!(status(&before), 401);
}

#[test]
fn a_ticket_is_used_once_whichever_process_issued_it() {
    let mut server = Server::start("");
    let address = address(server.addresses, "sse");
    let token = format!("Bearer {}", token("1", None, &[]));
    let headers = [("Authorization", token.as_str())];
    let answer = request(address, "POST", "/api/v1/auth/sse/ticket/", &headers, "");
    assert_eq!(answer.status, 201, "{}", answer.body);
    let ticket = answer.json()["ticket"].as_str().unwrap().to_owned();
    server.upgrade();
    let use_it = || {
        let client = Client::connect(address);
        client.open(&format!("{NOTIFICATIONS}?ticket={ticket}"))
    };
    let stream = use_it();
    assert_eq!(stream.status, 200, "{}", stream.head);
    assert_eq!(use_it().status, 401);
}

#[test]
fn a_client_resumes_its_tls_session_with_a_ticket_of_the_process_before() {
    let mut server = Server::start("");
    let address = address(server.addresses, "sse over tls");
    let mut client = transport::certificate().client();
    client.resumption = Resumption::in_memory_sessions(8);
    let client = Arc::new(client);
    let token = token("1", None, &[]);
    // The last ticket comes from a process that did not make the keys.
    for kind in [
        HandshakeKind::Full,
        HandshakeKind::Resumed,
        HandshakeKind::Resumed,
    ] {
        let tcp = TcpStream::connect(address.tcp).unwrap();
        let name = "localhost".try_into().unwrap();
        let tls = ClientConnection::new(Arc::clone(&client), name).unwrap();
        let connection = Client::with(Socket::with(tcp, Some(tls)), address);
        let mut stream = connection.open(&format!("{NOTIFICATIONS}?token={token}"));
        stream.begin();
        assert_eq!(stream.socket.session().handshake_kind(), Some(kind));
        server.upgrade();
    }
}

#[test]
fn a_publishers_retry_is_recognised_and_a_returning_client_is_replayed() {
    let mut server = Server::start("");
    let address = address(server.addresses, "sse");
    let mut stream = open(address, &token("1", None, &[]), "");
    let publish = |data: &str, id: &str| {
        let event = format!(r#"{{"to":{{"user":"1"}},"data":"{data}","id":"{id}"}}"#);
        let answer = server.admin("POST", "/v1/events", &event);
        assert_eq!(answer.status, 202, "{}", answer.body);
        answer.json()["id"].as_str().unwrap().to_owned()
    };
    let first = publish("a", "one");
    assert_eq!(next_data(&mut stream), "a");
    stream.close();
    let second = publish("b", "two");
    server.upgrade();
    let publish = |data: &str, id: &str| {
        let event = format!(r#"{{"to":{{"user":"1"}},"data":"{data}","id":"{id}"}}"#);
        let answer = server.admin("POST", "/v1/events", &event);
        answer.json()["id"].as_str().unwrap().to_owned()
    };
    assert_eq!(publish("b again", "two"), second);
    let third = publish("c", "three");
    assert!(third > second, "{third}");
    let mut stream = Client::connect(address).reconnect(&token("1", None, &[]), &first);
    stream.begin();
    assert_eq!(next_data(&mut stream), "b");
    assert_eq!(next_data(&mut stream), "c");
}

#[test]
fn the_limit_of_a_user_counts_the_streams_that_moved() {
    let mut server = Server::start("max_connections_per_user = 5\n");
    let address = address(server.addresses, "sse");
    let token = token("1", None, &[]);
    let streams: Vec<_> = (0..5).map(|_| open(address, &token, "")).collect();
    server.upgrade();
    assert_eq!(server.connections("1"), 5);
    let client = Client::connect(address);
    let refused = client.open(&format!("{NOTIFICATIONS}?token={token}"));
    assert_eq!(refused.status, 429, "{}", refused.head);
    drop(streams);
}
