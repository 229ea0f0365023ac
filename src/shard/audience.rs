//! The subscribers of each topic: one *audience* per topic that has any.
//!
//! A client without topics costs nothing here. A (client, topic) pair costs the client 8 bytes
//! (the audience, and the client's place in it) and the audience 4 to 8: its list of slot keys,
//! which is at most twice as long as its members. Each shard keeps a topic's name once, some
//! hundred bytes, however many subscribers it has.

#![allow(clippy::indexing_slicing)] // numbers and places are handed out here

use crate::interner::Interner;
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
    all: Interner<Audience>,
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
        let members = &mut self.all[number].members;
        if members.len() == members.capacity() {
            members.reserve_exact(members.len().div_ceil(2).max(1));
        }
        members.push(key);
        Subscription {
            audience: truncate(number),
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
            .map_or(&[], |number| &self.all[number].members)
    }

    /// The topic of a pair.
    pub(crate) fn topic(&self, subscription: Subscription) -> Option<&Topic> {
        let audience = self.all.get(subscription.audience as usize)?;
        Some(&audience.topic)
    }

    /// Topics that have subscribers.
    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.all.len()
    }

    fn number(&self, topic: &Topic) -> Option<usize> {
        let hash = self.hasher.hash_one(topic);
        self.all.find(hash, |audience| audience.topic == *topic)
    }

    fn open(&mut self, topic: &Topic) -> usize {
        let audience = Audience {
            topic: topic.clone(),
            members: Vec::new(),
        };
        let hasher = &self.hasher;
        self.all
            .insert(hasher.hash_one(topic), audience, |audience| {
                hasher.hash_one(&audience.topic)
            })
    }

    fn close(&mut self, number: u32) {
        let number = number as usize;
        let hash = self.hasher.hash_one(&self.all[number].topic);
        self.all.remove(number, hash);
    }
}

/// Fewer than the slots of a table, each with at most 32 topics: below 2^31 · 2^5 only by name;
/// a machine's memory ends long before.
fn truncate(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}
