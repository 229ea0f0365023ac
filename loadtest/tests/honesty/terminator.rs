//! A proxy that terminates TLS in front of a plain server, with optional faults.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rcgen::{CertifiedKey, generate_simple_self_signed};
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::PrivatePkcs8KeyDer;
use rustls::{ServerConfig, ServerConnection, StreamOwned};

/// What the proxy does after it has passed on the first bytes of a response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Then {
    /// Passes on the rest.
    GoOn,
    /// Sends `close_notify` and closes the connection.
    Close,
    /// Closes the connection without `close_notify`.
    Truncate,
    /// Sends an invalid record.
    Tamper,
}

/// A running proxy; its threads end with the test's process.
#[derive(Debug)]
pub(crate) struct Terminator {
    pub(crate) url: String,
    /// Its certificate, self-signed, as the text of a PEM file.
    pub(crate) pem: String,
}

impl Terminator {
    /// Starts in front of the server at `http://address`.
    pub(crate) fn start(plain_url: &str, then: Then) -> Self {
        let plain = plain_url.strip_prefix("http://").unwrap().to_owned();
        let (config, pem) = config();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("https://{}", listener.local_addr().unwrap());
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let stream = client(&config, stream);
                let server = TcpStream::connect(&plain).unwrap();
                std::thread::spawn(move || serve(stream, server, then));
            }
        });
        Self { url, pem }
    }
}

type Client = StreamOwned<ServerConnection, TcpStream>;

/// Wraps the connection of a new client in TLS.
pub(crate) fn accept_tls(stream: TcpStream) -> Client {
    client(&config().0, stream)
}

fn client(config: &Arc<ServerConfig>, stream: TcpStream) -> Client {
    let tls = ServerConnection::new(Arc::clone(config)).unwrap();
    StreamOwned::new(tls, stream)
}

/// A configuration with a new certificate, and the certificate as PEM.
fn config() -> (Arc<ServerConfig>, String) {
    let CertifiedKey { cert, signing_key } =
        generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap();
    let text = STANDARD.encode(cert.der());
    let key = PrivatePkcs8KeyDer::from(signing_key.serialize_der());
    let mut config = ServerConfig::builder_with_provider(aws_lc_rs::default_provider().into())
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![cert.into()], key.into())
        .unwrap();
    config.ticketer = aws_lc_rs::Ticketer::new().unwrap();
    let pem = format!("-----BEGIN CERTIFICATE-----\n{text}\n-----END CERTIFICATE-----\n");
    (Arc::new(config), pem)
}

/// Ends when one side has closed its connection.
fn serve(mut client: Client, mut server: TcpStream, then: Then) -> Option<()> {
    let mut request = String::new();
    let mut reader = BufReader::with_capacity(1, &mut client);
    while !request.ends_with("\r\n\r\n") {
        if reader.read_line(&mut request).ok()? == 0 {
            return None;
        }
    }
    server.write_all(request.as_bytes()).ok()?;
    let mut buffer = [0; 8192];
    loop {
        let length = server.read(&mut buffer).ok().filter(|&length| length > 0)?;
        client.write_all(&buffer[..length]).ok()?;
        match then {
            Then::GoOn => continue,
            Then::Close => {
                client.conn.send_close_notify();
                client.flush().ok()?;
            }
            Then::Truncate => {}
            Then::Tamper => {
                let record = [&[23, 3, 3, 0, 40][..], &[7; 40]].concat();
                client.sock.write_all(&record).ok()?;
            }
        }
        client.sock.shutdown(std::net::Shutdown::Write).ok()?;
        let _ = client.sock.read(&mut buffer); // open until the load generator closes it
        return None;
    }
}
