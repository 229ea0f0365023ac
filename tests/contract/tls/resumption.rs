//! Clients that reconnect and resume their TLS session with a ticket.

use std::sync::Arc;

use rustls::client::Resumption;
use rustls::{ClientConfig, HandshakeKind};

use super::{assert_lives, come, get, stream_path};
use crate::support::{TestServer, transport};

fn client() -> Arc<ClientConfig> {
    let mut client = transport::certificate().client();
    client.resumption = Resumption::in_memory_sessions(8);
    Arc::new(client)
}

/// The kind of handshake for a request that succeeded.
fn ask(server: &TestServer, client: &Arc<ClientConfig>) -> Option<HandshakeKind> {
    let mut connection = come(server, client, "localhost");
    connection.send(get("/healthz"));
    let mut answer = connection.stream();
    assert_eq!(answer.body(), "ok\n");
    answer.socket.session().handshake_kind()
}

#[test]
fn a_client_that_reconnects_resumes_and_can_open_a_stream() {
    let server = TestServer::with_tls(|_| {});
    let client = client();
    for kind in [HandshakeKind::Full, HandshakeKind::Resumed] {
        let mut connection = come(&server, &client, "localhost");
        connection.get(&stream_path(&server, "42"), "");
        let mut stream = connection.stream();
        stream.begin();
        assert_eq!(stream.socket.session().handshake_kind(), Some(kind));
        assert_lives(&server, &mut stream, "42");
    }
}

#[test]
fn a_reload_keeps_tickets_valid() {
    let server = TestServer::with_tls(|_| {});
    let client = client();
    assert_eq!(ask(&server, &client), Some(HandshakeKind::Full));
    let running = server.server.as_ref().unwrap();
    running.reload(&server.config).unwrap();
    assert_eq!(ask(&server, &client), Some(HandshakeKind::Resumed));
}

#[test]
fn without_tickets_every_handshake_is_a_full_one() {
    let server = TestServer::with_tls(|config| config.tls.session_tickets = false);
    let client = client();
    for _ in 0..3 {
        assert_eq!(ask(&server, &client), Some(HandshakeKind::Full));
    }
}
