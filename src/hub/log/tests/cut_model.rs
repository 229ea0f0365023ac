//! Compares the log with a list of entries, part of which is lost now and then. Clients receive events live or by
//! replay, are cut off, and return with the newest id that they know.
//!
//! The property: each client has every entry for it that is left, once and in order, or got a gap.

use super::model::{TOPICS, is_for, target, topic};
use super::*;

/// An entry of the model.
#[derive(Clone, Debug)]
struct Stored {
    id: EventId,
    /// `None` for a mark.
    to: Option<Target>,
}

/// A client of the model.
struct Client {
    user: usize,
    topics: Vec<Topic>,
    /// The number of the model's entries before the first one that the client has to get.
    owed_from: usize,
    /// What it received, in order, since it came or got a gap.
    has: Vec<EventId>,
    /// The id that it would resume from.
    position: EventId,
    /// Later events are live; `None` during a replay.
    joined: Option<Position>,
    replay: Option<Replay>,
}

#[derive(Clone, Debug)]
enum Step {
    /// Appends an event, or a mark.
    Append(Option<Target>),
    /// A client connects for the first time, or with the id of the nth entry from the newest.
    Join(usize, Vec<usize>, Option<usize>),
    /// One of the clients was cut off, and returns.
    Return(usize),
    /// Each client in a replay takes up to so many entries.
    Take(usize),
    /// The dispatcher takes a batch of up to so many entries.
    Hold(usize),
    /// The dispatcher has delivered its batch.
    Deliver,
    /// Clients that are up to date get heartbeats.
    Beat,
    /// So many milliseconds pass.
    Pass(u64),
    /// The store loses its newest entries, so many.
    Truncate(usize),
    /// Another log takes the place of the store's, and comes from its beginning.
    Replace,
    /// The node was away for longer than the history. So many entries are restored, and all streams end.
    Refill(usize),
}

fn step() -> impl Strategy<Value = Step> {
    let topics = || {
        let topics = prop::collection::btree_set(0usize..TOPICS.len(), 0..3);
        topics.prop_map(|topics| topics.into_iter().collect())
    };
    prop_oneof![
        10 => prop::option::weighted(0.9, target()).prop_map(Step::Append),
        3 => (0usize..4, topics(), prop::option::of(0usize..20))
            .prop_map(|(user, topics, nth)| Step::Join(user, topics, nth)),
        2 => any::<usize>().prop_map(Step::Return),
        4 => (1usize..6).prop_map(Step::Take),
        3 => (1usize..9).prop_map(Step::Hold),
        3 => Just(Step::Deliver),
        2 => Just(Step::Beat),
        1 => (0u64..400).prop_map(Step::Pass),
        2 => (0usize..9).prop_map(Step::Truncate),
        1 => Just(Step::Replace),
        1 => (0usize..6).prop_map(Step::Refill),
    ]
}

struct World {
    log: Log,
    entries: Vec<Stored>,
    clients: Vec<Client>,
    held: Vec<Arc<Entry>>,
    now_ms: u64,
    /// Distinguishes ids given before and after a loss. Later ones can be lower, but none is given twice.
    losses: u64,
    /// The id before the model's first entry.
    floor: EventId,
}

/// Ids of the same loss have the same last digits.
const LOSSES: u64 = 1_000;

impl World {
    fn new() -> Self {
        Self {
            log: Log::new(6_000, Duration::from_secs(1), ORIGIN),
            entries: Vec::new(),
            clients: Vec::new(),
            held: Vec::new(),
            now_ms: 0,
            losses: 0,
            floor: ORIGIN,
        }
    }

    fn next_id(&self) -> EventId {
        let newest = self.log.newest_id();
        EventId {
            ms: newest.ms,
            seq: (newest.seq / LOSSES + 1) * LOSSES + self.losses,
        }
    }

    fn is_mine(&self, client: &Client, n: usize) -> bool {
        let to = self.entries[n].to.as_ref();
        to.is_some_and(|to| is_for(to, client.user, &client.topics))
    }

    fn oldest(&self) -> usize {
        self.entries.len() - self.log.retained().1
    }

