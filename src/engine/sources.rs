//! The publishers' own ids of the last ten minutes, so that a retry publishes nothing.
//!
//! An id belongs to its target: the same id for another user is another event. An entry holds a digest of
//! both, so its size does not depend on their length.

use std::collections::VecDeque;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hashbrown::HashTable;
use sha2::{Digest as _, Sha256};

use crate::event::{Draft, EventId, Target};

/// How long a publisher's own id is remembered, as docs/publishing.md promises: ten minutes.
pub(super) const SOURCE_ID_MS: u64 = 10 * 60 * 1_000;
/// Highest number of ids that are remembered: 13 MiB. Beyond it, the oldest are forgotten early.
const MAX_SOURCE_IDS: usize = 262_144;
/// Highest number of ids that one lookup forgets: a tenth of a millisecond of work.
const MAX_FORGOTTEN: usize = 1_024;
/// The table shrinks if less than one in so many of its places is used.
const SPARSE: usize = 4;

/// A digest of a target and a publisher's own id. It is the same after a restart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct SourceKey([u8; 16]);

impl SourceKey {
    /// The key of a draft; `None` if the publisher gave it no id.
    pub(super) fn of(draft: &Draft) -> Option<Self> {
        let source_id = draft.source_id.as_deref()?;
        Some(Self::new(&draft.to, source_id))
    }

    fn new(to: &Target, source_id: &str) -> Self {
        let mut hash = Sha256::new();
        // Each text with its length, so that different lists of texts never give the same bytes.
        let mut add = |text: &str| {
            hash.update((text.len() as u64).to_le_bytes());
            hash.update(text);
        };
        add(source_id);
        match to {
            Target::User(user) => {
                add("user");
                add(user.as_str());
            }
            // A sorted set: each user once.
            Target::Users(users) => {
                add("users");
                users.as_slice().iter().for_each(|user| add(user.as_str()));
            }
            Target::Topic(topic) => {
                add("topic");
                add(topic.as_str());
            }
            Target::All => add("all"),
        }
        let mut key = [0; 16];
        key.copy_from_slice(&hash.finalize()[..16]);
        Self(key)
    }

    /// The key as it is stored.
    pub(super) fn to_text(self) -> String {
        URL_SAFE_NO_PAD.encode(self.0)
    }

    /// Reads a stored key. `None` for an id without its target, as an earlier version stored it.
    pub(super) fn from_text(text: &str) -> Option<Self> {
        let bytes = URL_SAFE_NO_PAD.decode(text).ok()?;
        Some(Self(bytes.try_into().ok()?))
    }
}

/// The ids that publishers have used, bounded by age and bytes.
#[derive(Debug, Default)]
pub(super) struct Sources {
    /// The oldest first.
    by_age: VecDeque<Source>,
    /// Numbers of sources, found by the key's hash.
    index: HashTable<u32>,
    /// The number of the oldest source. Numbers wrap around.
    first: u32,
    hasher: ahash::RandomState,
}

#[derive(Debug)]
struct Source {
    key: SourceKey,
    /// The id of its event.
    id: EventId,
    /// When it is forgotten.
    expires_ms: u64,
}

const _: () = assert!(size_of::<Source>() == 40);

impl Sources {
    /// The id of the event that was published under this key, if the key is remembered.
    pub(super) fn find(&mut self, key: SourceKey, now_ms: u64) -> Option<EventId> {
        self.forget(now_ms);
        let number = self.index.find(self.hash(key), |number| {
            self.source(*number).is_some_and(|source| source.key == key)
        })?;
        let source = self.source(*number)?;
        (now_ms <= source.expires_ms).then_some(source.id)
    }

