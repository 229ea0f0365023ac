//! Who asked for which topic: an *audience* a topic, while somebody listens to it.
//!
//! A client without topics costs nothing here. A (client, topic) pair costs the client 8 bytes
//! (the audience, and the client's place in it) and the audience 4 to 8: its list of slot keys,
//! which is at most twice as long as its members. A topic is kept by name once a shard, some
//! hundred bytes, however many listen to it.

#![allow(clippy::indexing_slicing)] // numbers and places are handed out here

use hashbrown::HashTable;
use slab::Slab;

use crate::topic::Topic;

/// A client's part of the pair.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Subscription {
    audience: u32,
    /// Where the client stands in the audience.
    place: u32,
}

const _: () = assert!(size_of::<Subscription>() == 8);

/// A client whose place in an audience has changed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Moved {
    /// Its slot.
    pub(crate) key: u32,
    from: Subscription,
    to: u32,
}

/// The audiences of one shard.
#[derive(Debug, Default)]
pub(crate) struct Audiences {
    all: Slab<Audience>,
    /// Numbers of audiences, found by the topic's hash.
    index: HashTable<u32>,
    hasher: ahash::RandomState,
}

#[derive(Debug)]
struct Audience {
    topic: Topic,
    /// Slot keys.
    members: Vec<u32>,
}

impl Subscription {
    /// Notes a change of place, if it is this pair's.
    pub(crate) fn follow(&mut self, moved: Moved) {
        if *self == moved.from {
            self.place = moved.to;
        }
    }
}

impl Audiences {
    /// Puts a client into a topic's audience. It must not be in it.
    pub(crate) fn join(&mut self, topic: &Topic, key: u32) -> Subscription {
        let number = self.number(topic).unwrap_or_else(|| self.open(topic));
        let members = &mut self.all[number as usize].members;
        if members.len() == members.capacity() {
            members.reserve_exact(members.len().div_ceil(2).max(1));
        }
        members.push(key);
        Subscription {
            audience: number,
            place: truncate(members.len() - 1),
        }
    }

    /// Takes a client out of an audience; says whose place that has changed.
    pub(crate) fn leave(&mut self, subscription: Subscription) -> Option<Moved> {
        let Subscription { audience, place } = subscription;
        let members = &mut self.all[audience as usize].members;
        members.swap_remove(place as usize);
        if members.is_empty() {
            self.close(audience);
            return None;
        }
        if members.len() < members.capacity() / 2 {
            members.shrink_to(members.len() + members.len() / 4);
        }
        let key = *members.get(place as usize)?;
        Some(Moved {
            key,
            from: Subscription {
                audience,
                place: truncate(members.len()),
            },
            to: place,
        })
    }

    /// The slot keys of a topic's audience.
    pub(crate) fn of(&self, topic: &Topic) -> &[u32] {
        self.number(topic)
            .map_or(&[], |number| &self.all[number as usize].members)
    }

    /// The topic of a pair.
    pub(crate) fn topic(&self, subscription: Subscription) -> Option<&Topic> {
        let audience = self.all.get(subscription.audience as usize)?;
        Some(&audience.topic)
    }

    /// Topics that somebody listens to.
    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.all.len()
    }

    fn number(&self, topic: &Topic) -> Option<u32> {
        self.index
            .find(self.hasher.hash_one(topic), |number| {
                self.all[*number as usize].topic == *topic
            })
            .copied()
    }

    fn open(&mut self, topic: &Topic) -> u32 {
        let number = truncate(self.all.insert(Audience {
            topic: topic.clone(),
            members: Vec::new(),
        }));
        let (all, hasher) = (&self.all, &self.hasher);
        self.index
            .insert_unique(hasher.hash_one(topic), number, |number| {
                hasher.hash_one(&all[*number as usize].topic)
            });
        number
    }

    fn close(&mut self, number: u32) {
        let hash = self.hasher.hash_one(&self.all[number as usize].topic);
        if let Ok(entry) = self.index.find_entry(hash, |other| *other == number) {
            entry.remove();
        }
        self.all.remove(number as usize);
        if self.all.is_empty() {
            // What a burst of topics grew goes back.
            (self.all, self.index) = (Slab::new(), HashTable::new());
        }
    }
}

/// Fewer than the slots of a table, each with at most 32 topics: below 2^31 · 2^5 only by name;
/// a machine's memory ends long before.
fn truncate(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}