    fn append(&mut self, to: Option<Target>) {
        let id = self.next_id();
        self.log
            .append(id, self.now_ms, record(to.as_ref()))
            .unwrap();
        self.entries.push(Stored { id, to });
    }

    /// Lets a client join, with the id that it knows or without one.
    fn join(&mut self, mut client: Client, last: Option<EventId>) -> Result<(), TestCaseError> {
        let (name, id) = (client.user.to_string(), last.map(|id| id.to_string()));
        let joined = self.log.join(&JoinRequest {
            last_event_id: id.as_deref(),
            ..newcomer(&name, &client.topics, "")
        });
        let oldest = self.oldest();
        if let Some(last) = last {
            let is_retained = self.entries[oldest..].iter().any(|entry| entry.id == last);
            prop_assert!(
                !is_retained || joined.gap.is_none(),
                "a gap although the id is known"
            );
            let is_left = self.entries.iter().any(|entry| entry.id == last) || last == self.floor;
            prop_assert!(
                is_left || joined.gap.is_some(),
                "no gap, but the id was lost"
            );
        } else {
            let newest = self.entries.last().map_or(self.floor, |entry| entry.id);
            prop_assert_eq!(joined.id, newest);
        }
        if joined.gap.is_some() {
            client.owed_from = oldest;
            client.has.clear();
        }
        client.position = joined.id;
        client.joined = joined.replay.is_none().then_some(joined.position);
        client.replay = joined.replay;
        self.clients.push(client);
        Ok(())
    }

    fn come_back(&mut self, nth: usize) -> Result<(), TestCaseError> {
        let client = self.clients.remove(nth);
        let position = client.position;
        self.join(client, Some(position))
    }

    fn take(&mut self, most: usize) -> Result<(), TestCaseError> {
        let mut lost = Vec::new();
        let oldest = self.oldest();
        for (nth, client) in self.clients.iter_mut().enumerate() {
            let Some(replay) = &mut client.replay else {
                continue;
            };
            let mut piece = Vec::new();
            let limit = PieceLimit {
                entries: most,
                ..NO_LIMIT
            };
            let progress = self.log.replay(replay, limit, &mut piece);
            client.has.extend(piece.iter().map(|entry| entry.id));
            if let Some(last) = piece.last() {
                client.position = last.id;
            }
            match progress {
                Progress::More => {}
                Progress::Moved => {
                    prop_assert!(client.has.is_empty(), "only the start moves");
                    client.owed_from = oldest;
                    replay.confirm();
                }
                Progress::CaughtUp(position) => {
                    client.joined = Some(position);
                    client.replay = None;
                }
                Progress::Lost => lost.push(nth),
                Progress::Ended(_) => prop_assert!(false, "nobody's session changed"),
            }
        }
        while let Some(nth) = lost.pop() {
            self.come_back(nth)?;
        }
        Ok(())
    }

    fn deliver(&mut self) {
        for entry in &self.held {
            let Record::Event { to, .. } = &entry.record else {
                continue;
            };
            for client in &mut self.clients {
                let is_live = client.joined.is_some_and(|joined| joined < entry.position);
                if is_live && is_for(to, client.user, &client.topics) {
                    client.has.push(entry.id);
                    client.position = entry.id;
                }
            }
        }
        if let Some(last) = self.held.last() {
            self.log.mark_dispatched(last, self.now_ms);
        }
        self.held.clear();
    }

    fn beat(&mut self) {
        let cursor = self.log.dispatched_cursor();
        for client in &mut self.clients {
            if client
                .joined
                .is_some_and(|joined| joined <= cursor.position)
            {
                client.position = cursor.id;
            }
        }
    }

    fn truncate(&mut self, lost: usize) -> Result<(), TestCaseError> {
        let dispatched = self.log.dispatched_position();
        let head = self.log.head();
        // Nothing before the oldest entry can be found any more.
        let left = self.entries.len().saturating_sub(lost).max(self.oldest());
        let common = left
            .checked_sub(1)
            .map_or(self.floor, |n| self.entries[n].id);
        let removed = self.log.truncate_after(common);
        let ids = |entries: Vec<EventId>| entries;
        prop_assert_eq!(
            ids(removed.iter().map(|entry| entry.id).collect()),
            ids(self.entries[left..].iter().map(|entry| entry.id).collect())
        );
        prop_assert_eq!(self.log.newest_id(), common);
        prop_assert_eq!(self.log.head(), head);
        prop_assert!(dispatched <= self.log.dispatched_position());
        self.forget(left);
        Ok(())
    }

