//! The connection table: slots by key, reserved once, and who asked for which topic.

use std::os::fd::OwnedFd;

use hashbrown::{HashMap, HashSet};
use slab::Slab;

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

/// See the module's text.
#[derive(Debug)]
pub(crate) struct Table {
    slots: Slab<Slot>,
    next_generation: u32,
    /// One above the highest key ever used: where a walk over everybody ends.
    end: u32,
    topics: HashMap<Topic, HashSet<u32, ahash::RandomState>, ahash::RandomState>,
}

impl Table {
    /// A table with address space for `capacity` slots. Pages are touched as slots are used, and
    /// no growth ever copies them.
    pub(crate) fn new(capacity: usize) -> Self {
        Self {
            slots: Slab::with_capacity(capacity.min(MAX_KEYS)),
            next_generation: 0,
            end: 0,
            topics: HashMap::default(),
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
        let slot = Slot::new(fd, generation, tenant, now, unix_s);
        let topics = slot.extra.as_ref().map(|extra| extra.topics.clone());
        let key = u32::try_from(self.slots.insert(slot)).unwrap_or(u32::MAX);
        self.end = self.end.max(key + 1);
        for topic in topics.into_iter().flatten() {
            self.topics.entry(topic).or_default().insert(key);
        }
        SlotRef { key, generation }
    }

    /// Takes a tenant out. Its timer has to be disarmed before.
    pub(crate) fn remove(&mut self, key: u32) -> Option<Slot> {
        let slot = self.slots.try_remove(key as usize)?;
        for topic in slot.extra.iter().flat_map(|extra| &extra.topics) {
            if let Some(keys) = self.topics.get_mut(topic) {
                keys.remove(&key);
                if keys.is_empty() {
                    self.topics.remove(topic);
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
    pub(crate) fn subscribers(&self, topic: &Topic) -> Vec<u32> {
        self.topics
            .get(topic)
            .map(|keys| keys.iter().copied().collect())
            .unwrap_or_default()
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
