//! Listeners with TLS: ports, passed sockets, and behind a load balancer.

use super::{assert_lives, stream_path};
use crate::support::{Client, TestServer};

#[test]
fn plain_listeners_stay_plain() {
    let server = TestServer::with_tls(|_| {});
    let running = server.server.as_ref().unwrap();
    assert_eq!(running.public_endpoints().len(), 1);
    assert_eq!(running.tls_endpoints().len(), 1);
    let plain: std::net::SocketAddr = running.public_endpoints()[0].to_string().parse().unwrap();
    let mut over_tcp = Client::connect(plain).open(&stream_path(&server, "42"));
    let mut over_tls = server.open(&stream_path(&server, "42"));
    for stream in [&mut over_tcp, &mut over_tls] {
        stream.begin();
    }
    server.publish(&serde_json::json!({"to": {"user": "42"}, "data": "x"}));
    assert_eq!(over_tcp.next(), over_tls.next());
}

#[test]
fn a_server_may_have_no_plain_listener() {
    let server = TestServer::with_tls(|config| config.listen.clear());
    assert_lives(&server, &mut server.stream("42"), "42");
}

#[test]
fn a_proxy_header_precedes_the_handshake() {
    let server = TestServer::with_tls(|config| config.proxy_protocol = config.tls.listen.clone());
    let mut client = server.connect();
    client
        .socket
        .begin_with(b"PROXY TCP4 192.0.2.7 192.0.2.1 4321 443\r\n");
    client.get(&stream_path(&server, "42"), "");
    let mut stream = client.stream();
    stream.begin();
    let presence = server.admin("GET", "/v1/users/42", "").json();
    assert_eq!(presence["connections"][0]["remote"], "192.0.2.7");
    assert_lives(&server, &mut stream, "42");
}
