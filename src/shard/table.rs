//! The connection table: slots by key, reserved once, and who asked for which topic.

use std::os::fd::OwnedFd;

use slab::Slab;

use super::audience::Audiences;
use super::slot::{Slot, Tenant};
use super::wheel::{Links, MAX_KEYS, Slots, Tick};
use crate::topic::Topic;

/// Names a tenant for as long as it stays; outlived by nothing that matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SlotRef {
    /// The slot.
    pub(crate) key: u32,
    /// Which tenant of it.
    pub(crate) generation: u32,
}

impl SlotRef {
    /// For `epoll_data`.
    pub(crate) fn token(self) -> u64 {
        u64::from(self.generation) << 32 | u64::from(self.key)
    }

    #[allow(clippy::cast_possible_truncation)] // the halves of `token`
    pub(crate) fn from_token(token: u64) -> Self {
        Self {
            key: token as u32,
            generation: (token >> 32) as u32,
        }
    }
}

/// The slots of one shard's streams.
#[derive(Debug)]
pub(crate) struct Table {
    slots: Slab<Slot>,
    next_generation: u32,
    /// One above the highest key ever used: where a walk over everybody ends.
    end: u32,
    audiences: Audiences,
}

impl Table {
    /// A table with address space for `capacity` slots. Pages are touched as slots are used, and
    /// no growth ever copies them.
    pub(crate) fn new(capacity: usize) -> Self {
        Self {
            slots: Slab::with_capacity(capacity.min(MAX_KEYS)),
            next_generation: 0,
            end: 0,
            audiences: Audiences::default(),
        }
    }

    /// Who the next tenant will be; `None` when the table is full.
    pub(crate) fn vacancy(&self) -> Option<SlotRef> {
        let key = self.slots.vacant_key();
        (self.slots.len() < self.slots.capacity()).then_some(SlotRef {
            key: u32::try_from(key).ok()?,
            generation: self.next_generation,
        })
    }

    /// Makes the next tenant another one than [`Table::vacancy`] named.
    pub(crate) fn skip_generation(&mut self) {
        self.next_generation = self.next_generation.wrapping_add(1);
    }

    /// Fills the vacancy that [`Table::vacancy`] named.
    pub(crate) fn insert(
        &mut self,
        fd: OwnedFd,
        tenant: Tenant,
        now: Tick,
        unix_s: u64,
    ) -> SlotRef {
        let generation = self.next_generation;
        self.next_generation = generation.wrapping_add(1);
        let key = u32::try_from(self.slots.vacant_key()).unwrap_or(u32::MAX);
        let subscriptions = if tenant.topics.is_empty() {
            Box::default()
        } else {
            let topics = tenant.topics.iter();
            topics
                .map(|topic| self.audiences.join(topic, key))
                .collect()
        };
        let slot = Slot::new(fd, generation, tenant, subscriptions, now, unix_s);
        self.slots.insert(slot);
        self.end = self.end.max(key + 1);
        SlotRef { key, generation }
    }

