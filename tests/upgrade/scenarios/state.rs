//! What the server knows goes on in the new process.

use std::fs;
use std::net::TcpStream;
use std::path::Path;
use std::sync::Arc;

use jsonwebtoken::DecodingKey;
use jsonwebtoken::jwk::Jwk;
use rustls::client::Resumption;
use rustls::{ClientConnection, HandshakeKind};
use serde_json::json;

use crate::clients::{address, next_data, open, token};
use crate::server::Server;
use crate::support::backend::Backend;
use crate::support::http::Reply;
use crate::support::{Client, NOTIFICATIONS, Socket, eventually, request, transport};

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

/// A key set with one key.
fn key_set() -> Reply {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/keys/p256.pem");
    let key = DecodingKey::from_ec_pem(&fs::read(file).unwrap()).unwrap();
    let key = Jwk::from_decoding_key(&key, None).unwrap();
    Reply::body(200, &json!({ "keys": [key] }).to_string())
}

#[test]
fn fetched_keys_go_on_while_their_url_is_away_and_a_url_without_keys_is_declined() {
    let keys = Backend::start(key_set());
    let url = keys.url();
    let mut server = Server::start_with_auth(&format!(
        "algorithms = [\"HS256\", \"ES256\"]\njwks = \"{url}\"\n"
    ));
    let is_ready = |server: &Server| server.admin("GET", "/readyz", "").status == 200;
    eventually("the keys are there", || is_ready(&server));
    keys.reply(Reply::status(503));
    server.upgrade();
    assert!(is_ready(&server));
    let elsewhere = url.replace("by=test", "by=nobody");
    server.reconfigure(&url, &elsewhere);
    server.begin_upgrade();
    eventually("the upgrade is declined", || {
        let log = server.log();
        let line = log.lines().find(|line| line.contains("not upgraded"));
        line.is_some_and(|line| line.contains("no keys yet"))
    });
    assert!(is_ready(&server));
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