    /// Remembers a key that [`Sources::find`] did not find.
    pub(super) fn remember(&mut self, key: SourceKey, id: EventId, expires_ms: u64) {
        if self.by_age.len() >= MAX_SOURCE_IDS {
            self.forget_oldest();
        }
        let hash = self.hash(key);
        let Self {
            by_age,
            index,
            first,
            hasher,
        } = self;
        let place = |number: u32| number.wrapping_sub(*first) as usize;
        // There are fewer than MAX_SOURCE_IDS.
        let number = first.wrapping_add(u32::try_from(by_age.len()).unwrap_or(u32::MAX));
        match index.find_mut(hash, |other| {
            by_age
                .get(place(*other))
                .is_some_and(|other| other.key == key)
        }) {
            // The other one has expired, but is not forgotten yet.
            Some(other) => *other = number,
            None => {
                index.insert_unique(hash, number, |other| {
                    by_age
                        .get(place(*other))
                        .map_or(hash, |other| hasher.hash_one(other.key.0))
                });
            }
        }
        by_age.push_back(Source {
            key,
            id,
            expires_ms,
        });
    }

    /// All keys that are remembered at `now_ms`, the oldest first, with the time until they are forgotten.
    pub(super) fn remembered(
        &self,
        now_ms: u64,
    ) -> impl Iterator<Item = (SourceKey, EventId, u64)> {
        let sources = self.by_age.iter();
        sources
            .filter(move |source| source.expires_ms >= now_ms)
            .map(move |source| (source.key, source.id, source.expires_ms - now_ms))
    }

    /// The key of an event, if it had one.
    pub(super) fn key_of(&self, id: EventId) -> Option<SourceKey> {
        let index = self.by_age.binary_search_by_key(&id, |source| source.id);
        let source = self.by_age.get(index.ok()?)?;
        Some(source.key)
    }

    /// Forgets the newest keys, because their events were not stored.
    pub(super) fn undo(&mut self, count: usize) {
        for _ in 0..count {
            if let Some(source) = self.by_age.pop_back() {
                let place = u32::try_from(self.by_age.len()).unwrap_or(u32::MAX);
                self.unlink(source.key, self.first.wrapping_add(place));
            }
        }
    }

    /// Age of the oldest key, in milliseconds; 0 if there is none.
    pub(super) fn oldest_ms(&self, now_ms: u64) -> u64 {
        self.by_age.front().map_or(0, |source| {
            (now_ms + SOURCE_ID_MS).saturating_sub(source.expires_ms)
        })
    }

    fn forget(&mut self, now_ms: u64) {
        for _ in 0..MAX_FORGOTTEN {
            match self.by_age.front() {
                Some(oldest) if oldest.expires_ms < now_ms => self.forget_oldest(),
                _ => break,
            }
        }
        let used = self.by_age.len();
        if used < self.by_age.capacity() / SPARSE {
            self.by_age.shrink_to(used * 2);
            let (by_age, first, hasher) = (&self.by_age, self.first, &self.hasher);
            self.index.shrink_to(used * 2, |number| {
                let source = by_age.get(number.wrapping_sub(first) as usize);
                source.map_or(0, |source| hasher.hash_one(source.key.0))
            });
        }
    }

    fn forget_oldest(&mut self) {
        if let Some(source) = self.by_age.pop_front() {
            self.unlink(source.key, self.first);
            self.first = self.first.wrapping_add(1);
        }
    }

    /// Removes a number from the index, if it still stands for the key.
    fn unlink(&mut self, key: SourceKey, number: u32) {
        let hash = self.hash(key);
        if let Ok(entry) = self.index.find_entry(hash, |other| *other == number) {
            entry.remove();
        }
    }

    fn source(&self, number: u32) -> Option<&Source> {
        self.by_age.get(number.wrapping_sub(self.first) as usize)
    }

    fn hash(&self, key: SourceKey) -> u64 {
        self.hasher.hash_one(key.0)
    }

