//! Who holds the places among the handshakes, and whose turn it is to give one up.
//!
//! EvictionQueue are counted by address, so that a host that takes many of them gives way before
//! anybody else does. Every operation costs O(log n).

#![allow(clippy::indexing_slicing)] // a key is good until its place is left

use std::collections::{BTreeMap, HashMap};

use slab::Slab;

use super::Network;

/// An address with more than this part of all places is a crowd: it gives way first, gets less
/// time, and no more than this part of its connections is protected.
const CROWD_PART: usize = 8;

/// The places among one shard's handshakes, by the network that holds them.
#[derive(Debug)]
pub(super) struct EvictionQueue<T> {
    entries: Slab<Entry<T>>,
    groups: HashMap<Network, Group>,
    /// The addresses with more than `crowd` places: fewer than [`CROWD_PART`].
    crowds: Vec<Network>,
    /// The connections that may have to give way, oldest first: keys by turn.
    waiting: BTreeMap<u64, usize>,
    crowd: usize,
    turns: u64,
}

#[derive(Debug)]
struct Entry<T> {
    holder: T,
    network: Network,
    /// Its place in `waiting`: when it came, or last declined to leave.
    turn: u64,
    /// The server works on its request; that protects it.
    is_working: bool,
    /// It was asked to leave.
    is_leaving: bool,
}

impl<T> Entry<T> {
    fn is_waiting(&self) -> bool {
        !self.is_working && !self.is_leaving
    }
}

/// The places of one address.
#[derive(Debug, Default)]
struct Group {
    held: usize,
    working: usize,
    waiting: BTreeMap<u64, usize>,
}

/// A connection whose turn it is to give way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Candidate {
    pub(super) key: usize,
    /// Its address holds more than its share.
    pub(super) is_of_crowd: bool,
}

impl<T> EvictionQueue<T> {
    /// Of these, `most` may be held.
    pub(super) fn new(most: usize) -> Self {
        Self {
            entries: Slab::new(),
            groups: HashMap::new(),
            crowds: Vec::new(),
            waiting: BTreeMap::new(),
            crowd: (most / CROWD_PART).max(1),
            turns: 0,
        }
    }

    pub(super) fn held(&self) -> usize {
        self.entries.len()
    }

    pub(super) fn get(&self, key: usize) -> &T {
        &self.entries[key].holder
    }

    pub(super) fn enter(&mut self, network: Network, holder: T) -> usize {
        let turn = self.next_turn();
        let key = self.entries.insert(Entry {
            holder,
            network,
            turn,
            is_working: false,
            is_leaving: false,
        });
        self.count(key);
        key
    }

    pub(super) fn leave(&mut self, key: usize) {
        self.discount(key);
        self.entries.remove(key);
    }

    /// Counts it against another address.
    pub(super) fn move_to(&mut self, key: usize, network: Network) {
        if self.entries[key].network != network {
            self.change(key, |place| place.network = network);
        }
    }

    /// Protects a connection, unless its address has as many of those as it may.
    pub(super) fn start_work(&mut self, key: usize) {
        let group = &self.groups[&self.entries[key].network];
        if group.working < self.crowd {
            self.change(key, |place| place.is_working = true);
        }
    }

    pub(super) fn end_work(&mut self, key: usize) {
        self.change(key, |place| place.is_working = false);
    }

    pub(super) fn is_working(&self, key: usize) -> bool {
        self.entries[key].is_working
    }

    /// Whether its address holds more than its share.
    pub(super) fn is_of_crowd(&self, key: usize) -> bool {
        self.groups[&self.entries[key].network].held > self.crowd
    }

    /// It was asked to leave, and is not asked again.
    pub(super) fn start_leaving(&mut self, key: usize) {
        self.change(key, |place| place.is_leaving = true);
    }

    /// It stays after all, behind the others.
    pub(super) fn stay(&mut self, key: usize) {
        let turn = self.next_turn();
        self.change(key, |place| {
            place.is_leaving = false;
            place.turn = turn;
        });
    }

