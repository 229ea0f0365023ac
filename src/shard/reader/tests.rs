use std::io::{ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use tokio::runtime::Runtime;

use crate::clock::Clock;
use crate::hub::ConnectionId;
use crate::metrics::{DisconnectReason, Metrics};
use crate::shard::look::look;
use crate::shard::model::{opener::Opener, shared};
use crate::shard::poller::Poller;
use crate::shard::{Admission, Detached, Shard};
use crate::tls::MAX_RECORDS;
use crate::wire::Signal;

const HANDSHAKE: u8 = 22;
const DATA: u8 = 23;

/// A shard with one client, which uses TLS.
struct Scene {
    shard: Shard,
    client: UnixStream,
    opener: Opener,
    received: Vec<u8>,
    id: ConnectionId,
    /// The connection was reset, so earlier bytes may be lost.
    is_reset: bool,
    _runtime: Runtime,
}

impl Scene {
    fn new() -> Self {
        let shared = shared(Clock::manual(1_700_000_000_000), 1);
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        let context = runtime.enter();
        let mut shard = Shard::new(0, shared, Poller::new().unwrap());
        drop(context);
        let admission = Admission::of_test_stream();
        let id = shard.connections.table.vacancy().unwrap();
        let seat = shard.admit(admission).unwrap();
        let (client, server) = UnixStream::pair().unwrap();
        client.set_nonblocking(true).unwrap();
        let (secrets, opener) = Opener::pair(0);
        let detached = Detached::new(server.into(), Some(secrets), false);
        shard.join(seat, detached, b"HEAD".to_vec()).unwrap();
        Self {
            shard,
            client,
            opener,
            received: Vec::new(),
            id,
            is_reset: false,
            _runtime: runtime,
        }
    }

    fn record(&mut self, typed: u8, content: &[u8]) -> Vec<u8> {
        self.opener.secrets.record(typed, content)
    }

    /// The client sends these bytes, and the shard handles them.
    fn send(&mut self, bytes: &[u8]) {
        // The server may close the connection in the middle of it.
        let _ = self.client.write_all(bytes);
        self.shard.poll_sockets(&mut Vec::new());
    }

    /// Reads what has arrived. Returns true if the server has closed the connection.
    fn read(&mut self) -> bool {
        let mut buffer = [0; 4_096];
        loop {
            match self.client.read(&mut buffer) {
                Ok(0) => return true,
                Ok(read) => self.opener.receive(&buffer[..read], &mut self.received),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return false,
                Err(error) if error.kind() == ErrorKind::ConnectionReset => {
                    self.is_reset = true;
                    return true;
                }
                Err(error) => panic!("{error}"),
            }
        }
    }

    fn is_held(&self) -> bool {
        self.shard.len() == 1
    }

    fn ended_as(&self, reason: DisconnectReason) -> u64 {
        let metrics: &Metrics = &self.shard.shared().metrics;
        metrics.sum(|shard| shard.disconnects.at(reason as usize).value())
    }
}

#[test]
fn input_that_does_not_end_the_connection_is_ignored() {
    let mut scene = Scene::new();
    let record = scene.record(DATA, b"nobody asked");
    scene.send(&record);
    let canceled = scene.record(21, &[1, 90]);
    scene.send(&canceled);
    assert!(!scene.read() && scene.is_held());
    assert!(scene.received.starts_with(b"HEAD"));
}

#[test]
fn a_close_notify_makes_room_before_its_socket_is_polled() {
    let mut scene = Scene::new();
    let id = scene.id;
    assert_eq!(look(&mut scene.shard.connections, &[id], None).len(), 1);
    let goodbye = scene.record(21, &[1, 0]);
    scene.client.write_all(&goodbye).unwrap();
    assert!(look(&mut scene.shard.connections, &[id], None).is_empty());
    assert!(!scene.is_held());
}

#[test]
fn a_close_notify_ends_the_connection_at_once_and_is_answered() {
    let mut scene = Scene::new();
    let goodbye = scene.record(21, &[1, 0]);
    scene.send(&goodbye);
    assert!(scene.read() && !scene.is_held() && scene.opener.is_told);
    assert!(!scene.is_reset);
    assert_eq!(scene.ended_as(DisconnectReason::ClientClosed), 1);
}

#[test]
fn an_incomplete_record_is_waited_for() {
    let mut scene = Scene::new();
    let goodbye = scene.record(21, &[1, 0]);
    for byte in &goodbye[..goodbye.len() - 1] {
        scene.send(&[*byte]);
        assert!(scene.is_held());
    }
    scene.send(&goodbye[goodbye.len() - 1..]);
    assert!(scene.read() && scene.opener.is_told);
}

#[test]
fn a_client_with_new_keys_is_asked_to_reconnect() {
    let mut scene = Scene::new();
    let update = scene.record(HANDSHAKE, &[24, 0, 0, 1, 1]);
    scene.send(&update);
    assert!(scene.read() && !scene.is_held() && scene.opener.is_told);
    let text = String::from_utf8(scene.received).unwrap();
    assert!(
        text.contains("retry: ") && text.ends_with("0\r\n\r\n"),
        "{text}"
    );
}

#[test]
fn an_invalid_record_ends_the_connection() {
    let tampered = |scene: &mut Scene| {
        let mut record = scene.record(DATA, b"hello");
        record[7] ^= 1;
        record
    };
    let replayed = |scene: &mut Scene| {
        let record = scene.record(DATA, b"hello");
        record.repeat(2)
    };
    let in_the_open = |_: &mut Scene| vec![21, 3, 3, 0, 2, 1, 0];
    let too_long = |_: &mut Scene| vec![23, 3, 3, 0x41, 1];
    let message = |scene: &mut Scene| scene.record(HANDSHAKE, &[1, 0, 0, 0]);
    let breaks: [fn(&mut Scene) -> Vec<u8>; 5] =
        [tampered, replayed, in_the_open, too_long, message];
    for (n, broken) in breaks.into_iter().enumerate() {
        let mut scene = Scene::new();
        let bytes = broken(&mut scene);
        scene.opener.expects_failure = true;
        scene.send(&bytes);
        assert!(scene.read() && !scene.is_held(), "{n}");
        assert!(
            scene.opener.is_told && !scene.is_reset,
            "{n}: without an alert"
        );
        assert_eq!(scene.ended_as(DisconnectReason::Error), 1, "{n}");
    }
}

#[test]
fn endless_empty_records_end_the_connection() {
    let mut scene = Scene::new();
    let mut sent = 0;
    while scene.is_held() {
        let nothing = scene.record(DATA, b"");
        scene.send(&nothing);
        sent += 1;
    }
    // 22 bytes each.
    assert_eq!(sent, 8 * 1_024 / 22 + 1);
    assert_eq!(scene.ended_as(DisconnectReason::Error), 1);
}

#[test]
fn an_incomplete_record_that_is_too_large_ends_the_connection() {
    let mut scene = Scene::new();
    scene.send(&[23, 3, 3, 0x20, 0]);
    assert!(!scene.is_held());
    assert_eq!(scene.ended_as(DisconnectReason::Error), 1);
}

#[test]
fn a_client_is_asked_to_reconnect_before_its_keys_are_worn() {
    let mut scene = Scene::new();
    let key = 0;
    let mut sent = 0;
    while !scene.read() {
        sent += 1;
        let line = sent.to_string();
        let connection = scene.shard.connections.get(key).unwrap();
        let _ = connection.send_signals([Signal::TestLine(&line)]);
        scene
            .shard
            .shared()
            .clock
            .advance(Duration::from_millis(40));
        let now = scene.shard.connections.now();
        scene.shard.run_timers(now);
    }
    assert!(scene.opener.is_told);
    assert!((MAX_RECORDS - 8..=MAX_RECORDS).contains(&sent), "{sent}");
    let text = String::from_utf8(scene.received).unwrap();
    assert!(text.contains(&format!("data: {sent}\n")), "{text}");
    assert!(
        text.contains("retry: ") && text.ends_with("0\r\n\r\n"),
        "{text}"
    );
}
