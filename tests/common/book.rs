//! All events of a run, by number: what was published, with which id it was accepted, and with which ids
//! clients received it.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;

use parking_lot::{Mutex, RwLock};
use serde_json::{Value, json};

use super::subscriber::{topic_name, user_name};

/// An event's id: milliseconds and a sequence number.
pub type Id = (u64, u64);

pub struct Event {
    pub to: To,
    /// Begins with the event's number.
    pub data: String,
    pub persist: bool,
}

pub enum To {
    User(u16),
    Users(Vec<u16>),
    Topic(u8),
    All,
}

/// Shared by all clients and publishers of a run.
pub struct Book {
    /// The beginning of every source id.
    name: String,
    events: RwLock<Vec<Arc<Event>>>,
    state: Mutex<State>,
}

/// What happened to an event.
#[derive(Clone, Debug, Default)]
pub struct Fate {
    /// The number of events that were sent before this one; `None` if it was not sent.
    pub sent: Option<usize>,
    pub is_accepted: bool,
    /// The ids in the answers, without repetitions. The answer to a batch contains none.
    pub accepted: Vec<Id>,
    /// The ids that clients received, without repetitions.
    pub received: Vec<Id>,
}

#[derive(Default)]
struct State {
    fates: Vec<Fate>,
    sent: usize,
    accepted: usize,
    numbers: HashMap<Id, usize>,
    /// Ids of two events.
    conflicts: Vec<String>,
}

impl Book {
    pub fn new(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            events: RwLock::default(),
            state: Mutex::default(),
        }
    }

    /// Adds events and returns their numbers. Each number becomes the beginning of its event's data.
    pub fn add(&self, added: Vec<Event>) -> Range<usize> {
        let mut events = self.events.write();
        let first = events.len();
        for mut event in added {
            event.data.insert_str(0, &format!("{} ", events.len()));
            events.push(Arc::new(event));
        }
        let fates = &mut self.state.lock().fates;
        fates.resize_with(events.len(), Fate::default);
        first..events.len()
    }

    pub fn len(&self) -> usize {
        self.events.read().len()
    }

    pub fn event(&self, number: usize) -> Arc<Event> {
        Arc::clone(&self.events.read()[number])
    }

    /// The event with this data, if there is one.
    pub fn find(&self, data: &str) -> Option<(usize, Arc<Event>)> {
        let number: usize = data.split(' ').next()?.parse().ok()?;
        let event = self.events.read().get(number).map(Arc::clone)?;
        Some((number, event))
    }

    /// The body of the request that publishes an event.
    pub fn body(&self, number: usize) -> Value {
        let event = self.event(number);
        let to = match &event.to {
            To::User(user) => json!({"user": user_name(*user)}),
            To::Users(users) => {
                let users: Vec<String> = users.iter().copied().map(user_name).collect();
                json!({"users": users})
            }
            To::Topic(topic) => json!({"topic": topic_name(*topic)}),
            To::All => json!({"all": true}),
        };
        let id = format!("{}-{number}", self.name);
        let mut body = json!({"to": to, "data": event.data, "id": id});
        if !event.persist {
            body["persist"] = false.into();
        }
        body
    }

    /// Records that a publisher sends this event for the first time.
    pub fn send(&self, number: usize) {
        let state = &mut *self.state.lock();
        state.fates[number].sent = Some(state.sent);
        state.sent += 1;
    }

    /// Records that an event was accepted; the answer to a single event contains its id.
    pub fn accept(&self, number: usize, id: Option<Id>) {
        let state = &mut *self.state.lock();
        let fate = &mut state.fates[number];
        state.accepted += usize::from(!fate.is_accepted);
        fate.is_accepted = true;
        let Some(id) = id else { return };
        if !fate.accepted.contains(&id) {
            fate.accepted.push(id);
        }
        state.assign(number, id);
    }

    /// Records that a client received an event with this id.
    pub fn receive(&self, number: usize, id: Id) {
        let state = &mut *self.state.lock();
        let fate = &mut state.fates[number];
        if !fate.received.contains(&id) {
            fate.received.push(id);
        }
        state.assign(number, id);
    }

    /// The number of events that were sent.
    pub fn sent(&self) -> usize {
        self.state.lock().sent
    }

    /// The number of events that were accepted.
    pub fn accepted(&self) -> usize {
        self.state.lock().accepted
    }

    pub fn fate(&self, number: usize) -> Fate {
        self.state.lock().fates[number].clone()
    }

    /// What happened to all events.
    pub fn fates(&self) -> Vec<Fate> {
        self.state.lock().fates.clone()
    }

    /// Descriptions of ids that several events have.
    pub fn conflicts(&self) -> Vec<String> {
        self.state.lock().conflicts.clone()
    }
}

impl State {
    fn assign(&mut self, number: usize, id: Id) {
        let owner = *self.numbers.entry(id).or_insert(number);
        if owner != number {
            let conflict = format!("the events {owner} and {number} have the id {id:?}");
            self.conflicts.push(conflict);
        }
    }
}

impl Fate {
    /// The id that the event had first. It differs from [`Self::id`] if the store lost the event, and a publisher sent it
    /// again.
    pub fn first_id(&self) -> Option<Id> {
        self.accepted.first().or(self.received.first()).copied()
    }

    /// The id under which the event is kept. An earlier one was lost by the store.
    pub fn id(&self) -> Option<Id> {
        self.accepted.last().or(self.received.last()).copied()
    }
}

pub fn parse_id(text: &str) -> Option<Id> {
    let (ms, sequence) = text.split_once('-')?;
    Some((ms.parse().ok()?, sequence.parse().ok()?))
}
