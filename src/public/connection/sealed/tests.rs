use std::rc::Rc;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;

use super::*;
use crate::net::Socket;
use crate::public::connection::socket::LooseEnds;
use crate::tls::MAX_RECORDS;

const ALERT: u8 = 21;
const HANDSHAKE: u8 = 22;
const DATA: u8 = 23;

/// A connection, and its client's end.
struct Scene {
    server: Sealed,
    socket: UnixStream,
    client: Secrets,
}

impl Scene {
    fn new(cipher: usize) -> Self {
        let (socket, ours) = UnixStream::pair().unwrap();
        let (server, client) = Secrets::pair(cipher);
        let server_side = ClientSocket::new(Socket::Unix(ours), Rc::new(LooseEnds::of_tls()));
        Self {
            server: Sealed::new(server_side, server),
            socket,
            client,
        }
    }

    async fn send(&mut self, typed: u8, content: &[u8]) {
        let record = self.client.record(typed, content);
        self.socket.write_all(&record).await.unwrap();
    }

    /// Type and content of the next record that the client gets.
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
async fn what_was_sealed_arrives_in_both_directions_and_the_numbers_go_on() {
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
        // The record that the client has sent meanwhile is for whoever comes next.
        scene.send(DATA, b"c").await;
        let (socket, secrets, lost_input) = scene.server.detach().unwrap();
        assert!(!lost_input);
        scene.server = Sealed::new(socket, secrets);
        assert_eq!(scene.read().await.unwrap(), b"c");
        scene.server.write_all(b"d").await.unwrap();
        assert_eq!(scene.receive().await, (DATA, vec![b'd']));
    }
}

#[tokio::test]
async fn what_was_read_and_not_used_is_said_to_be_lost() {
    let mut scene = Scene::new(0);
    scene.send(DATA, &[b'a'; 101]).await;
    scene.read().await.unwrap();
    assert!(scene.server.detach().unwrap().2);
}

#[tokio::test]
async fn a_client_that_leaves_or_cannot_be_followed_is_let_go_with_a_word() {
    let leaves: [(u8, &[u8], bool); 4] = [
        (ALERT, &[1, 0], true),
        (ALERT, &[2, 40], false),
        (HANDSHAKE, &[24, 0, 0, 1, 0], false),
        (HANDSHAKE, &[1, 0, 0, 0], false),
    ];
    for (typed, content, is_end) in leaves {
        let mut scene = Scene::new(1);
        scene.send(typed, content).await;
        // Nobody minds what comes behind it.
        scene.socket.write_all(b"more").await.unwrap();
        let read = scene.read().await;
        assert_eq!(read.is_ok(), is_end, "{typed} {content:?}");
        scene.server.shutdown().await.unwrap();
        assert_eq!(scene.receive().await.0, ALERT);
        assert_eq!(scene.read().await.unwrap(), b"more", "left unread");
    }
}

#[tokio::test]
async fn a_connection_whose_keys_are_worn_ends_after_an_answer() {
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
