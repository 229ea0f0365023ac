//! A slab of values with an index by name. A value keeps its number, so others can store the number.
//! The name is stored only in the value.

#![allow(clippy::indexing_slicing)] // the index holds numbers of values that are there

use std::ops::{Index, IndexMut};

use hashbrown::HashTable;

use crate::chunked_slab::ChunkedSlab;

/// Values by number, and numbers by the hash of the name. Callers compute hashes, so that many interners
/// can share a hasher.
#[derive(Debug)]
pub(crate) struct Interner<T> {
    values: ChunkedSlab<T>,
    numbers: HashTable<u32>,
}

impl<T> Default for Interner<T> {
    fn default() -> Self {
        Self {
            values: ChunkedSlab::default(),
            numbers: HashTable::new(),
        }
    }
}

impl<T> Interner<T> {
    /// The number of the value whose name matches, according to `is`.
    pub(crate) fn find(&self, hash: u64, is: impl Fn(&T) -> bool) -> Option<usize> {
        self.numbers
            .find(hash, |number| is(&self.values[*number as usize]))
            .map(|number| *number as usize)
    }

    /// The number of the next value.
    pub(crate) fn next_number(&self) -> usize {
        self.values.next_number()
    }

    /// Inserts a value whose name is not present. `hash_of` computes the hash of any value's name.
    pub(crate) fn insert(&mut self, hash: u64, value: T, hash_of: impl Fn(&T) -> u64) -> usize {
        let number = self.values.insert(value);
        // Memory runs out long before the numbers do.
        let narrow = u32::try_from(number).unwrap_or(u32::MAX);
        let values = &self.values;
        self.numbers
            .insert_unique(hash, narrow, |number| hash_of(&values[*number as usize]));
        number
    }

    /// Removes a value; `hash` is that of its name.
    pub(crate) fn remove(&mut self, number: usize, hash: u64) {
        let is_this = |other: &u32| *other as usize == number;
        if let Ok(entry) = self.numbers.find_entry(hash, is_this) {
            entry.remove();
        }
        self.values.remove(number);
        if self.values.is_empty() {
            // Frees the memory that a burst used.
            *self = Self::default();
        }
    }

    pub(crate) fn get(&self, number: usize) -> Option<&T> {
        self.values.get(number)
    }

    pub(crate) fn get_mut(&mut self, number: usize) -> Option<&mut T> {
        self.values.get_mut(number)
    }

    /// All values.
    pub(crate) fn values(&self) -> impl Iterator<Item = &T> {
        self.values.values()
    }

    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.values.len()
    }
}

impl<T> Index<usize> for Interner<T> {
    type Output = T;

    fn index(&self, number: usize) -> &T {
        &self.values[number]
    }
}

impl<T> IndexMut<usize> for Interner<T> {
    fn index_mut(&mut self, number: usize) -> &mut T {
        &mut self.values[number]
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    /// Each of 20 names shares its hash with one or two others.
    fn hash(name: u8) -> u64 {
        u64::from(name % 8)
    }

    proptest! {
        #[test]
        fn each_name_keeps_its_number_until_it_is_removed(steps in prop::collection::vec((any::<bool>(), 0..20_u8), 0..200)) {
            let mut interner = Interner::default();
            let mut model: BTreeMap<u8, usize> = BTreeMap::new();
            for (is_insert, name) in steps {
                let known = model.get(&name).copied();
                match (is_insert, known) {
                    (true, None) => {
                        let next = interner.next_number();
                        let number = interner.insert(hash(name), name, |name| hash(*name));
                        prop_assert_eq!(number, next);
                        model.insert(name, number);
                    }
                    (false, Some(number)) => {
                        interner.remove(number, hash(name));
                        model.remove(&name);
                    }
                    _ => {}
                }
                prop_assert_eq!(interner.len(), model.len());
                prop_assert_eq!(interner.numbers.len(), model.len());
                for name in 0..20 {
                    let found = interner.find(hash(name), |other| *other == name);
                    prop_assert_eq!(found, model.get(&name).copied());
                }
                for (name, number) in &model {
                    prop_assert_eq!(interner.get(*number), Some(name));
                }
            }
        }
    }
}