    /// Takes a tenant out. Its timer has to be disarmed before.
    pub(crate) fn remove(&mut self, key: u32) -> Option<Slot> {
        let slot = self.slots.try_remove(key as usize)?;
        for subscription in slot.subscriptions() {
            let Some(moved) = self.audiences.leave(*subscription) else {
                continue;
            };
            // The audience's last has taken the place, and has to know.
            if let Some(extra) = self
                .slots
                .get_mut(moved.key as usize)
                .and_then(|slot| slot.extra.as_mut())
            {
                for other in &mut extra.subscriptions {
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

    /// The key of a tenant who is still there.
    pub(crate) fn find(&self, tenant: SlotRef) -> Option<u32> {
        self.get(tenant.key)
            .filter(|slot| slot.generation == tenant.generation)
            .map(|_| tenant.key)
    }

    /// Gives the pages of an empty table back; its address space stays reserved.
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

    /// Who asked for the topic.
    pub(crate) fn subscribers(&self, topic: &Topic) -> impl Iterator<Item = SlotRef> {
        self.audiences.of(topic).iter().filter_map(|key| {
            let generation = self.get(*key)?.generation;
            Some(SlotRef {
                key: *key,
                generation,
            })
        })
    }

    /// The topics that a slot gets.
    pub(crate) fn topics<'a>(&'a self, slot: &'a Slot) -> impl Iterator<Item = &'a Topic> {
        let subscriptions = slot.subscriptions().iter();
        subscriptions.filter_map(|subscription| self.audiences.topic(*subscription))
    }
}

impl Slots for Table {
    #[allow(clippy::expect_used)]
    fn links(&mut self, key: u32) -> &mut Links {
        &mut self
            .slots
            .get_mut(key as usize)
            .expect("the wheel links occupied slots only")
            .links
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::directory::UserHandle;
    use crate::event::Position;
    use crate::shard::slot::Kind;
    use crate::wire::Wire;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    const CAPACITY: usize = 6;
    const TOPICS: [&str; 3] = ["news", "orders/1", "orders/2"];

    #[derive(Clone, Debug)]
    enum Step {
        /// With the topics whose bits are set.
        Insert(u8),
        /// Of those who are there, this one, counted round.
        Remove(usize),
        /// A key that may hold nobody.
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

    fn tenant(bits: u8) -> Tenant {
        Tenant {
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
            let mut table = Table::new(CAPACITY);
            let capacity = table.slots.capacity();
            // Who is there, with their topics; who was; the highest key ever.
            let mut present: Vec<(SlotRef, u8)> = Vec::new();
            let mut gone: Vec<SlotRef> = Vec::new();
            let mut end = 0;
            for step in steps {
                match step {
                    Step::Insert(bits) => {
                        let vacancy = table.vacancy();
                        prop_assert_eq!(vacancy.is_some(), present.len() < capacity);
                        if let Some(vacancy) = vacancy {
                            prop_assert_eq!(table.insert(fd(), tenant(bits), Tick(0), 0), vacancy);
                            prop_assert!(!gone.contains(&vacancy));
                            present.push((vacancy, bits));
                            end = end.max(vacancy.key + 1);
                        }
                    }
                    Step::Remove(nth) if !present.is_empty() => {
                        let (tenant, _) = present.remove(nth % present.len());
                        let slot = table.remove(tenant.key);
                        prop_assert_eq!(slot.map(|slot| slot.generation), Some(tenant.generation));
                        gone.push(tenant);
                    }
                    Step::Remove(_) => {}
                    Step::RemoveKey(key) => {
                        let at = present.iter().position(|(tenant, _)| tenant.key == key);
                        prop_assert_eq!(table.remove(key).is_some(), at.is_some());
                        gone.extend(at.map(|at| present.remove(at).0));
                    }
                }
                prop_assert_eq!((table.len(), table.end()), (present.len(), end));
                for (tenant, _) in &present {
                    prop_assert_eq!(table.find(*tenant), Some(tenant.key));
                    prop_assert_eq!(SlotRef::from_token(tenant.token()), *tenant);
                }
                for tenant in &gone {
                    prop_assert_eq!(table.find(*tenant), None);
                }
                for (tenant, bits) in &present {
                    let slot = table.get(tenant.key).unwrap();
                    prop_assert!(table.topics(slot).eq(&topics(*bits)));
                }
                for (n, name) in TOPICS.iter().enumerate() {
                    let topic = Topic::parse(name).unwrap();
                    let subscribers: Vec<SlotRef> = table.subscribers(&topic).collect();
                    let found: BTreeSet<u64> = subscribers.iter().map(|one| one.token()).collect();
                    let asked = present.iter().filter(|(_, bits)| bits >> n & 1 == 1);
                    let expected: BTreeSet<u64> = asked.map(|(tenant, _)| tenant.token()).collect();
                    prop_assert_eq!((subscribers.len(), found), (expected.len(), expected));
                }
                // A topic that nobody asks for costs nothing.
                let asked = present.iter().fold(0, |all, (_, bits)| all | bits);
                prop_assert_eq!(table.audiences.len(), asked.count_ones() as usize);
            }
        }
    }

    #[test]
    fn generations_come_round_after_the_last() {
        let mut table = Table::new(2);
        table.next_generation = u32::MAX;
        let last = table.insert(fd(), tenant(0), Tick(0), 0);
        let first = table.insert(fd(), tenant(0), Tick(0), 0);
        assert_eq!((last.generation, first.generation), (u32::MAX, 0));
        assert_eq!(SlotRef::from_token(last.token()), last);
        table.remove(last.key);
        let again = table.insert(fd(), tenant(0), Tick(0), 0);
        assert_eq!((again.key, again.generation), (last.key, 1));
        assert_eq!(table.find(last), None);
    }
}
