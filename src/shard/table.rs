//! The slots of a shard's streams by key, and the subscribers of topics.

use std::os::fd::OwnedFd;

use slab::Slab;

use super::audience::Audiences;
use super::slot::{Opening, Slot};
use super::wheel::{Links, Slots, Tick};
use crate::hub::ConnectionId;
use crate::topic::Topic;

/// The slots of one shard's streams.
#[derive(Debug)]
pub(crate) struct Table {
    /// The shard's number.
    shard: u16,
    slots: Slab<Slot>,
    next_generation: u32,
    /// One above the highest key ever used, which is where a walk over all slots ends.
    end: u32,
    audiences: Audiences,
}

impl Table {
    /// Creates a table with address space for `capacity` slots. Pages are touched only when slots are used,
    /// and the table never grows, so slots are never copied.
    pub(crate) fn new(shard: u16, capacity: usize) -> Self {
        Self {
            shard,
            slots: Slab::with_capacity(capacity.min(ConnectionId::MAX_KEYS)),
            next_generation: 0,
            end: 0,
            audiences: Audiences::default(),
        }
    }

    /// The id of the next connection; `None` if the table is full.
    pub(crate) fn vacancy(&self) -> Option<ConnectionId> {
        let key = self.slots.vacant_key();
        let key = u32::try_from(key).ok()?;
        (self.slots.len() < self.slots.capacity())
            .then(|| ConnectionId::new(self.shard, key, self.next_generation))
    }

    /// The generation of the next connection.
    pub(crate) fn next_generation(&self) -> u32 {
        self.next_generation
    }

    /// Gives the next connection another id than the one that [`Table::vacancy`] returned.
    pub(crate) fn skip_generation(&mut self) {
        self.next_generation = self.next_generation.wrapping_add(1);
    }

    /// Fills the slot that [`Table::vacancy`] returned.
    pub(crate) fn insert(
        &mut self,
        fd: OwnedFd,
        opening: Opening,
        now: Tick,
        unix_s: u64,
    ) -> ConnectionId {
        let generation = self.next_generation;
        self.next_generation = generation.wrapping_add(1);
        let key = u32::try_from(self.slots.vacant_key()).unwrap_or(u32::MAX);
        let subscriptions = if opening.topics.is_empty() {
            Box::default()
        } else {
            let topics = opening.topics.iter();
            topics
                .map(|topic| self.audiences.join(topic, key))
                .collect()
        };
        let slot = Slot::new(fd, generation, opening, subscriptions, now, unix_s);
        self.slots.insert(slot);
        self.end = self.end.max(key + 1);
        ConnectionId::new(self.shard, key, generation)
    }

    /// Removes a connection. Its timer must have been disarmed.
    pub(crate) fn remove(&mut self, key: u32) -> Option<Slot> {
        let slot = self.slots.try_remove(key as usize)?;
        for subscription in slot.subscriptions() {
            let Some(moved) = self.audiences.leave(*subscription) else {
                continue;
            };
            // The audience's last member has taken this place, so its slot has to be updated.
            if let Some(slot) = self.slots.get_mut(moved.key as usize) {
                for other in slot.subscriptions_mut() {
                    other.follow(moved);
                }
            }
        }
        Some(slot)
    }

    pub(crate) fn get(&self, key: u32) -> Option<&Slot> {
        self.slots.get(key as usize)
    }

    pub(crate) fn get_mut(&mut self, key: u32) -> Option<&mut Slot> {
        self.slots.get_mut(key as usize)
    }

    /// An occupied slot.
    #[inline]
    #[allow(clippy::indexing_slicing)] // the guard of a connection guarantees that the slot is occupied
    pub(crate) fn at(&self, key: u32) -> &Slot {
        &self.slots[key as usize]
    }

    /// The same, mutable.
    #[inline]
    #[allow(clippy::indexing_slicing)] // as above
    pub(crate) fn at_mut(&mut self, key: u32) -> &mut Slot {
        &mut self.slots[key as usize]
    }

    /// The key of a connection, if the connection still exists.
    pub(crate) fn find(&self, connection: ConnectionId) -> Option<u32> {
        let key = connection.key();
        self.get(key)
            .filter(|slot| slot.carrier.generation() == connection.generation())
            .map(|_| key)
    }

    /// The id of the connection in a slot.
    pub(crate) fn id(&self, key: u32) -> Option<ConnectionId> {
        let slot = self.get(key)?;
        let generation = slot.carrier.generation();
        Some(ConnectionId::new(self.shard, key, generation))
    }

