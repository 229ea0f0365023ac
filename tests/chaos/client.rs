//! One client, which behaves like EventSource. When its connection ends, it waits for the `retry:` delay
//! and reconnects with the id of the last complete event.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use socket2::SockFilter;
use tokio::sync::mpsc::UnboundedReceiver;

use super::common::admin::CLIENT_ADDRESSES;
use super::common::connection::{Connection, Dialing};
use super::common::journal::{Journal, Meaning};
use super::common::real_time::sleep;
use super::common::stream::{Frame, Item};
use super::plan::{Person, SPEED, Trouble};
use super::world::{World, count};

/// A filter of one instruction: drop every packet.
const DROP_ALL: [SockFilter; 1] = [SockFilter::new(6, 0, 0, 0)];
/// After this time without a heartbeat, a client checks whether the server still has the connection:
/// four of the server's intervals.
const SILENCE: Duration = Duration::from_secs(4);
/// The longest step of a stall.
const PIECE: Duration = Duration::from_secs(1);

/// One connection of the client.
struct Open {
    connection: Connection,
    /// The number of the server.
    server: u32,
    has_stalled: bool,
}

pub struct Client {
    number: usize,
    world: Rc<World>,
    token: String,
    retry: Duration,
    pub journal: Journal,
}

impl Client {
    pub fn new(number: usize, world: Rc<World>, token: String) -> Self {
        let subscriber = world.plan.clients[number].subscriber.clone();
        let journal = Journal::new(Arc::clone(&world.plan.book), subscriber);
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

    fn person(&self) -> &Person {
        &self.world.plan.clients[self.number]
    }

    fn dialing(&self) -> Dialing<'_> {
        let person = self.person();
        Dialing {
            server: self.world.public,
            from: CLIENT_ADDRESSES[self.number % CLIENT_ADDRESSES.len()],
            token: &self.token,
            last: self.journal.last,
            is_narrow: person.is_narrow,
            uses_query: person.uses_query,
        }
    }

    /// Reads and reconnects, forever. May be dropped at any `await` and called again.
    async fn listen(&mut self, connection: &mut Option<Open>) {
        loop {
            match connection {
                None => {
                    sleep(self.retry).await;
                    let server = self.world.servers.current();
                    match Connection::open(&self.dialing()).await {
                        Ok(opened) => {
                            count(&self.world.counts.connects);
                            let (from, last) = (opened.address(), self.journal.last);
                            self.journal
                                .note(&format!("connected from {from} after {last:?}"));
                            *connection = Some(Open {
                                connection: opened,
                                server,
                                has_stalled: false,
                            });
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

    async fn suffer(&mut self, trouble: Trouble, connection: &mut Option<Open>) {
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
                    open.connection.reset_on_close();
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
            Trouble::HalfOpen if !open.connection.has_begun => {
                count(&counts.missed);
                *connection = Some(open);
                return;
            }
            Trouble::HalfOpen => {
                count(&counts.half_open);
                self.count_torn(&open);
                let server = open.server;
                self.world.forget(server, open.connection.deafen(&DROP_ALL));
            }
        }
        self.journal.note(&format!("{trouble:?}"));
    }

    /// Reads once and processes complete frames; an error is the end of the connection.
    async fn read(&mut self, open: &mut Open) -> Result<(), String> {
        let connection = &mut open.connection;
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
            match open.connection.incoming.next() {
                Ok(None) => return Ok(()),
                Ok(Some(Item::Frame(frame))) => self.take(&frame, open),
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

    fn take(&mut self, frame: &Frame, open: &mut Open) {
        let is_first = !std::mem::replace(&mut open.connection.has_begun, true);
        let counts = &self.world.counts;
        match self.journal.take(frame, is_first) {
            Meaning::First(retry) => {
                self.retry = retry;
                count(&counts.begun);
            }
            Meaning::Event(number) => {
                count(&counts.received);
                if number == 0 {
                    count(&counts.have_first);
                } else if number == self.world.plan.last() {
                    count(&counts.have_last);
                }
            }
            Meaning::Other => {}
        }
    }

    /// The other side ended the connection.
    fn count_end(&self, open: &Open) {
        if open.has_stalled && self.world.servers.is_well(open.server) {
            count(&self.world.counts.stalls_ended);
        }
        self.count_torn(open);
    }

    fn count_torn(&self, open: &Open) {
        if open.connection.incoming.is_inside_an_event() {
            count(&self.world.counts.torn);
        }
    }
}