    /// Who gives way next: the oldest that waits of the largest crowd or, with no crowd, of all.
    pub(super) fn candidate(&self) -> Option<Candidate> {
        let crowds = self.crowds.iter().map(|network| &self.groups[network]);
        let largest = crowds
            .filter(|group| !group.waiting.is_empty())
            .max_by_key(|group| group.held);
        let oldest = largest.map_or(&self.waiting, |group| &group.waiting);
        let key = *oldest.first_key_value()?.1;
        Some(Candidate {
            key,
            is_of_crowd: largest.is_some(),
        })
    }

    fn next_turn(&mut self) -> u64 {
        self.turns += 1;
        self.turns
    }

    fn change(&mut self, key: usize, change: impl FnOnce(&mut Entry<T>)) {
        self.discount(key);
        change(&mut self.entries[key]);
        self.count(key);
    }

    fn count(&mut self, key: usize) {
        let place = &self.entries[key];
        let group = self.groups.entry(place.network).or_default();
        group.held += 1;
        group.working += usize::from(place.is_working);
        if place.is_waiting() {
            group.waiting.insert(place.turn, key);
            self.waiting.insert(place.turn, key);
        }
        if group.held == self.crowd + 1 {
            self.crowds.push(place.network);
        }
    }

    fn discount(&mut self, key: usize) {
        let place = &self.entries[key];
        let Some(group) = self.groups.get_mut(&place.network) else {
            return;
        };
        if group.held == self.crowd + 1 {
            self.crowds.retain(|network| *network != place.network);
        }
        group.held -= 1;
        group.working -= usize::from(place.is_working);
        if place.is_waiting() {
            group.waiting.remove(&place.turn);
            self.waiting.remove(&place.turn);
        }
        if group.held == 0 {
            self.groups.remove(&place.network);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MOST: usize = 16;

    fn numbered(number: u8) -> Network {
        Network::of(Some([10, 0, 0, number].into()))
    }

    fn next(places: &EvictionQueue<()>) -> Option<(usize, bool)> {
        let next = places.candidate()?;
        Some((next.key, next.is_of_crowd))
    }

    #[test]
    fn the_oldest_of_the_address_that_holds_the_most_gives_way() {
        let mut places = EvictionQueue::new(MOST);
        let first = places.enter(numbered(1), ());
        assert_eq!(next(&places), Some((first, false)));
        let crowd: Vec<_> = (0..3).map(|_| places.enter(numbered(2), ())).collect();
        let larger: Vec<_> = (0..4).map(|_| places.enter(numbered(3), ())).collect();
        assert_eq!(next(&places), Some((larger[0], true)));
        places.leave(larger[0]);
        places.leave(larger[1]);
        assert_eq!(next(&places), Some((crowd[0], true)));
        places.leave(crowd[0]);
        assert_eq!(next(&places), Some((first, false)));
    }

    #[test]
    fn what_the_server_works_on_is_protected_up_to_a_share_of_each_address() {
        let mut places = EvictionQueue::new(MOST);
        let keys: Vec<_> = (0..4).map(|_| places.enter(numbered(1), ())).collect();
        for key in &keys {
            places.start_work(*key);
        }
        // Two are protected.
        assert_eq!(next(&places), Some((keys[2], true)));
        places.end_work(keys[0]);
        assert_eq!(next(&places), Some((keys[0], true)));
    }

    #[test]
    fn one_that_stays_has_its_turn_last() {
        let mut places = EvictionQueue::new(MOST);
        let keys: Vec<_> = (0..3).map(|_| places.enter(numbered(1), ())).collect();
        places.start_leaving(keys[0]);
        assert_eq!(next(&places), Some((keys[1], true)));
        places.stay(keys[0]);
        places.leave(keys[1]);
        places.leave(keys[2]);
        assert_eq!(next(&places), Some((keys[0], false)));
    }

    #[derive(Clone, Debug)]
    enum Step {
        Enter(u8),
        Leave(usize),
        Move(usize, u8),
        Work(usize),
        Rest(usize),
        Ask(usize),
        Stay(usize),
    }

    fn step() -> impl Strategy<Value = Step> {
        let place = 0..MOST;
        let address = 0..4_u8;
        prop_oneof![
            4 => address.clone().prop_map(Step::Enter),
            2 => place.clone().prop_map(Step::Leave),
            2 => (place.clone(), address).prop_map(|(place, address)| Step::Move(place, address)),
            2 => place.clone().prop_map(Step::Work),
            1 => place.clone().prop_map(Step::Rest),
            1 => place.clone().prop_map(Step::Ask),
            1 => place.prop_map(Step::Stay),
        ]
    }

    #[derive(Clone, Debug)]
    struct Held {
        key: usize,
        address: u8,
        is_working: bool,
        is_leaving: bool,
    }

    proptest! {
        #[test]
        fn the_candidate_is_whom_the_rule_names(steps in prop::collection::vec(step(), 0..120)) {
            let mut places = EvictionQueue::new(MOST);
            // In the order of their turns.
            let mut model: Vec<Held> = Vec::new();
            for step in steps {
                match step {
                    Step::Enter(address) if model.len() < MOST => {
                        let key = places.enter(numbered(address), ());
                        model.push(Held { key, address, is_working: false, is_leaving: false });
                    }
                    Step::Leave(at) if at < model.len() => places.leave(model.remove(at).key),
                    Step::Move(at, address) if at < model.len() => {
                        model[at].address = address;
                        places.move_to(model[at].key, numbered(address));
                    }
                    Step::Work(at) if at < model.len() && !model[at].is_working => {
                        let address = model[at].address;
                        let working = model.iter().filter(|it| it.address == address && it.is_working);
                        model[at].is_working = working.count() < MOST / CROWD_PART;
                        places.start_work(model[at].key);
                    }
                    Step::Rest(at) if at < model.len() => {
                        model[at].is_working = false;
                        places.end_work(model[at].key);
                    }
                    Step::Ask(at) if at < model.len() => {
                        model[at].is_leaving = true;
                        places.start_leaving(model[at].key);
                    }
                    Step::Stay(at) if at < model.len() => {
                        let mut held = model.remove(at);
                        held.is_leaving = false;
                        places.stay(held.key);
                        model.push(held);
                    }
                    _ => {}
                }
                let waiting = |address: Option<u8>| {
                    let mut all = model.iter();
                    all.find(|it| {
                        address.is_none_or(|address| it.address == address)
                            && !it.is_working
                            && !it.is_leaving
                    })
                };
                let of = |address| model.iter().filter(|it| it.address == address).count();
                let crowds = (0..4).filter(|address| of(*address) > MOST / CROWD_PART);
                let largest = crowds.filter(|address| waiting(Some(*address)).is_some()).map(of).max();
                let candidate = places.candidate();
                prop_assert_eq!(candidate.is_some_and(|it| it.is_of_crowd), largest.is_some());
                let named = candidate.map(|it| {
                    let held = model.iter().find(|held| held.key == it.key).unwrap();
                    (of(held.address), held.key)
                });
                match (largest, named) {
                    // Two may be as large.
                    (Some(largest), Some((held, key))) => {
                        prop_assert_eq!(held, largest);
                        let address = model.iter().find(|it| it.key == key).unwrap().address;
                        prop_assert_eq!(waiting(Some(address)).unwrap().key, key);
                    }
                    (None, named) => {
                        prop_assert_eq!(waiting(None).map(|it| it.key), named.map(|(_, key)| key));
                    }
                    (Some(_), None) => prop_assert!(false, "nobody gives way"),
                }
                prop_assert_eq!(places.held(), model.len());
                prop_assert!(places.crowds.len() < CROWD_PART + 1);
            }
            for held in model {
                places.leave(held.key);
            }
            prop_assert!(places.groups.is_empty() && places.waiting.is_empty() && places.crowds.is_empty());
        }
    }
}