    /// Frees the pages of an empty table. Its address space stays reserved.
    pub(crate) fn release(&mut self) {
        if self.slots.is_empty() && self.end > 0 {
            self.slots = Slab::with_capacity(self.slots.capacity());
            self.end = 0;
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.slots.len()
    }

    pub(crate) fn end(&self) -> u32 {
        self.end
    }

    /// The connections that subscribe to the topic.
    pub(crate) fn subscribers(&self, topic: &Topic) -> impl Iterator<Item = ConnectionId> {
        let keys = self.audiences.of(topic).iter();
        keys.filter_map(|key| self.id(*key))
    }

    /// The topics that a slot's stream subscribes to.
    pub(crate) fn topics<'a>(&'a self, slot: &'a Slot) -> impl Iterator<Item = &'a Topic> {
        let subscriptions = slot.subscriptions().iter();
        subscriptions.filter_map(|subscription| self.audiences.topic(*subscription))
    }
}

impl Slots for Table {
    #[allow(clippy::expect_used)]
    fn links(&mut self, key: u32) -> &mut Links {
        let slot = self.slots.get_mut(key as usize);
        slot.expect("the wheel links occupied slots only")
            .stream
            .links_mut()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::Position;
    use crate::hub::directory::UserHandle;
    use crate::shard::slot::Kind;
    use crate::wire::Wire;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    const CAPACITY: usize = 6;
    const TOPICS: [&str; 3] = ["news", "orders/1", "orders/2"];

    #[derive(Clone, Debug)]
    enum Step {
        /// Inserts a connection with the topics whose bits are set.
        Insert(u8),
        /// Removes this one of the present connections, modulo their number.
        Remove(usize),
        /// Removes a key whose slot may be empty.
        RemoveKey(u32),
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            4 => (0u8..8).prop_map(Step::Insert),
            3 => any::<usize>().prop_map(Step::Remove),
            1 => (0u32..10).prop_map(Step::RemoveKey),
        ]
    }

    fn topics(bits: u8) -> Box<[Topic]> {
        let chosen = TOPICS
            .iter()
            .enumerate()
            .filter(|(n, _)| bits >> n & 1 == 1);
        chosen
            .map(|(_, name)| Topic::parse(name).unwrap())
            .collect()
    }

    fn opening(bits: u8) -> Opening {
        Opening {
            user: UserHandle::NONE,
            wire: Wire::SseChunked,
            kind: Kind::Notifications {
                joined: Position(0),
            },
            expires_at_s: None,
            topics: topics(bits),
            session: None,
            forwarded_for: None,
        }
    }

    fn fd() -> OwnedFd {
        std::fs::File::open("/dev/null").unwrap().into()
    }

    proptest! {
        #[test]
        fn the_table_agrees_with_a_naive_model(steps in prop::collection::vec(step(), 1..60)) {
            let mut table = Table::new(3, CAPACITY);
            let capacity = table.slots.capacity();
            // The present connections with their topics, the removed ones, and one above the highest key.
            let mut present: Vec<(ConnectionId, u8)> = Vec::new();
            let mut gone: Vec<ConnectionId> = Vec::new();
            let mut end = 0;
            for step in steps {
                match step {
                    Step::Insert(bits) => {
                        let vacancy = table.vacancy();
                        prop_assert_eq!(vacancy.is_some(), present.len() < capacity);
                        if let Some(vacancy) = vacancy {
                            prop_assert_eq!(table.insert(fd(), opening(bits), Tick(0), 0), vacancy);
                            prop_assert!(!gone.contains(&vacancy));
                            present.push((vacancy, bits));
                            end = end.max(vacancy.key() + 1);
                        }
                    }
                    Step::Remove(nth) if !present.is_empty() => {
                        let (connection, _) = present.remove(nth % present.len());
                        let slot = table.remove(connection.key());
                        prop_assert_eq!(slot.map(|slot| slot.carrier.generation()), Some(connection.generation()));
                        gone.push(connection);
                    }
                    Step::Remove(_) => {}
                    Step::RemoveKey(key) => {
                        let at = present.iter().position(|(connection, _)| connection.key() == key);
                        prop_assert_eq!(table.remove(key).is_some(), at.is_some());
                        gone.extend(at.map(|at| present.remove(at).0));
                    }
                }
                prop_assert_eq!((table.len(), table.end()), (present.len(), end));
                for (connection, _) in &present {
                    prop_assert_eq!(table.find(*connection), Some(connection.key()));
                    prop_assert_eq!(ConnectionId::from_bits(connection.to_bits()), *connection);
                }
                for connection in &gone {
                    prop_assert_eq!(table.find(*connection), None);
                }
                for (connection, bits) in &present {
                    let slot = table.get(connection.key()).unwrap();
                    prop_assert!(table.topics(slot).eq(&topics(*bits)));
                }
                for (n, name) in TOPICS.iter().enumerate() {
                    let topic = Topic::parse(name).unwrap();
                    let subscribers: Vec<ConnectionId> = table.subscribers(&topic).collect();
                    let found: BTreeSet<u64> = subscribers.iter().map(|one| one.to_bits()).collect();
                    let asked = present.iter().filter(|(_, bits)| bits >> n & 1 == 1);
                    let expected: BTreeSet<u64> = asked.map(|(connection, _)| connection.to_bits()).collect();
                    prop_assert_eq!((subscribers.len(), found), (expected.len(), expected));
                }
                // A topic without subscribers has no audience.
                let asked = present.iter().fold(0, |all, (_, bits)| all | bits);
                prop_assert_eq!(table.audiences.len(), asked.count_ones() as usize);
            }
        }
    }

    #[test]
    fn generations_wrap_around() {
        let mut table = Table::new(0, 2);
        table.next_generation = u32::MAX;
        let last = table.insert(fd(), opening(0), Tick(0), 0);
        let first = table.insert(fd(), opening(0), Tick(0), 0);
        assert_eq!((last.generation(), first.generation()), (u32::MAX, 0));
        assert_eq!(ConnectionId::from_bits(last.to_bits()), last);
        table.remove(last.key());
        let again = table.insert(fd(), opening(0), Tick(0), 0);
        assert_eq!((again.key(), again.generation()), (last.key(), 1));
        assert_eq!(table.find(last), None);
    }
}
