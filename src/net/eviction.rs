//! The handshakes in flight, and which of them gives way next.
//!
//! They are counted per address, so that a host with many handshakes gives way before all others. Every
//! operation costs O(log n).

#![allow(clippy::indexing_slicing)] // a key is good until its place is left

use std::collections::{BTreeMap, HashMap};

use ahash::RandomState;
use slab::Slab;

use super::Network;

/// An address with more than this part of all places is a crowd. It gives way first and gets less time,
/// and no more than this part of its connections is protected.
const CROWD_PART: usize = 8;

/// One shard's handshakes, by network and age.
#[derive(Debug)]
pub(super) struct EvictionQueue<T> {
    entries: Slab<Entry<T>>,
    groups: HashMap<Network, Group, RandomState>,
    /// Addresses with more than `crowd` handshakes: fewer than [`CROWD_PART`].
    crowds: Vec<Network>,
    /// Keys of the handshakes that may have to give way, by age.
    waiting: BTreeMap<u64, usize>,
    crowd: usize,
    last_order: u64,
}

#[derive(Debug)]
struct Entry<T> {
    holder: T,
    network: Network,
    /// Its key in `waiting`: rises with each arrival, and each time that a connection stays.
    order: u64,
    /// The server is working on its request, which protects it.
    is_working: bool,
    /// It was asked to leave.
    is_leaving: bool,
}

impl<T> Entry<T> {
    fn is_waiting(&self) -> bool {
        !self.is_working && !self.is_leaving
    }
}

/// The handshakes of one address.
#[derive(Debug, Default)]
struct Group {
    held: usize,
    working: usize,
    waiting: BTreeMap<u64, usize>,
}

/// The next connection to give way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Candidate {
    pub(super) key: usize,
    /// Its address holds more than its share.
    pub(super) is_of_crowd: bool,
}

impl<T> EvictionQueue<T> {
    /// For `most` handshakes.
    pub(super) fn new(most: usize) -> Self {
        Self {
            entries: Slab::new(),
            groups: HashMap::default(),
            crowds: Vec::new(),
            waiting: BTreeMap::new(),
            crowd: (most / CROWD_PART).max(1),
            last_order: 0,
        }
    }

    pub(super) fn held(&self) -> usize {
        self.entries.len()
    }

    pub(super) fn get(&self, key: usize) -> &T {
        &self.entries[key].holder
    }

