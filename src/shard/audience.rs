//! The subscribers of topics: one *audience* for each topic that has subscribers.
//!
//! A client without topics costs nothing here. A (client, topic) pair costs the client 8 bytes: the
//! audience's number, and the client's place in it. It costs the audience 4 to 8 bytes in its list of slot
//! keys, whose capacity is at most twice its length. Each shard stores a topic's name once, about a hundred
//! bytes, regardless of the number of subscribers.

#![allow(clippy::indexing_slicing)] // this module issues the numbers and places

use crate::interner::Interner;
use crate::topic::Topic;

/// A (client, topic) pair, as the client stores it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Subscription {
    audience: u32,
    /// The client's index in the audience.
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
    /// Updates the place, if this is the pair that has moved.
    pub(crate) fn follow(&mut self, moved: Moved) {
        if *self == moved.from {
            self.place = moved.to;
        }
    }
}

impl Audiences {
    /// Adds a client to a topic's audience. The client must not be in it already.
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

    /// Removes a client from an audience. Returns the client whose place has changed, if any.
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

    /// The number of topics that have subscribers.
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

/// Narrows a number of an audience, or a place in one. A shard has at most 2^23 slots with 32 topics each,
/// so both fit.
fn truncate(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}
