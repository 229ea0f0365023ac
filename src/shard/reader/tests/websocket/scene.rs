//! A shard that is driven turn by turn, and its clients.

use std::io::{ErrorKind, Read, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::pin::pin;
use std::task::{Context, Waker};
use std::time::Duration;

use tokio::runtime::Runtime;

use crate::auth::Identity;
use crate::clock::Clock;
use crate::event::{EventName, Target};
use crate::hub::ConnectionId;
use crate::hub::log::Record;
use crate::metrics::DisconnectReason;
use crate::shard::bench::Setup;
use crate::shard::model::frames::{PING, PONG, frame, next_frame};
use crate::shard::model::opener::Opener;
use crate::shard::poller::Poller;
use crate::shard::slot::Slot;
use crate::shard::{Admission, Detached, Shard};
use crate::wire::Wire;

pub(super) const DATA: u8 = 23;
/// Turns until nothing more happens on the sockets: one for what was sent, and some for what is read later.
const TURNS: usize = 6;
const STEP: Duration = Duration::from_millis(125);

pub(super) struct Scene {
    pub(super) shard: Shard,
    pub(super) clients: Vec<Client>,
    /// When the next client's token expires.
    pub(super) expires_at_s: Option<u64>,
    _runtime: Runtime,
}

#[allow(clippy::struct_excessive_bools)] // they are independent
pub(super) struct Client {
    pub(super) id: ConnectionId,
    pub(super) socket: UnixStream,
    pub(super) opener: Option<Opener>,
    received: Vec<u8>,
    has_head: bool,
    pub(super) reads: bool,
    pub(super) answers_pings: bool,
    /// Frames that were read and not asserted yet.
    said: Vec<String>,
    pub(super) is_over: bool,
    /// The connection ended without the bytes that were sent before.
    pub(super) is_reset: bool,
}

impl Scene {
    pub(super) fn new() -> Self {
        let setup = Setup {
            clock: Clock::manual(1_700_000_000_000),
            per_user: 64,
            ..Setup::default()
        };
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        let context = runtime.enter();
        let shard = Shard::new(0, setup.shared(), Poller::new().unwrap());
        drop(context);
        Self {
            shard,
            clients: Vec::new(),
            expires_at_s: None,
            _runtime: runtime,
        }
    }

    /// A client that has received its first message.
    pub(super) fn join(&mut self, is_tls: bool) -> usize {
        let n = self.join_as(Wire::WebSocket, is_tls, false);
        assert_eq!(self.said(n), ["open {\"retry\": _}"]);
        n
    }

    pub(super) fn join_as(&mut self, wire: Wire, is_tls: bool, lost_input: bool) -> usize {
        self.join_from(None, wire, is_tls, lost_input)
    }

    /// A client that reconnects with an id.
    pub(super) fn join_from(
        &mut self,
        last_event_id: Option<&str>,
        wire: Wire,
        is_tls: bool,
        lost_input: bool,
    ) -> usize {
        let identity = Identity {
            user: "7".into(),
            session: None,
            issued: None,
            expires_at: u64::MAX,
            topics: Box::default(),
        };
        let admission = Admission {
            identity: Some(identity),
            wire,
            keep_alive: false,
            expires_at_s: self.expires_at_s,
            last_event_id: last_event_id.map(Into::into),
            ..Admission::of_test_stream()
        };
        let id = self.shard.connections.table.vacancy().unwrap();
        let seat = self.shard.admit(admission).unwrap();
        let (socket, server) = UnixStream::pair().unwrap();
        socket.set_nonblocking(true).unwrap();
        rustix::net::sockopt::set_socket_send_buffer_size(&server, 4_096).unwrap();
        let (secrets, opener) = is_tls.then(|| Opener::pair(0)).unzip();
        let detached = Detached::new(server.into(), secrets, lost_input);
        self.shard.join(seat, detached, b"HEAD".to_vec()).unwrap();
        self.clients.push(Client {
            id,
            socket,
            opener,
            received: Vec::new(),
            has_head: false,
            reads: true,
            answers_pings: true,
            said: Vec::new(),
            is_over: false,
            is_reset: false,
        });
        self.clients.len() - 1
    }

    /// The client sends this (with TLS, in one record), and the shard takes its turns.
    pub(super) fn send(&mut self, n: usize, bytes: impl AsRef<[u8]>) {
        self.write(n, bytes);
        self.take_turns();
    }

    pub(super) fn write(&mut self, n: usize, bytes: impl AsRef<[u8]>) {
        let bytes = self.clients[n].sealed(bytes.as_ref());
        self.write_raw(n, &bytes);
    }

    /// Sends bytes that are sealed already, or do not have to be.
    pub(super) fn write_raw(&mut self, n: usize, bytes: &[u8]) {
        // The server may close in the middle of this.
        let _ = self.clients[n].socket.write_all(bytes);
    }

    /// The client closes its side.
    pub(super) fn hang_up(&mut self, n: usize) {
        self.clients[n].socket.shutdown(Shutdown::Write).unwrap();
    }

    /// A turn of the shard.
    pub(super) fn take_turn(&mut self) {
        self.shard.poll_sockets(&mut Vec::new());
        let now = self.shard.connections.now();
        self.shard.run_timers(now);
        // In tests, a slice is one or two clients.
        while self.shard.deliver() {}
        self.shard.run_catch_ups();
    }

    /// Runs until nothing more happens.
    pub(super) fn take_turns(&mut self) {
        loop {
            for _ in 0..TURNS {
                self.take_turn();
            }
            let clients = self.clients.iter_mut();
            if clients
                .filter_map(|it| it.reads.then(|| it.read()))
                .sum::<usize>()
                == 0
            {
                self.shard.connections.check();
                return;
            }
        }
    }

    pub(super) fn pass(&mut self, time: Duration) {
        let clock = self.shard.shared().clock.clone();
        let mut left = time;
        while !left.is_zero() {
            let step = left.min(STEP);
            clock.advance(step);
            left -= step;
            self.take_turns();
        }
    }

    /// The frames that the client has received since the last call.
    pub(super) fn said(&mut self, n: usize) -> Vec<String> {
        self.clients[n].read();
        std::mem::take(&mut self.clients[n].said)
    }

    pub(super) fn publish(&mut self, data: &str) {
        let shared = self.shard.shared();
        let log = shared.hub.log();
        let event = Record::Event {
            to: Target::All,
            name: EventName::default(),
            data: data.into(),
            is_kept: true,
        };
        let id = log.newest_id().next(shared.clock.unix_ms());
        log.append(id, shared.clock.now_ms(), event).unwrap();
        let dispatch = pin!(shared.hub.dispatch());
        let mut context = Context::from_waker(Waker::noop());
        assert!(dispatch.poll(&mut context).is_pending());
    }

    /// The client's slot, while it has one.
    pub(super) fn slot(&self, n: usize) -> Option<&Slot> {
        let table = &self.shard.connections.table;
        table.get(table.find(self.clients[n].id)?)
    }

    pub(super) fn is_held(&self, n: usize) -> bool {
        self.slot(n).is_some()
    }

    /// Asserts that the client is closed and that no bytes were lost.
    pub(super) fn assert_closed(&mut self, n: usize) {
        assert!(!self.is_held(n), "its slot is still there");
        let client = &mut self.clients[n];
        client.read();
        assert!(client.is_over && !client.is_reset);
        if let Some(opener) = &client.opener {
            assert!(opener.is_told, "no end of TLS");
        }
    }

    pub(super) fn ended_as(&self, reason: DisconnectReason) -> u64 {
        let metrics = &self.shard.shared().metrics;
        metrics.sum(|shard| shard.disconnects.at(reason as usize).value())
    }
}

impl Client {
    /// The bytes to send for these.
    pub(super) fn sealed(&mut self, bytes: &[u8]) -> Vec<u8> {
        match &mut self.opener {
            Some(opener) => opener.secrets.record(DATA, bytes),
            None => bytes.to_vec(),
        }
    }

    /// Reads what has arrived, answers pings, and returns the number of bytes.
    fn read(&mut self) -> usize {
        let mut buffer = [0; 16 * 1024];
        let mut all = 0;
        while !self.is_over {
            let read = match self.socket.read(&mut buffer) {
                Ok(read) => read,
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == ErrorKind::ConnectionReset => {
                    self.is_reset = true;
                    0
                }
                Err(error) => panic!("{error}"),
            };
            self.is_over = read == 0;
            all += read;
            match &mut self.opener {
                Some(opener) => opener.receive(&buffer[..read], &mut self.received),
                None => self.received.extend_from_slice(&buffer[..read]),
            }
        }
        if !self.has_head && self.received.starts_with(b"HEAD") {
            self.received.drain(..4);
            self.has_head = true;
        }
        while let Some((first, payload)) = next_frame(&mut self.received) {
            self.said.push(text(first, &payload));
            if first == PING && self.answers_pings {
                let pong = self.sealed(&frame(PONG, payload));
                let _ = self.socket.write_all(&pong);
            }
        }
        all
    }
}

/// A frame from the server, for assertions.
fn text(first: u8, payload: &[u8]) -> String {
    let utf8 = |bytes| String::from_utf8_lossy(bytes);
    match first {
        0x81 => {
            let message: serde_json::Value = serde_json::from_slice(payload).unwrap();
            let name = message["event"].as_str().unwrap();
            match name {
                "open" => "open {\"retry\": _}".to_owned(),
                "heartbeat" => "heartbeat".to_owned(),
                _ => format!("{name} {}", message["data"]),
            }
        }
        0x88 => match payload.split_first_chunk() {
            Some((code, reason)) => {
                let code = u16::from_be_bytes(*code);
                format!("close {code} {}", utf8(reason)).trim_end().into()
            }
            None => "close".into(),
        },
        0x89 => "ping".into(),
        0x8a => format!("pong {}", utf8(payload)).trim_end().into(),
        first => panic!("{first:#x}"),
    }
}
