//! One client, as an EventSource is: it connects, reads, and when the connection ends waits for
//! the `retry:` delay and comes back with the id of the last whole event it has.

mod connection;

use std::fmt::Write;
use std::rc::Rc;
use std::time::Duration;

use socket2::SockFilter;
use tokio::sync::mpsc::UnboundedReceiver;

use self::connection::Connection;
use super::plan::{Person, SPEED, Trouble};
use super::stream::{Frame, Item};
use super::world::{Id, World, count, sleep};

/// A program of one instruction: keep no byte of any packet.
const DROP_ALL: [SockFilter; 1] = [SockFilter::new(6, 0, 0, 0)];
/// Notes of what went wrong that one client keeps.
const MAX_FAULTS: usize = 5;
/// Longest piece of a stall.
const PIECE: Duration = Duration::from_secs(1);

pub struct Client {
    pub number: usize,
    world: Rc<World>,
    token: String,
    retry: Duration,
    last: Option<Id>,
    /// What came with an id, in the order it came; since the last gap, where there was one.
    pub seen: Vec<(Id, usize)>,
    /// Numbers of what came without.
    pub fleeting: Vec<usize>,
    /// Times it was told that something is gone for good.
    pub gaps: usize,
    /// What no server may do, as far as the client itself can tell.
    pub faults: Vec<String>,
    /// Its life, for whoever looks into a failure.
    pub story: String,
}

impl Client {
    pub fn new(number: usize, world: Rc<World>, token: String) -> Self {
        Self {
            number,
            world,
            token,
            // Half a second for all to come at first.
            retry: Duration::from_micros(number as u64 * 250),
            last: None,
            seen: Vec::new(),
            fleeting: Vec::new(),
            gaps: 0,
            faults: Vec::new(),
            story: String::new(),
        }
    }

    /// Lives until nobody can send it trouble any more.
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

    /// Reads and comes back, for ever. May be dropped at any `await` and called again.
    async fn listen(&mut self, connection: &mut Option<Connection>) {
        loop {
            match connection {
                None => {
                    sleep(self.retry).await;
                    match Connection::open(&self.world, self.number, &self.token, self.last).await {
                        Ok(opened) => {
                            count(&self.world.counts.connects);
                            self.note(&format!("connected from {} after {:?}", opened.address(), self.last));
                            *connection = Some(opened);
                        }
                        // The server is away.
                        Err(error) => self.note(&error.to_string()),
                    }
                }
                Some(open) => {
                    if let Err(end) = self.read(open).await {
                        self.note(&end);
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
            // A request that is refused leaves nobody behind whom the server has to miss.
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
        self.note(&format!("{trouble:?}"));
    }

    /// Reads once and takes what has become whole; an error is the connection's end.
    async fn read(&mut self, connection: &mut Connection) -> Result<(), String> {
        let read_bytes = self.person().read_bytes;
        connection.read(read_bytes).await?;
        loop {
            match connection.incoming.next() {
                Ok(None) => return Ok(()),
                Ok(Some(Item::Frame(frame))) => self.take(frame, connection),
                Ok(Some(Item::Status(200))) => {}
                // Too many handshakes at once, or not all of it is up.
                Ok(Some(Item::Status(503))) => return Err("refused: 503".to_owned()),
                Ok(Some(Item::Status(status))) => {
                    self.fault(&format!("refused with {status}"));
                    return Err(format!("refused: {status}"));
                }
                Ok(Some(Item::End)) => {
                    self.fault("the server ended a stream that nobody asked it to end");
                    return Err("ended".to_owned());
                }
                Err(broken) => {
                    self.fault(&broken);
                    return Err(broken);
                }
            }
        }
    }

    fn take(&mut self, frame: Frame, connection: &mut Connection) {
        let is_first = !std::mem::replace(&mut connection.has_begun, true);
        match frame {
            Frame {
                id: None,
                event: None,
                data: None,
                retry_ms: Some(retry_ms @ 100..=300),
            } if is_first => {
                self.retry = Duration::from_millis(retry_ms);
                count(&self.world.counts.begun);
            }
            frame if is_first => self.fault(&format!("not a retry at first: {frame:?}")),
            Frame {
                id: None,
                event: Some(event),
                data: Some(data),
                retry_ms: None,
            } if event == "heartbeat" && data == "{}" => {}
            Frame {
                id: None,
                event: Some(event),
                data: Some(data),
                retry_ms: None,
            } if event == "replay_gap" => {
                self.gaps += 1;
                self.note(&format!("gap: {data}"));
                // All that is retained comes now, what it has of that as well.
                self.last = None;
                self.seen.clear();
            }
            Frame {
                id,
                event: Some(event),
                data: Some(data),
                retry_ms: None,
            } if event == "message" => self.take_event(id, &data),
            frame => self.fault(&format!("what is {frame:?}?")),
        }
    }

    fn take_event(&mut self, id: Option<String>, data: &str) {
        let world = Rc::clone(&self.world);
        count(&world.counts.received);
        let number: Option<usize> = data.split(' ').next().and_then(|word| word.parse().ok());
        let Some(number) = number.filter(|number| *number <= world.plan.last()) else {
            self.fault(&format!("an event that nobody published: {data:?}"));
            return;
        };
        let event = &world.plan.events[number];
        if event.data != data {
            self.fault(&format!(
                "event {number} is not what was published: {data:?}"
            ));
        }
        if event.persist != id.is_some() {
            self.fault(&format!("event {number} has the id {id:?}"));
        }
        if !self.person().wants(event) {
            self.fault(&format!("event {number} is for others"));
        }
        let Some(text) = id else {
            self.fleeting.push(number);
            return;
        };
        let Some(id) = parse_id(&text) else {
            self.fault(&format!("event {number} has the id {text:?}"));
            return;
        };
        if self.last.is_some_and(|last| last >= id) {
            self.fault(&format!("event {number}, {id:?}, after {:?}", self.last));
        }
        if !world.identify(number, id) {
            let other = world.id(number);
            self.fault(&format!("event {number} has the ids {other:?} and {id:?}"));
        }
        self.last = Some(id);
        self.seen.push((id, number));
        if number == 0 {
            count(&world.counts.have_first);
        } else if number == world.plan.last() {
            count(&world.counts.have_last);
        }
    }

    /// The other side ended it.
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

    fn fault(&mut self, what: &str) {
        self.note(what);
        if self.faults.len() < MAX_FAULTS {
            self.faults.push(what.to_owned());
        }
    }

    fn note(&mut self, what: &str) {
        let at_ms = self.world.now_ms();
        let _ = writeln!(self.story, "{at_ms} ms, {} events: {what}", self.seen.len());
    }
}

pub fn parse_id(text: &str) -> Option<Id> {
    let (ms, sequence) = text.split_once('-')?;
    Some((ms.parse().ok()?, sequence.parse().ok()?))
}
