//! What all nodes share: the log, and what changes together with it.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::watch;

use super::members::Members;
use super::place::StorePlace;
use super::rows::{Rows, SimulatedRow};
use crate::auth::failures::Failures;
use crate::auth::ticket::Tickets;
use crate::clock::Clock;
use crate::engine::record::Stored;
use crate::engine::sources::{SOURCE_ID_MS, SourceKey};
use crate::event::EventId;
use crate::hub::engine::Verdict;

/// A store. The nodes reach it through a [`SimulatedLink`](super::link::SimulatedLink).
pub(super) struct SimulatedStore {
    clock: Clock,
    inner: Mutex<SimulatedState>,
    /// Changes whenever the state does.
    changed: watch::Sender<u64>,
}

/// The state of a store.
pub(super) struct SimulatedState {
    clock: Clock,
    /// How far the leader's clock is ahead of the true time, in milliseconds.
    pub(super) skew_ms: i64,
    /// Names the log. A store that came back empty has another one.
    epoch: u64,
    /// The leader's number. Connections to an earlier one are gone.
    run: u64,
    term: u64,
    log: Vec<StoreEntry>,
    /// Whose groups of entries were appended, and where.
    groups: HashMap<(String, u64), Vec<StorePlace>>,
    sources: HashMap<SourceKey, (StorePlace, u64)>,
    pub(super) rows: Rows,
    pub(super) members: Members,
    /// The newest date of a session change, in Unix milliseconds. Dates do not fall.
    dated_ms: u64,
    /// The places of users, by node.
    pub(super) places: HashMap<String, BTreeMap<String, usize>>,
    pub(super) tickets: Tickets,
    /// The node that issued a ticket.
    pub(super) ticket_nodes: HashMap<String, String>,
    pub(super) failures: Failures,
}

/// An entry of the store's log.
#[derive(Clone, Debug)]
pub(super) struct StoreEntry {
    pub(super) place: StorePlace,
    /// The leader's time, in Unix milliseconds.
    pub(super) at_ms: u64,
    pub(super) json: Arc<str>,
}

/// An entry to be appended.
#[derive(Clone, Debug)]
pub(super) struct Addition {
    pub(super) source: Option<SourceKey>,
    pub(super) json: Arc<str>,
}

/// What a node knows of the store, from one connection to the next.
#[derive(Clone, Copy, Debug)]
pub(super) struct KnownLog {
    pub(super) epoch: u64,
    pub(super) seen: StorePlace,
}

/// What a node finds in the store.
#[derive(Clone, Copy, Debug)]
pub(super) struct FoundStore {
    pub(super) verdict: Verdict,
    pub(super) epoch: u64,
    pub(super) run: u64,
    pub(super) first: StorePlace,
    pub(super) newest: StorePlace,
    pub(super) dated_ms: u64,
}

impl SimulatedStore {
    pub(super) fn new(clock: Clock) -> Arc<Self> {
        let state = SimulatedState::new(&clock, 0);
        Arc::new(Self {
            clock,
            inner: Mutex::new(state),
            changed: watch::Sender::new(0),
        })
    }

    /// Reads the state.
    pub(super) fn look<T>(&self, look: impl FnOnce(&SimulatedState) -> T) -> T {
        look(&self.inner.lock())
    }

    /// Changes the state, and wakes whoever waits for that.
    pub(super) fn change<T>(&self, change: impl FnOnce(&mut SimulatedState) -> T) -> T {
        let answer = change(&mut self.inner.lock());
        self.changed.send_modify(|count| *count += 1);
        answer
    }

    /// Tells of each change.
    pub(super) fn changes(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }

    /// The true time.
    pub(super) fn unix_ms(&self) -> u64 {
        self.clock.unix_ms()
    }
}

impl SimulatedState {
    /// An empty log. Only its leader's number goes on.
    fn new(clock: &Clock, run: u64) -> Self {
        let mut state = Self {
            clock: clock.clone(),
            skew_ms: 0,
            epoch: fastrand::u64(..),
            run,
            term: 0,
            log: Vec::new(),
            groups: HashMap::new(),
            sources: HashMap::new(),
            rows: Rows::default(),
            members: Members::default(),
            dated_ms: 0,
            places: HashMap::new(),
            tickets: Tickets::new(clock.clone()),
            ticket_nodes: HashMap::new(),
            failures: Failures::new(clock.clone()),
        };
        state.begin_term();
        state.append(&Stored::Origin {}.to_json().into());
        state
    }

    /// The leader's time, in Unix milliseconds.
    pub(super) fn leader_ms(&self) -> u64 {
        self.clock.unix_ms().saturating_add_signed(self.skew_ms)
    }

    /// The time for a session change: after all earlier ones, and not before the time of the node that asks, by which
    /// tokens were issued.
    pub(super) fn date(&mut self, node_unix_ms: u64) -> u64 {
        let next_ms = self.dated_ms + 1;
        self.dated_ms = next_ms.max(self.leader_ms()).max(node_unix_ms);
        self.dated_ms
    }

    /// The leader's number.
    pub(super) fn run(&self) -> u64 {
        self.run
    }