    pub(super) fn enter(&mut self, network: Network, holder: T) -> usize {
        let order = self.next_order();
        let key = self.entries.insert(Entry {
            holder,
            network,
            order,
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

    /// Counts a handshake for another address.
    pub(super) fn move_to(&mut self, key: usize, network: Network) {
        if self.entries[key].network != network {
            self.change(key, |entry| entry.network = network);
        }
    }

    /// Protects a connection, unless its address has the largest permitted number of protected ones.
    pub(super) fn start_work(&mut self, key: usize) {
        let group = &self.groups[&self.entries[key].network];
        if group.working < self.crowd {
            self.change(key, |entry| entry.is_working = true);
        }
    }

    pub(super) fn end_work(&mut self, key: usize) {
        self.change(key, |entry| entry.is_working = false);
    }

    pub(super) fn is_working(&self, key: usize) -> bool {
        self.entries[key].is_working
    }

    /// Returns true if its address holds more than its share.
    pub(super) fn is_of_crowd(&self, key: usize) -> bool {
        self.groups[&self.entries[key].network].held > self.crowd
    }

    /// Marks a connection that was asked to leave, so that it is not asked again.
    pub(super) fn start_leaving(&mut self, key: usize) {
        self.change(key, |entry| entry.is_leaving = true);
    }

    /// Lets a connection stay, behind all others.
    pub(super) fn stay(&mut self, key: usize) {
        let order = self.next_order();
        self.change(key, |entry| {
            entry.is_leaving = false;
            entry.order = order;
        });
    }

    /// The oldest waiting connection of the largest crowd or, without a crowd, of all.
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

    fn next_order(&mut self) -> u64 {
        self.last_order += 1;
        self.last_order
    }

    fn change(&mut self, key: usize, change: impl FnOnce(&mut Entry<T>)) {
        self.discount(key);
        change(&mut self.entries[key]);
        self.count(key);
    }

    fn count(&mut self, key: usize) {
        let entry = &self.entries[key];
        let group = self.groups.entry(entry.network).or_default();
        group.held += 1;
        group.working += usize::from(entry.is_working);
        if entry.is_waiting() {
            group.waiting.insert(entry.order, key);
            self.waiting.insert(entry.order, key);
        }
        if group.held == self.crowd + 1 {
            self.crowds.push(entry.network);
        }
    }

    fn discount(&mut self, key: usize) {
        let entry = &self.entries[key];
        let Some(group) = self.groups.get_mut(&entry.network) else {
            return;
        };
        if group.held == self.crowd + 1 {
            self.crowds.retain(|network| *network != entry.network);
        }
        group.held -= 1;
        group.working -= usize::from(entry.is_working);
        if entry.is_waiting() {
            group.waiting.remove(&entry.order);
            self.waiting.remove(&entry.order);
        }
        if group.held == 0 {
            self.groups.remove(&entry.network);
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

    fn next(queue: &EvictionQueue<()>) -> Option<(usize, bool)> {
        let next = queue.candidate()?;
        Some((next.key, next.is_of_crowd))
    }

    #[test]
    fn the_oldest_of_the_address_that_holds_the_most_gives_way() {
        let mut queue = EvictionQueue::new(MOST);
        let first = queue.enter(numbered(1), ());
        assert_eq!(next(&queue), Some((first, false)));
        let crowd: Vec<_> = (0..3).map(|_| queue.enter(numbered(2), ())).collect();
        let larger: Vec<_> = (0..4).map(|_| queue.enter(numbered(3), ())).collect();
        assert_eq!(next(&queue), Some((larger[0], true)));
        queue.leave(larger[0]);
        queue.leave(larger[1]);
        assert_eq!(next(&queue), Some((crowd[0], true)));
        queue.leave(crowd[0]);
        assert_eq!(next(&queue), Some((first, false)));
    }

    #[test]
    fn the_servers_work_protects_up_to_a_share_per_address() {
        let mut queue = EvictionQueue::new(MOST);
        let keys: Vec<_> = (0..4).map(|_| queue.enter(numbered(1), ())).collect();
        for key in &keys {
            queue.start_work(*key);
        }
        // Two of them are protected.
        assert_eq!(next(&queue), Some((keys[2], true)));
        queue.end_work(keys[0]);
        assert_eq!(next(&queue), Some((keys[0], true)));
    }

    #[test]
    fn a_connection_that_stays_is_the_last_to_give_way() {
        let mut queue = EvictionQueue::new(MOST);
        let keys: Vec<_> = (0..3).map(|_| queue.enter(numbered(1), ())).collect();
        queue.start_leaving(keys[0]);
        assert_eq!(next(&queue), Some((keys[1], true)));
        queue.stay(keys[0]);
        queue.leave(keys[1]);
        queue.leave(keys[2]);
        assert_eq!(next(&queue), Some((keys[0], false)));
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
        fn the_candidate_follows_the_rule(steps in prop::collection::vec(step(), 0..120)) {
            let mut queue = EvictionQueue::new(MOST);
            // In the order in which they give way.
            let mut model: Vec<Held> = Vec::new();
            for step in steps {
                match step {
                    Step::Enter(address) if model.len() < MOST => {
                        let key = queue.enter(numbered(address), ());
                        model.push(Held { key, address, is_working: false, is_leaving: false });
                    }
                    Step::Leave(at) if at < model.len() => queue.leave(model.remove(at).key),
                    Step::Move(at, address) if at < model.len() => {
                        model[at].address = address;
                        queue.move_to(model[at].key, numbered(address));
                    }
                    Step::Work(at) if at < model.len() && !model[at].is_working => {
                        let address = model[at].address;
                        let working = model.iter().filter(|it| it.address == address && it.is_working);
                        model[at].is_working = working.count() < MOST / CROWD_PART;
                        queue.start_work(model[at].key);
                    }
                    Step::Rest(at) if at < model.len() => {
                        model[at].is_working = false;
                        queue.end_work(model[at].key);
                    }
                    Step::Ask(at) if at < model.len() => {
                        model[at].is_leaving = true;
                        queue.start_leaving(model[at].key);
                    }
                    Step::Stay(at) if at < model.len() => {
                        let mut held = model.remove(at);
                        held.is_leaving = false;
                        queue.stay(held.key);
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
                let candidate = queue.candidate();
                prop_assert_eq!(candidate.is_some_and(|it| it.is_of_crowd), largest.is_some());
                let named = candidate.map(|it| {
                    let held = model.iter().find(|held| held.key == it.key).unwrap();
                    (of(held.address), held.key)
                });
                match (largest, named) {
                    // Two crowds may have the same size.
                    (Some(largest), Some((held, key))) => {
                        prop_assert_eq!(held, largest);
                        let address = model.iter().find(|it| it.key == key).unwrap().address;
                        prop_assert_eq!(waiting(Some(address)).unwrap().key, key);
                    }
                    (None, named) => {
                        prop_assert_eq!(waiting(None).map(|it| it.key), named.map(|(_, key)| key));
                    }
                    (Some(_), None) => prop_assert!(false, "no connection gives way"),
                }
                prop_assert_eq!(queue.held(), model.len());
                prop_assert!(queue.crowds.len() < CROWD_PART + 1);
            }
            for held in model {
                queue.leave(held.key);
            }
            prop_assert!(queue.groups.is_empty() && queue.waiting.is_empty() && queue.crowds.is_empty());
        }
    }
}
