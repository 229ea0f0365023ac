use std::rc::Rc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;

use super::*;
use crate::net::Socket;
use crate::public::connection::socket::LooseEnds;
use crate::tls::MAX_RECORDS;

const ALERT: u8 = 21;
const HANDSHAKE: u8 = 22;
const DATA: u8 = 23;

/// A connection and its client.
struct Scene {
    server: Sealed,
    socket: UnixStream,
    client: Secrets,
}

impl Scene {
    fn new(cipher: usize) -> Self {
        let (socket, ours) = UnixStream::pair().unwrap();
        let (server, client) = Secrets::pair(cipher);
        let ours = Socket::from_fd(ours.into_std().unwrap().into()).unwrap();
        let server_side = ClientSocket::new(ours, Rc::new(LooseEnds::of_tls()));
        Self {
            server: Sealed::new(server_side, server, None),
            socket,
            client,
        }
    }

    async fn send(&mut self, typed: u8, content: &[u8]) {
        let record = self.client.record(typed, content);
        self.socket.write_all(&record).await.unwrap();
    }

    /// Reads the next record at the client, and returns its type and content.
    async fn receive(&mut self) -> (u8, Vec<u8>) {
        let mut record = vec![0; HEADER_BYTES];
        self.socket.read_exact(&mut record).await.unwrap();
        let bytes = record_bytes(&record).unwrap().unwrap();
        record.resize(bytes, 0);
        self.socket
            .read_exact(&mut record[HEADER_BYTES..])
            .await
            .unwrap();
        let (typed, content) = self.client.decrypt(&mut record).unwrap();
        (typed, content.to_vec())
    }

    async fn read(&mut self) -> io::Result<Vec<u8>> {
        let mut buffer = [0; 100];
        let read = self.server.read(&mut buffer).await?;
        Ok(buffer[..read].to_vec())
    }
}

#[tokio::test]
async fn records_arrive_in_both_directions_and_sequence_numbers_continue_after_a_detach() {
    for cipher in 0..3 {
        let mut scene = Scene::new(cipher);
        scene.send(DATA, &[b'a'; 150]).await;
        scene.send(DATA, b"").await;
        scene.send(ALERT, &[1, 90]).await;
        scene.send(DATA, b"b").await;
        assert_eq!(scene.read().await.unwrap(), [b'a'; 100]);
        assert_eq!(scene.read().await.unwrap(), [b'a'; 50]);
        assert_eq!(scene.read().await.unwrap(), b"b");
        let long = vec![b'x'; MAX_CONTENT_BYTES + 1];
        scene.server.write_all(&long).await.unwrap();
        scene.server.flush().await.unwrap();
        assert_eq!(scene.receive().await.1, long[1..]);
        assert_eq!(scene.receive().await, (DATA, vec![b'x']));
        // A record that arrives before the detach stays in the socket.
        scene.send(DATA, b"c").await;
        let (socket, secrets, lost_input) = scene.server.detach().unwrap();
        assert!(!lost_input);
        scene.server = Sealed::new(socket, secrets, None);
        assert_eq!(scene.read().await.unwrap(), b"c");
        scene.server.write_all(b"d").await.unwrap();
        assert_eq!(scene.receive().await, (DATA, vec![b'd']));
    }
}

#[tokio::test]
async fn input_that_was_read_but_not_used_is_reported_as_lost() {
    let mut scene = Scene::new(0);
    scene.send(DATA, &[b'a'; 101]).await;
    scene.read().await.unwrap();
    assert!(scene.server.detach().unwrap().2);
}

#[tokio::test]
async fn a_client_that_leaves_or_fails_gets_an_alert() {
    let leaves: [(u8, &[u8], bool); 4] = [
        (ALERT, &[1, 0], true),
        (ALERT, &[2, 40], false),
        (HANDSHAKE, &[24, 0, 0, 1, 0], false),
        (HANDSHAKE, &[1, 0, 0, 0], false),
    ];
    for (typed, content, is_end) in leaves {
        let mut scene = Scene::new(1);
        scene.send(typed, content).await;
        // Bytes after the alert or failure are not records any more, and are ignored.
        scene.socket.write_all(b"more").await.unwrap();
        let read = scene.read().await;
        assert_eq!(read.is_ok(), is_end, "{typed} {content:?}");
        scene.server.shutdown().await.unwrap();
        assert_eq!(scene.receive().await.0, ALERT);
        assert_eq!(scene.read().await.unwrap(), b"more", "left unread");
    }
}

#[tokio::test]
async fn a_connection_with_worn_keys_ends_after_a_response() {
    let mut scene = Scene::new(2);
    let mut answers = 0;
    loop {
        scene.send(DATA, b"?").await;
        if scene.read().await.unwrap().is_empty() {
            break;
        }
        scene.server.write_all(b"!").await.unwrap();
        assert_eq!(scene.receive().await, (DATA, vec![b'!']));
        answers += 1;
    }
    assert_eq!(answers, MAX_RECORDS);
}

#[tokio::test]
async fn a_record_that_is_only_announced_takes_up_no_room() {
    let mut scene = Scene::new(0);
    let record = scene.client.record(DATA, &[b'a'; MAX_CONTENT_BYTES]);
    let (first, rest) = record.split_at(HEADER_BYTES + 1);
    scene.socket.write_all(first).await.unwrap();
    let read = tokio::time::timeout(Duration::ZERO, scene.read()).await;
    assert!(read.is_err(), "the record is incomplete");
    assert_eq!(scene.server.record, first);
    assert!(scene.server.record.capacity() < 100);
    scene.socket.write_all(rest).await.unwrap();
    let mut content = vec![0; MAX_CONTENT_BYTES];
    scene.server.read_exact(&mut content).await.unwrap();
    assert!(content.iter().all(|byte| *byte == b'a'));
}