    #[cfg(test)]
    fn heap_bytes(&self) -> usize {
        self.by_age.capacity() * size_of::<Source>() + self.index.allocation_size()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{UserId, Users};
    use crate::topic::Topic;
    use proptest::prelude::*;
    use std::collections::HashMap;

    fn id(ms: u64) -> EventId {
        EventId { ms, seq: 0 }
    }

    fn users(names: &[&str]) -> Target {
        Target::Users(Users::new(
            names
                .iter()
                .map(|name| UserId::new(name).unwrap())
                .collect(),
        ))
    }

    #[test]
    fn a_key_is_the_target_and_the_id() {
        let user = |name| Target::User(UserId::new(name).unwrap());
        let topic = |name| Target::Topic(Topic::parse(name).unwrap());
        let targets = [
            Target::All,
            user("1"),
            user("2"),
            topic("1"),
            users(&["1"]),
            users(&["12", "3"]),
            users(&["1", "23"]),
            users(&[]),
        ];
        let keys: Vec<SourceKey> = targets
            .iter()
            .flat_map(|to| ["a", "b", "auser"].map(|id| SourceKey::new(to, id)))
            .collect();
        for (n, key) in keys.iter().enumerate() {
            assert!(!keys[..n].contains(key), "{n}");
            assert_eq!(SourceKey::from_text(&key.to_text()), Some(*key));
        }
        // Lists of users are compared as sets.
        assert_eq!(
            SourceKey::new(&users(&["2", "1", "2"]), "a"),
            SourceKey::new(&users(&["1", "2"]), "a")
        );
        // The stored form is the same in every version.
        assert_eq!(
            SourceKey::new(&user("42"), "order-1").to_text(),
            "_-yvJVzXYbjbsuXeAoRYPQ"
        );
        assert_eq!(SourceKey::from_text("order-1"), None);
    }

    #[test]
    fn ids_cost_the_same_bytes_however_long_they_are() {
        let mut sources = Sources::default();
        for n in 0..MAX_SOURCE_IDS + 1_000 {
            let key = SourceKey::new(&Target::All, &format!("{n:0256}"));
            assert_eq!(sources.find(key, 0), None);
            sources.remember(key, id(1), 1_000);
        }
        assert_eq!(sources.by_age.len(), MAX_SOURCE_IDS);
        assert!(sources.heap_bytes() <= 13 << 20, "{}", sources.heap_bytes());
        // The memory of a burst is freed.
        let key = SourceKey::new(&Target::All, "a");
        for _ in 0..=MAX_SOURCE_IDS / MAX_FORGOTTEN {
            assert_eq!(sources.find(key, 1_001), None);
        }
        assert!(sources.heap_bytes() < 1_024, "{}", sources.heap_bytes());
    }

    #[derive(Clone, Debug)]
    enum Step {
        Publish { id: u8 },
        Undo { count: usize },
        Wait { ms: u64 },
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            5 => (0..20_u8).prop_map(|id| Step::Publish { id }),
            1 => (0..4_usize).prop_map(|count| Step::Undo { count }),
            2 => (0..30_u64).prop_map(|ms| Step::Wait { ms }),
        ]
    }

    proptest! {
        #[test]
        fn a_key_is_remembered_for_its_time(
            steps in prop::collection::vec(step(), 1..200),
            first: u32,
        ) {
            let mut sources = Sources { first, ..Sources::default() };
            let mut model: HashMap<u8, (EventId, u64)> = HashMap::new();
            // Keys that were remembered since the last step of another kind, and can be undone.
            let mut group: Vec<u8> = Vec::new();
            let mut now_ms = 0;
            for (n, step) in steps.into_iter().enumerate() {
                match step {
                    Step::Publish { id: number } => {
                        let key = SourceKey::new(&Target::All, &number.to_string());
                        let known = model.get(&number).filter(|(_, until)| now_ms <= *until);
                        prop_assert_eq!(sources.find(key, now_ms), known.map(|(id, _)| *id));
                        if known.is_none() {
                            let new = id(n as u64);
                            sources.remember(key, new, now_ms + 50);
                            model.insert(number, (new, now_ms + 50));
                            group.push(number);
                        }
                    }
                    Step::Undo { count } => {
                        let count = count.min(group.len());
                        sources.undo(count);
                        for number in group.drain(group.len() - count..) {
                            model.remove(&number);
                        }
                        group.clear();
                    }
                    Step::Wait { ms } => {
                        now_ms += ms;
                        group.clear();
                    }
                }
                prop_assert!(sources.index.len() <= sources.by_age.len());
            }
        }
    }
}
