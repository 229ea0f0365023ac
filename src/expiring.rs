//! A map whose entries expire, and which finds the next one to expire. It has no limit of its own;
//! callers use [`Expiring::make_room`].
//!
//! It uses B-trees instead of hash tables: they free memory as they shrink, and never pause for a
//! rehash. Every operation costs O(log n).

use std::collections::BTreeMap;

/// Values by key, and keys by expiry.
#[derive(Debug)]
pub(crate) struct Expiring<K, V> {
    entries: BTreeMap<K, ExpiringEntry<V>>,
    by_expiry: BTreeMap<Expiry, K>,
    inserted: u64,
}

/// The order of expiry: by time, then by order of insertion.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Expiry {
    pub(crate) at_ms: u64,
    number: u64,
}

impl Expiry {
    /// Before all others.
    pub(crate) const FIRST: Self = Self {
        at_ms: 0,
        number: 0,
    };
    /// After all others.
    pub(crate) const LAST: Self = Self {
        at_ms: u64::MAX,
        number: u64::MAX,
    };
}

/// A value and its expiry.
#[derive(Debug)]
pub(crate) struct ExpiringEntry<V> {
    pub(crate) expiry: Expiry,
    pub(crate) value: V,
}

impl<K, V> Default for Expiring<K, V> {
    fn default() -> Self {
        Self {
            entries: BTreeMap::new(),
            by_expiry: BTreeMap::new(),
            inserted: 0,
        }
    }
}

impl<K: Ord + Copy, V> Expiring<K, V> {
    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    /// All entries, even those that have expired.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (K, &ExpiringEntry<V>)> {
        self.entries.iter().map(|(key, entry)| (*key, entry))
    }

    /// The entry of a key, even if it has expired.
    pub(crate) fn get(&self, key: K) -> Option<&ExpiringEntry<V>> {
        self.entries.get(&key)
    }

    /// The value of a key, even if it has expired.
    pub(crate) fn get_mut(&mut self, key: K) -> Option<&mut V> {
        Some(&mut self.entries.get_mut(&key)?.value)
    }

    /// The next key to expire, and when.
    pub(crate) fn first(&self) -> Option<(u64, K)> {
        let (expiry, key) = self.by_expiry.first_key_value()?;
        Some((expiry.at_ms, *key))
    }

    /// The next key to expire, if it has expired by `now_ms`.
    pub(crate) fn expired(&self, now_ms: u64) -> Option<K> {
        let (expires_ms, key) = self.first()?;
        (expires_ms <= now_ms).then_some(key)
    }

    /// Inserts a value, replacing that of the same key.
    pub(crate) fn insert(&mut self, key: K, value: V, expires_ms: u64) -> Expiry {
        self.remove(key);
        let expiry = Expiry {
            at_ms: expires_ms,
            number: self.inserted,
        };
        self.inserted += 1;
        self.by_expiry.insert(expiry, key);
        self.entries.insert(key, ExpiringEntry { expiry, value });
        debug_assert_eq!(self.entries.len(), self.by_expiry.len());
        expiry
    }

    pub(crate) fn remove(&mut self, key: K) -> Option<ExpiringEntry<V>> {
        let entry = self.entries.remove(&key)?;
        self.by_expiry.remove(&entry.expiry);
        Some(entry)
    }

    /// Removes all entries that have expired by `now_ms`, then the next to expire until `most` are left.
    pub(crate) fn make_room(&mut self, most: usize, now_ms: u64) {
        while let Some((expires_ms, key)) = self.first()
            && (expires_ms <= now_ms || self.len() > most)
        {
            self.remove(key);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[derive(Clone, Debug)]
    enum Step {
        Insert { key: u8, expires_ms: u64 },
        Remove { key: u8 },
        MakeRoom { most: usize, now_ms: u64 },
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            4 => (0..20_u8, 0..50_u64).prop_map(|(key, expires_ms)| Step::Insert { key, expires_ms }),
            2 => (0..20_u8).prop_map(|key| Step::Remove { key }),
            1 => (0..20_usize, 0..50_u64).prop_map(|(most, now_ms)| Step::MakeRoom { most, now_ms }),
        ]
    }

    proptest! {
        #[test]
        fn it_agrees_with_a_list_in_order_of_expiry(steps in prop::collection::vec(step(), 0..100)) {
            let mut map = Expiring::default();
            // Expiry, key and value.
            let mut model: Vec<(u64, u8, usize)> = Vec::new();
            for (value, step) in steps.into_iter().enumerate() {
                match step {
                    Step::Insert { key, expires_ms } => {
                        map.insert(key, value, expires_ms);
                        model.retain(|(_, other, _)| *other != key);
                        model.push((expires_ms, key, value));
                        // A stable sort: of two that expire together, the one inserted first is first.
                        model.sort_by_key(|(expires_ms, ..)| *expires_ms);
                    }
                    Step::Remove { key } => {
                        let removed = map.remove(key).map(|entry| entry.value);
                        let place = model.iter().position(|(_, other, _)| *other == key);
                        prop_assert_eq!(removed, place.map(|place| model.remove(place).2));
                    }
                    Step::MakeRoom { most, now_ms } => {
                        map.make_room(most, now_ms);
                        model.retain(|(expires_ms, ..)| *expires_ms > now_ms);
                        model.drain(..model.len().saturating_sub(most));
                    }
                }
                prop_assert_eq!(map.len(), model.len());
                prop_assert_eq!(map.first(), model.first().map(|(expires_ms, key, _)| (*expires_ms, *key)));
                for (expires_ms, key, value) in &model {
                    let entry = map.get(*key).unwrap();
                    prop_assert_eq!((entry.expiry.at_ms, entry.value), (*expires_ms, *value));
                }
            }
        }
    }
}
