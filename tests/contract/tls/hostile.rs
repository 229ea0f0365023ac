//! Clients that violate the protocol during a stream: they are disconnected, and others are not affected.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;

use aws_lc_rs::aead::{AES_128_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use rustls::{AlertDescription, ClientConnection, ConnectionTrafficSecrets};

use super::{STREAMS, assert_lives, get, last_alert, stream_path};
use crate::support::{PATIENCE, Stream, TestServer, transport};

/// Content types of records (RFC 8446 §5.1).
const ALERT: u8 = 21;
const HANDSHAKE: u8 = 22;
const DATA: u8 = 23;

/// A server with two streams. The second must not be affected.
struct Scene {
    server: TestServer,
    other: Stream,
}

impl Scene {
    fn new() -> Self {
        Self::of(TestServer::with_tls(|config| config.shards = 1))
    }

    fn over_sse() -> Self {
        Self::of(TestServer::with_tls(|config| config.shards = 1).over_sse())
    }

    fn of(server: TestServer) -> Self {
        let other = server.stream("43");
        Self { server, other }
    }

    /// Sends bytes on the stream of user 42 that were sealed and then changed by `spoil`.
    fn send(&self, bytes: &[u8], spoil: impl FnOnce(&mut Vec<u8>)) -> Stream {
        let mut stream = self.server.stream("42");
        let input = stream.input(bytes);
        let mut records = stream.socket.seal(&input);
        spoil(&mut records);
        stream.socket.tcp().write_all(&records).unwrap();
        stream
    }

    /// Checks that the offending client is disconnected, and the other one is not.
    #[track_caller]
    fn assert_cut_off(self) {
        self.assert_cut_off_for("error");
    }

    /// The same, with the reason that is counted.
    #[track_caller]
    fn assert_cut_off_for(mut self, reason: &str) {
        let disconnects = format!("idlewild_disconnects_total{{reason=\"{reason}\"}}");
        self.server.wait_for_metric(&disconnects, 1.0);
        self.server
            .wait_for_metric(&self.server.series(STREAMS), 1.0);
        self.server.wait_for_metric("idlewild_users", 1.0);
        assert_lives(&self.server, &mut self.other, "43");
    }
}

#[test]
fn a_record_that_was_tampered_with_ends_the_stream() {
    // A byte of the header's version, of the text, and of the tag.
    for place in [1, 7, 25] {
        let scene = Scene::new();
        let mut stream = scene.send(b"text", |records| records[place] ^= 1);
        assert_eq!(
            last_alert(&mut stream.socket),
            AlertDescription::BadRecordMac,
            "{place}"
        );
        scene.assert_cut_off();
    }
}

#[test]
fn a_repeated_record_ends_the_stream() {
    let scene = Scene::new();
    let mut stream = scene.send(b"text", |records| *records = records.repeat(2));
    assert_eq!(
        last_alert(&mut stream.socket),
        AlertDescription::BadRecordMac
    );
    scene.assert_cut_off();
}

#[test]
fn a_missing_record_ends_the_stream() {
    let scene = Scene::new();
    let mut stream = scene.send(b"text", Vec::clear);
    let behind = stream.socket.seal(b"more");
    stream.socket.tcp().write_all(&behind).unwrap();
    assert_eq!(
        last_alert(&mut stream.socket),
        AlertDescription::BadRecordMac
    );
    scene.assert_cut_off();
}

#[test]
fn a_malformed_record_ends_the_stream() {
    let plain = get("/healthz").into_bytes();
    let alert_in_plain = b"\x15\x03\x03\x00\x02\x01\x00".to_vec();
    let hello = b"\x16\x03\x01\x00\x05\x01\x00\x00\x01x".to_vec();
    for bytes in [plain, alert_in_plain, hello] {
        let scene = Scene::new();
        let mut stream = scene.send(b"", |records| *records = bytes);
        assert_eq!(
            last_alert(&mut stream.socket),
            AlertDescription::UnexpectedMessage
        );
        scene.assert_cut_off();
    }
}

#[test]
fn a_record_that_is_too_long_ends_the_stream() {
    let scene = Scene::new();
    let mut stream = scene.send(b"", |records| *records = b"\x17\x03\x03\x41\x01".to_vec());
    assert_eq!(
        last_alert(&mut stream.socket),
        AlertDescription::RecordOverflow
    );
    scene.assert_cut_off();
}

#[test]
fn the_server_does_not_wait_for_a_record_of_more_than_8_kib() {
    // A WebSocket client may send messages, so its records may have any length.
    let scene = Scene::over_sse();
    let mut stream = scene.send(&[b'x'; 8_192], |records| records.truncate(100));
    assert_eq!(stream.next(), None);
    assert!(!stream.is_complete);
    scene.assert_cut_off();
}

#[test]
fn records_of_more_than_8_kib_in_total_end_the_stream() {
    let scene = Scene::new();
    let mut stream = scene.server.stream("42");
    for _ in 0..100 {
        let input = stream.input(&[b'x'; 100]);
        let records = stream.socket.seal(&input);
        // The last records are sent after the server has stopped reading.
        let _ = stream.socket.tcp().write_all(&records);
    }
    assert_eq!(stream.next(), None);
    assert!(!stream.is_complete);
    // A WebSocket client has sent too many messages.
    let is_websocket = scene.server.public.transport() == "ws";
    scene.assert_cut_off_for(if is_websocket { "protocol" } else { "error" });
}

#[test]
fn a_thousand_empty_records_end_the_stream() {
    // A WebSocket client may send any number of pings, and so of records.
    let scene = Scene::over_sse();
    let mut sealer = Sealer::with_stream(&scene.server, "42");
    for _ in 0..1_000 {
        sealer.send(DATA, b"");
    }
    sealer.assert_ended();
    scene.assert_cut_off();
}

#[test]
fn a_few_empty_records_are_ignored() {
    let scene = Scene::new();
    let mut sealer = Sealer::with_stream(&scene.server, "42");
    for _ in 0..100 {
        sealer.send(DATA, b"");
    }
    // A client that cancels has not closed yet.
    sealer.send(ALERT, &[1, 90]);
    scene
        .server
        .wait_for_metric(&scene.server.series(STREAMS), 2.0);
    sealer.send(ALERT, &[1, 0]);
    scene
        .server
        .wait_for_metric("idlewild_disconnects_total{reason=\"client_closed\"}", 1.0);
    sealer.assert_ended();
}

#[test]
fn a_clients_fatal_alert_ends_the_stream() {
    let scene = Scene::new();
    let mut sealer = Sealer::with_stream(&scene.server, "42");
    sealer.send(ALERT, &[2, 20]);
    sealer.assert_ended();
    scene.assert_cut_off();
}

#[test]
fn messages_that_no_client_may_send_end_the_stream() {
    let new_session_ticket = (HANDSHAKE, &[4, 0, 0, 0][..]);
    let change_cipher_spec = (20, &[1][..]);
    let of_no_type = (0, &[][..]);
    let half_an_alert = (ALERT, &[1][..]);
    for (typed, content) in [
        new_session_ticket,
        change_cipher_spec,
        of_no_type,
        half_an_alert,
    ] {
        let scene = Scene::new();
        let mut sealer = Sealer::with_stream(&scene.server, "42");
        sealer.send(typed, content);
        sealer.assert_ended();
        scene.assert_cut_off();
    }
}

/// A client that can seal arbitrary records.
struct Sealer {
    tcp: TcpStream,
    key: LessSafeKey,
    iv: [u8; 12],
    sequence: u64,
}

impl Sealer {
    /// Takes the secrets of an open stream.
    fn with_stream(server: &TestServer, user: &str) -> Self {
        let mut config = transport::certificate().client();
        config.enable_secret_extraction = true;
        let name = "localhost".try_into().unwrap();
        let mut tls = ClientConnection::new(Arc::new(config), name).unwrap();
        let mut tcp = TcpStream::connect(server.public.tcp).unwrap();
        tcp.set_read_timeout(Some(PATIENCE)).unwrap();
        tcp.set_nodelay(true).unwrap();
        let request = server.public.get(&stream_path(server, user), "");
        let mut stream = rustls::Stream::new(&mut tls, &mut tcp);
        stream.write_all(request.as_bytes()).unwrap();
        let mut received = String::new();
        // The first block, or the first message.
        while !received.contains("retry: ") && !received.contains("\"retry\": ") {
            let mut buffer = [0; 1_024];
            let read = stream.read(&mut buffer).unwrap();
            received.push_str(&String::from_utf8_lossy(&buffer[..read]));
        }
        let secrets = tls.dangerous_extract_secrets().unwrap();
        let (sequence, ConnectionTrafficSecrets::Aes128Gcm { key, iv }) = secrets.tx else {
            panic!("the server agreed on another cipher");
        };
        let key = UnboundKey::new(&AES_128_GCM, key.as_ref()).unwrap();
        Self {
            tcp,
            key: LessSafeKey::new(key),
            iv: iv.as_ref().try_into().unwrap(),
            sequence,
        }
    }

    /// Sends a record, unless the server has stopped reading.
    fn send(&mut self, typed: u8, content: &[u8]) {
        let mut body = [content, &[typed]].concat();
        let length = u16::try_from(body.len() + 16).unwrap().to_be_bytes();
        let header = [DATA, 3, 3, length[0], length[1]];
        let mut nonce = self.iv;
        let sequence = self.sequence.to_be_bytes();
        let last = nonce.iter_mut().skip(4);
        last.zip(sequence).for_each(|(byte, of)| *byte ^= of);
        self.sequence += 1;
        self.key
            .seal_in_place_append_tag(
                Nonce::assume_unique_for_key(nonce),
                Aad::from(header),
                &mut body,
            )
            .unwrap();
        let _ = self.tcp.write_all(&[&header[..], &body].concat());
    }

    fn assert_ended(&mut self) {
        // A reset also counts as an end.
        let _ = self.tcp.read_to_end(&mut Vec::new());
        self.tcp.set_nonblocking(true).unwrap();
        let after = self.tcp.read(&mut [0]);
        assert!(
            !matches!(&after, Err(error) if error.kind() == std::io::ErrorKind::WouldBlock),
            "it goes on"
        );
    }
}