    fn forget(&mut self, left: usize) {
        self.entries.truncate(left);
        for client in &mut self.clients {
            client.owed_from = client.owed_from.min(left);
        }
        self.losses += 1;
    }

    fn reset(&mut self) {
        self.floor = EventId {
            ms: ORIGIN.ms,
            seq: self.losses,
        };
        self.forget(0);
        self.log.reset(self.floor);
    }

    fn refill(&mut self, entries: usize) -> Result<(), TestCaseError> {
        self.reset();
        for _ in 0..entries {
            let id = self.next_id();
            let age = Duration::from_millis(100);
            self.log
                .restore(id, age, self.now_ms, record(Some(&Target::All)));
            self.entries.push(Stored {
                id,
                to: Some(Target::All),
            });
        }
        for _ in 0..self.clients.len() {
            self.come_back(0)?;
        }
        Ok(())
    }

    fn check(&self) -> Result<(), TestCaseError> {
        for client in &self.clients {
            let number = |id: &EventId| self.entries.iter().position(|entry| entry.id == *id);
            // Entries that were lost later do no harm.
            let has: Vec<usize> = client.has.iter().filter_map(number).collect();
            prop_assert!(
                has.is_sorted_by(|one, next| one < next),
                "once and in order"
            );
            let owed = client.owed_from..self.entries.len();
            let owed: Vec<usize> = owed.filter(|n| self.is_mine(client, *n)).collect();
            let missing = owed.iter().find(|n| !has.contains(n));
            prop_assert_eq!(missing, None, "an event was lost without a gap");
        }
        Ok(())
    }

    fn walk(&mut self, step: Step) -> Result<(), TestCaseError> {
        match step {
            Step::Append(to) => self.append(to),
            Step::Join(user, topics, nth) => {
                let number = nth.and_then(|nth| self.entries.len().checked_sub(nth + 1));
                let client = Client {
                    user,
                    topics: topics.into_iter().map(topic).collect(),
                    owed_from: number.map_or(self.entries.len(), |n| n + 1),
                    has: Vec::new(),
                    position: EventId::default(),
                    joined: None,
                    replay: None,
                };
                self.join(client, number.map(|n| self.entries[n].id))?;
            }
            Step::Return(nth) if !self.clients.is_empty() => {
                self.come_back(nth % self.clients.len())?;
            }
            Step::Take(most) => self.take(most)?,
            Step::Hold(most) if self.held.is_empty() => self.held = self.log.undispatched(most),
            Step::Return(_) | Step::Hold(_) => {}
            Step::Deliver => self.deliver(),
            Step::Beat => self.beat(),
            Step::Pass(ms) => {
                self.now_ms += ms;
                self.log.expire(self.now_ms);
            }
            Step::Truncate(lost) => self.truncate(lost)?,
            Step::Replace => self.reset(),
            Step::Refill(entries) => self.refill(entries)?,
        }
        Ok(())
    }

    /// Lets everything come to its end.
    fn settle(&mut self) -> Result<(), TestCaseError> {
        loop {
            self.deliver();
            self.held = self.log.undispatched(100);
            let is_quiet = self.held.is_empty();
            self.take(100)?;
            if is_quiet && self.clients.iter().all(|client| client.replay.is_none()) {
                return Ok(());
            }
        }
    }
}

fn record(to: Option<&Target>) -> Record {
    to.map_or(Record::Mark, |to| event(to.clone(), "some data", true))
}

proptest! {
    #[test]
    fn no_client_misses_anything_that_is_left_after_a_loss(
        steps in prop::collection::vec(step(), 1..120),
    ) {
        let mut world = World::new();
        for step in steps {
            world.walk(step)?;
            let (_, retained) = world.log.retained();
            prop_assert!(retained <= world.entries.len());
        }
        world.settle()?;
        world.check()?;
    }
}
