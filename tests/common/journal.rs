//! Records what a client received, its failures, and their history.

use std::fmt::Write;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::book::{Book, Id, parse_id};
use super::real_time::now;
use super::stream::Frame;
use super::subscriber::Subscriber;

/// Faults that one client keeps.
const MAX_FAULTS: usize = 5;

pub struct Journal {
    pub subscriber: Subscriber,
    book: Arc<Book>,
    began: Instant,
    /// The last complete id: of an event, or of a heartbeat, which carries the client's position.
    pub last: Option<Id>,
    /// The number of events that were sent before this client's first stream began.
    pub joined: Option<usize>,
    /// What it received, divided by gaps.
    pub pieces: Vec<Piece>,
    /// Numbers of the events without an id.
    pub fleeting: Vec<usize>,
    /// Violations of the protocol that the client itself can detect.
    pub faults: Vec<String>,
    /// Notes for the investigation of a failure.
    story: String,
}

/// What a client received without a gap.
#[derive(Debug, Default)]
pub struct Piece {
    /// The position before the first event.
    pub after: Option<Id>,
    /// The events with an id, in the order of arrival.
    pub events: Vec<(Id, usize)>,
    /// The client's position when the next gap was reported.
    pub until: Option<Id>,
}

/// What a frame means to the client.
#[derive(Debug, PartialEq, Eq)]
pub enum Meaning {
    /// The stream's first block, with the delay before the next connection.
    First(Duration),
    /// The event with this number.
    Event(usize),
    /// A heartbeat, a gap, or a fault.
    Other,
}

impl Journal {
    pub fn new(book: Arc<Book>, subscriber: Subscriber) -> Self {
        Self {
            subscriber,
            book,
            began: now(),
            last: None,
            joined: None,
            pieces: vec![Piece::default()],
            fleeting: Vec::new(),
            faults: Vec::new(),
            story: String::new(),
        }
    }

    /// The number of gaps that were reported.
    pub fn gaps(&self) -> usize {
        self.pieces.len() - 1
    }

    /// Processes a frame.
    pub fn take(&mut self, frame: &Frame, is_first: bool) -> Meaning {
        let Frame {
            id,
            event,
            data,
            retry_ms,
        } = frame;
        let fields = (id, event.as_deref(), data.as_deref(), *retry_ms);
        match (is_first, fields) {
            (true, (id, Some("heartbeat"), Some("{}"), Some(retry_ms @ 100..=300))) => {
                self.joined.get_or_insert_with(|| self.book.sent());
                self.position(id.as_deref());
                Meaning::First(Duration::from_millis(retry_ms))
            }
            (false, (id, Some("heartbeat"), Some("{}"), None)) => {
                self.position(id.as_deref());
                Meaning::Other
            }
            (false, (Some(id), Some("replay_gap"), Some(data), None)) => {
                self.gap(id, data);
                Meaning::Other
            }
            (false, (id, Some("message"), Some(data), None)) => self
                .event(id.as_deref(), data)
                .map_or(Meaning::Other, Meaning::Event),
            // The server is about to end the stream.
            (false, (None, None, None, Some(100..=300))) => Meaning::Other,
            _ => {
                self.fault(&format!("{frame:?}, the stream's first: {is_first}"));
                Meaning::Other
            }
        }
    }

    fn gap(&mut self, id: &str, data: &str) {
        self.note(&format!("gap, goes on after {id}: {data}"));
        // All retained events follow, including those that the client already has.
        let until = self.last.take();
        self.piece().until = until;
        self.position(Some(id));
        let after = self.last;
        self.pieces.push(Piece {
            after,
            ..Piece::default()
        });
    }

    /// Records the client's position. Without an id, it stays the same.
    fn position(&mut self, id: Option<&str>) {
        let Some(text) = id else { return };
        let id = parse_id(text);
        if id.is_none() || id < self.last {
            self.fault(&format!("the position {text:?} after {:?}", self.last));
        }
        self.last = id;
    }

    fn event(&mut self, id: Option<&str>, data: &str) -> Option<usize> {
        let Some((number, event)) = self.book.find(data) else {
            self.fault(&format!("an event that nobody published: {data:?}"));
            return None;
        };
        if event.data != data {
            self.fault(&format!(
                "event {number} is not what was published: {data:?}"
            ));
        }
        if event.persist != id.is_some() {
            self.fault(&format!("event {number} has the id {id:?}"));
        }
        if !self.subscriber.wants(&event) {
            self.fault(&format!("event {number} is for others"));
        }
        let Some(text) = id else {
            self.fleeting.push(number);
            return Some(number);
        };
        let Some(id) = parse_id(text) else {
            self.fault(&format!("event {number} has the id {text:?}"));
            return Some(number);
        };
        if self.last.is_some_and(|last| last >= id) {
            self.fault(&format!("event {number}, {id:?}, after {:?}", self.last));
        }
        self.book.receive(number, id);
        self.last = Some(id);
        self.piece().events.push((id, number));
        Some(number)
    }

    pub fn fault(&mut self, what: &str) {
        self.note(what);
        if self.faults.len() < MAX_FAULTS {
            self.faults.push(what.to_owned());
        }
    }

    pub fn note(&mut self, what: &str) {
        let at_ms = now().duration_since(self.began).as_millis();
        let events: usize = self.pieces.iter().map(|piece| piece.events.len()).sum();
        let _ = writeln!(self.story, "{at_ms} ms, {events} events: {what}");
    }

    pub fn story(&self) -> &str {
        &self.story
    }

    fn piece(&mut self) -> &mut Piece {
        self.pieces.last_mut().expect("there is always a piece")
    }
}
