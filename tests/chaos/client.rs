//! One client, which behaves like EventSource. When its connection ends, it waits for the `retry:` delay
//! and reconnects with the id of the last complete event.

mod connection;
mod journal;

use std::rc::Rc;
use std::time::Duration;

use socket2::SockFilter;
use tokio::sync::mpsc::UnboundedReceiver;

use self::connection::Connection;
use self::journal::Journal;
use super::plan::{Person, SPEED, Trouble};
use super::stream::{Frame, Item};
use super::world::{World, count, sleep};

pub use self::journal::parse_id;

/// A filter of one instruction: drop every packet.
const DROP_ALL: [SockFilter; 1] = [SockFilter::new(6, 0, 0, 0)];
/// After this time without a heartbeat, a client checks whether the server still has the connection:
/// four of the server's intervals.
const SILENCE: Duration = Duration::from_secs(4);
/// The longest step of a stall.
const PIECE: Duration = Duration::from_secs(1);

pub struct Client {
    pub number: usize,
    world: Rc<World>,
    token: String,
    retry: Duration,
    pub journal: Journal,
}

impl Client {
    pub fn new(number: usize, world: Rc<World>, token: String) -> Self {
        let journal = Journal::new(number, Rc::clone(&world));
        Self {
            number,
            world,
            token,
            // All clients connect within half a second at first.
            retry: Duration::from_micros(number as u64 * 250),
            journal,
        }
    }

    /// Runs until no more troubles can arrive.
    pub async fn live(mut self, mut troubles: UnboundedReceiver<Trouble>) -> Self {
        let mut connection = None;
        loop {
            let trouble = tokio::select! {
                biased;
                trouble = troubles.recv() => trouble,
                () = self.listen(&mut connection) => None,
            };
            match trouble {
                Some(trouble) => self.suffer(trouble, &mut connection).await,
                None => return self,
            }
        }
    }

    pub fn person(&self) -> &Person {
        &self.world.plan.clients[self.number]
    }

    /// Reads and reconnects, forever. May be dropped at any `await` and called again.
    async fn listen(&mut self, connection: &mut Option<Connection>) {
        loop {
            match connection {
                None => {
                    sleep(self.retry).await;
                    let last = self.journal.last;
                    match Connection::open(&self.world, self.number, &self.token, last).await {
                        Ok(opened) => {
                            count(&self.world.counts.connects);
                            let from = opened.address();
                            self.journal
                                .note(&format!("connected from {from} after {last:?}"));
                            *connection = Some(opened);
                        }
                        // The server is down.
                        Err(error) => self.journal.note(&error.to_string()),
                    }
                }
                Some(open) => {
                    if let Err(end) = self.read(open).await {
                        self.journal.note(&end);
                        self.count_end(open);
                        *connection = None;
                    }
                }
            }
        }
    }

    async fn suffer(&mut self, trouble: Trouble, connection: &mut Option<Connection>) {
        let counts = &self.world.counts;
        let Some(mut open) = connection.take() else {
            count(&counts.missed);
            return;
        };
        match trouble {
            Trouble::Reset | Trouble::Close => {
                count(&counts.cuts);
                self.count_torn(&open);
                if matches!(trouble, Trouble::Reset) {
                    open.reset_on_close();
                }
            }
            Trouble::Stall(virtual_ms) => {
                count(&counts.stalls);
                open.has_stalled = true;
                *connection = Some(open);
                let mut left = Duration::from_millis(u64::from(virtual_ms / SPEED));
                while !left.is_zero() {
                    let piece = left.min(PIECE);
                    sleep(piece).await;
                    left -= piece;
                }
            }
            // The server has not counted a client whose request was refused.
            Trouble::HalfOpen if !open.has_begun => {
                count(&counts.missed);
                *connection = Some(open);
                return;
            }
            Trouble::HalfOpen => {
                count(&counts.half_open);
                self.count_torn(&open);
                let server = open.server;
                self.world.forget(server, open.deafen(&DROP_ALL));
            }
        }
        self.journal.note(&format!("{trouble:?}"));
    }

    /// Reads once and processes complete frames; an error is the end of the connection.
    async fn read(&mut self, connection: &mut Connection) -> Result<(), String> {
        let reading = connection.read(self.person().read_bytes);
        match tokio::time::timeout(SILENCE, reading).await {
            Ok(read) => read?,
            // When `TCP_USER_TIMEOUT` ends a connection, the client is not notified. If its full buffer
            // dropped the last packet, it waits for bytes that never arrive.
            Err(_) if !connection.is_known_to(self.world.public) => {
                count(&self.world.counts.unheard_ends);
                return Err("silence, and nobody at the other end".to_owned());
            }
            // The server still has the connection. If it forgot this client, the check finds out.
            Err(_) => self.journal.note("silence"),
        }
        loop {
            match connection.incoming.next() {
                Ok(None) => return Ok(()),
                Ok(Some(Item::Frame(frame))) => self.take(&frame, connection),
                Ok(Some(Item::Status(200))) => {}
                // Too many handshakes at once, or the server has not fully started.
                Ok(Some(Item::Status(503))) => return Err("refused: 503".to_owned()),
                Ok(Some(Item::Status(status))) => {
                    self.journal.fault(&format!("refused with {status}"));
                    return Err(format!("refused: {status}"));
                }
                Ok(Some(Item::End)) => {
                    self.journal
                        .fault("the server ended a stream that nobody asked it to end");
                    return Err("ended".to_owned());
                }
                Err(broken) => {
                    self.journal.fault(&broken);
                    return Err(broken);
                }
            }
        }
    }

    fn take(&mut self, frame: &Frame, connection: &mut Connection) {
        let is_first = !std::mem::replace(&mut connection.has_begun, true);
        let Frame {
            id,
            event,
            data,
            retry_ms,
        } = frame;
        let fields = (id, event.as_deref(), data.as_deref(), *retry_ms);
        match (is_first, fields) {
            (true, (id, Some("heartbeat"), Some("{}"), Some(retry_ms @ 100..=300))) => {
                self.retry = Duration::from_millis(retry_ms);
                count(&self.world.counts.begun);
                self.journal.position(id.as_deref());
            }
            (false, (id, Some("heartbeat"), Some("{}"), None)) => {
                self.journal.position(id.as_deref());
            }
            (false, (Some(id), Some("replay_gap"), Some(data), None)) => {
                self.journal.gap(id, data);
            }
            (false, (id, Some("message"), Some(data), None)) => {
                self.journal.event(id.as_deref(), data);
            }
            _ => {
                let what = format!("{frame:?}, the stream's first: {is_first}");
                self.journal.fault(&what);
            }
        }
    }

    /// The other side ended the connection.
    fn count_end(&self, connection: &Connection) {
        if connection.has_stalled && self.world.servers.is_well(connection.server) {
            count(&self.world.counts.stalls_ended);
        }
        self.count_torn(connection);
    }

    fn count_torn(&self, connection: &Connection) {
        if connection.incoming.is_inside_an_event() {
            count(&self.world.counts.torn);
        }
    }
}
