//! TLS itself. All other tests run over TLS if `IDLEWILD_CONTRACT=tls` is set; these always run over
//! TLS.

mod agreement;
mod certificates;
mod endings;
mod hostile;
mod key_log;
mod listeners;
mod refused_files;
mod requests;
mod resumption;
mod slow;

use std::io::{self, Read};
use std::net::TcpStream;
use std::sync::Arc;

use rustls::{AlertDescription, ClientConfig, ClientConnection};
use serde_json::json;

use crate::support::{Client, Socket, Stream, TestServer};

const STREAMS: &str = "idlewild_connections";
const IN_FLIGHT: &str = "idlewild_handshakes_in_flight";
const REFUSED: &str = "idlewild_refused_total{reason=\"handshake\"}";

/// Connects with the test's own TLS settings, to a server with this name.
fn come(server: &TestServer, client: &Arc<ClientConfig>, name: &str) -> Client {
    let tcp = TcpStream::connect(server.public.tcp).unwrap();
    tcp.set_nodelay(true).unwrap();
    let name = name.to_owned().try_into().unwrap();
    let tls = ClientConnection::new(Arc::clone(client), name).unwrap();
    Client::with(Socket::with(tcp, Some(tls)), server.public)
}

/// Publishes to the user of this stream, and checks that the event is the next frame.
#[track_caller]
fn assert_lives(server: &TestServer, stream: &mut Stream, user: &str) {
    let id = server.publish(&json!({"to": {"user": user}, "data": "x"}));
    assert_eq!(
        stream.next().as_deref(),
        Some(format!("id: {id}\nevent: message\ndata: x\n\n").as_str())
    );
}

/// The error that TLS reported.
#[track_caller]
fn tls_error<T>(result: io::Result<T>) -> rustls::Error {
    let error = result.err().expect("an error");
    let error = error.get_ref().and_then(|error| error.downcast_ref());
    error.cloned().expect("an error of TLS")
}

/// Reads until the connection ends, and returns the alert that ended it.
fn last_alert(socket: &mut Socket) -> AlertDescription {
    let read = socket.read_to_end(&mut Vec::new());
    match tls_error(read) {
        rustls::Error::AlertReceived(alert) => alert,
        other => panic!("{other}"),
    }
}

/// Reads until the server ends the connection with `close_notify`.
#[track_caller]
fn assert_ends_with_close_notify(socket: &mut Socket) {
    socket.read_to_end(&mut Vec::new()).expect("close_notify");
}

/// A complete GET request without further headers.
fn get(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: test\r\n\r\n")
}

/// A request for a stream of this user.
fn stream_request(server: &TestServer, user: &str) -> String {
    server.public.get(&stream_path(server, user), "")
}

fn stream_path(server: &TestServer, user: &str) -> String {
    let token = server.token(user);
    format!("{}?token={token}", crate::support::NOTIFICATIONS)
}