    /// The newest entry's place.
    pub(super) fn newest(&self) -> StorePlace {
        self.log
            .last()
            .map_or(StorePlace::default(), |last| last.place)
    }

    /// Returns true if the entry is in the log.
    pub(super) fn has(&self, place: StorePlace) -> bool {
        let found = self.log.binary_search_by_key(&place, |entry| entry.place);
        found.is_ok()
    }

    /// Returns true if nothing between this place and the log's first entry can be missing: the entry is there, or the
    /// log begins right after it.
    pub(super) fn reaches(&self, place: StorePlace) -> bool {
        let first = self.log.first().map(|first| EventId::from(first.place));
        self.has(place) || first.is_some_and(|first| StorePlace::from(first.before()) == place)
    }

    /// Up to `most` entries after `place`, in order.
    pub(super) fn after(&self, place: StorePlace, most: usize) -> Vec<StoreEntry> {
        let from = self.log.partition_point(|entry| entry.place <= place);
        self.log.iter().skip(from).take(most).cloned().collect()
    }

    /// Compares what a node knows with the log. What comes after it will be above all that the node has seen.
    pub(super) fn attach(&mut self, known: Option<KnownLog>) -> FoundStore {
        let first = self
            .log
            .first()
            .map_or(StorePlace::default(), |it| it.place);
        let verdict = match known {
            None => Verdict::Start,
            Some(known) if known.epoch != self.epoch => Verdict::NewLog,
            Some(known) if self.reaches(known.seen) => Verdict::Resume,
            Some(known) if known.seen < first => Verdict::Trimmed,
            Some(_) => Verdict::Forked,
        };
        if let Some(known) = known
            && matches!(verdict, Verdict::NewLog | Verdict::Forked)
            && known.seen >= self.newest()
        {
            // An entry for nobody, so that the positions of clients do not fall.
            self.term = self.term.max(known.seen.term + 1);
            self.append(&Stored::Origin {}.to_json().into());
        }
        FoundStore {
            verdict,
            epoch: self.epoch,
            run: self.run,
            first,
            newest: self.newest(),
            dated_ms: self.dated_ms,
        }
    }

    /// Appends a group of entries once, however often it is asked for.
    pub(super) fn publish(
        &mut self,
        group: (String, u64),
        entries: &[Addition],
    ) -> Vec<StorePlace> {
        if let Some(done) = self.groups.get(&group) {
            return done.clone();
        }
        let now_ms = self.clock.unix_ms();
        self.sources.retain(|_, (_, until_ms)| *until_ms >= now_ms);
        let mut places = Vec::new();
        for entry in entries {
            let known = entry.source.and_then(|key| self.sources.get(&key));
            let place = known.map(|(place, _)| *place);
            let place = place.unwrap_or_else(|| self.append(&entry.json));
            if let Some(key) = entry.source {
                let until_ms = now_ms + SOURCE_ID_MS;
                self.sources.entry(key).or_insert((place, until_ms));
            }
            places.push(place);
        }
        self.groups.insert(group, places.clone());
        places
    }

    /// Stores a session change with its entry, if the row before it is still the one with the tag `before`.
    pub(super) fn change_session(
        &mut self,
        user: &str,
        before: Option<&str>,
        entry: &Arc<str>,
        row: impl FnOnce(StorePlace) -> SimulatedRow,
    ) -> Option<StorePlace> {
        if !self.rows.is(user, before) {
            return None;
        }
        let place = self.append(entry);
        self.rows.put(user, row(place), place.sequence);
        Some(place)
    }

    fn append(&mut self, json: &Arc<str>) -> StorePlace {
        let place = StorePlace {
            term: self.term,
            sequence: self.newest().sequence + fastrand::u64(1..4),
        };
        let at_ms = self.leader_ms();
        let json = Arc::clone(json);
        self.log.push(StoreEntry { place, at_ms, json });
        place
    }

    /// Another leader takes over. The first term is random in part, so that two logs of the same moment do not accept
    /// each other's clients.
    fn begin_term(&mut self) {
        self.run += 1;
        self.term = match self.term {
            0 => self.leader_ms().max(1) + fastrand::u64(..1_000),
            term => term + 1,
        };
    }
}

#[cfg(test)]
impl SimulatedState {
    /// Another leader takes over, without the newest `lost` entries.
    pub(super) fn roll_back(&mut self, lost: usize) {
        let left = self.log.len().saturating_sub(lost).max(1);
        self.log.truncate(left);
        let newest = self.newest();
        self.rows.roll_back(newest.sequence);
        self.groups
            .retain(|_, places| places.iter().all(|place| *place <= newest));
        self.sources.retain(|_, (place, _)| *place <= newest);
        self.begin_term();
    }

    /// The store comes back empty.
    pub(super) fn empty(&mut self) {
        let skew_ms = self.skew_ms;
        *self = Self::new(&self.clock, self.run);
        self.skew_ms = skew_ms;
    }

    /// The oldest entries are dropped, except for so many.
    pub(super) fn trim(&mut self, left: usize) {
        let gone = self.log.len().saturating_sub(left.max(1));
        self.log.drain(..gone);
    }

    /// All entries.
    pub(super) fn log(&self) -> &[StoreEntry] {
        &self.log
    }
}
