//! Records what a client received, its failures, and their history.

use std::fmt::Write;
use std::rc::Rc;

use crate::world::{Id, World, count};

/// Notes that one client keeps.
const MAX_FAULTS: usize = 5;

pub struct Journal {
    client: usize,
    world: Rc<World>,
    /// The last complete id: of an event, or of a heartbeat, which carries the client's position.
    pub last: Option<Id>,
    /// The events with an id, in the order of arrival, since the last gap.
    pub seen: Vec<(Id, usize)>,
    /// Numbers of the events without an id.
    pub fleeting: Vec<usize>,
    /// The number of gaps that it received.
    pub gaps: usize,
    /// Violations of the protocol that the client itself can detect.
    pub faults: Vec<String>,
    /// Notes for the investigation of a failure.
    pub story: String,
}

impl Journal {
    pub fn new(client: usize, world: Rc<World>) -> Self {
        Self {
            client,
            world,
            last: None,
            seen: Vec::new(),
            fleeting: Vec::new(),
            gaps: 0,
            faults: Vec::new(),
            story: String::new(),
        }
    }

    pub fn gap(&mut self, id: &str, data: &str) {
        self.gaps += 1;
        self.note(&format!("gap, goes on after {id}: {data}"));
        // All retained events follow, including those that the client already has.
        self.last = None;
        self.seen.clear();
        self.position(Some(id));
    }

    /// Records the client's position. Without an id, it stays the same.
    pub fn position(&mut self, id: Option<&str>) {
        let Some(text) = id else { return };
        let id = parse_id(text);
        if id.is_none() || id < self.last {
            self.fault(&format!("the position {text:?} after {:?}", self.last));
        }
        self.last = id;
    }

    pub fn event(&mut self, id: Option<&str>, data: &str) {
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
        if !world.plan.clients[self.client].wants(event) {
            self.fault(&format!("event {number} is for others"));
        }
        let Some(text) = id else {
            self.fleeting.push(number);
            return;
        };
        let Some(id) = parse_id(text) else {
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

    pub fn fault(&mut self, what: &str) {
        self.note(what);
        if self.faults.len() < MAX_FAULTS {
            self.faults.push(what.to_owned());
        }
    }

    pub fn note(&mut self, what: &str) {
        let at_ms = self.world.now_ms();
        let events = self.seen.len();
        let _ = writeln!(self.story, "{at_ms} ms, {events} events: {what}");
    }
}

pub fn parse_id(text: &str) -> Option<Id> {
    let (ms, sequence) = text.split_once('-')?;
    Some((ms.parse().ok()?, sequence.parse().ok()?))
}
