//! Values by number, in chunks that never move.
//!
//! A `Slab` in one piece doubles when it is full. Many of them that grow together, as the directory's do, then take
//! up to twice what they need, and each leaves its former piece behind in a page of the allocator that others still
//! use. Chunks cost a pointer each, and a value costs one more step to reach.

#![allow(clippy::indexing_slicing)] // numbers come from `insert`; those of others are checked first

use std::array;
use std::ops::{Index, IndexMut};

/// Values per chunk. With more, a table of few values wastes more of its last chunk; with fewer, each value has a
/// larger part of a pointer.
const CHUNK: usize = 4;

/// A place for a value. Values with a niche make it no larger than themselves.
#[derive(Debug)]
pub(crate) enum SlabPlace<T> {
    /// The number of the next free place.
    Free(u32),
    Taken(T),
}

/// Values by number. The numbers of removed values are used again, the last one first.
#[derive(Debug)]
pub(crate) struct ChunkedSlab<T> {
    chunks: Vec<Box<[SlabPlace<T>; CHUNK]>>,
    /// The number of the next value.
    next: u32,
    len: u32,
}

impl<T> Default for ChunkedSlab<T> {
    fn default() -> Self {
        Self {
            chunks: Vec::new(),
            next: 0,
            len: 0,
        }
    }
}

impl<T> ChunkedSlab<T> {
    /// The number of the next value.
    pub(crate) fn next_number(&self) -> usize {
        self.next as usize
    }

    /// Inserts a value, and returns its number.
    pub(crate) fn insert(&mut self, value: T) -> usize {
        let number = self.next as usize;
        if number == self.chunks.len() * CHUNK {
            self.grow();
        }
        let place = &mut self.chunks[number / CHUNK][number % CHUNK];
        if let SlabPlace::Free(next) = *place {
            self.next = next;
        }
        *place = SlabPlace::Taken(value);
        self.len += 1;
        number
    }

    /// Removes a value, if there is one with this number.
    pub(crate) fn remove(&mut self, number: usize) -> Option<T> {
        let place = self.chunks.get_mut(number / CHUNK)?;
        let place = &mut place[number % CHUNK];
        if matches!(place, SlabPlace::Free(_)) {
            return None;
        }
        let SlabPlace::Taken(value) = std::mem::replace(place, SlabPlace::Free(self.next)) else {
            return None;
        };
        // It was the number of a value, so it is narrow.
        self.next = narrow(number);
        self.len -= 1;
        Some(value)
    }

    pub(crate) fn get(&self, number: usize) -> Option<&T> {
        match &self.chunks.get(number / CHUNK)?[number % CHUNK] {
            SlabPlace::Taken(value) => Some(value),
            SlabPlace::Free(_) => None,
        }
    }

    pub(crate) fn get_mut(&mut self, number: usize) -> Option<&mut T> {
        match &mut self.chunks.get_mut(number / CHUNK)?[number % CHUNK] {
            SlabPlace::Taken(value) => Some(value),
            SlabPlace::Free(_) => None,
        }
    }

    /// All values, in the order of their numbers.
    pub(crate) fn values(&self) -> impl Iterator<Item = &T> {
        let places = self.chunks.iter().flat_map(|chunk| chunk.iter());
        places.filter_map(|place| match place {
            SlabPlace::Taken(value) => Some(value),
            SlabPlace::Free(_) => None,
        })
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.len == 0
    }

    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.len as usize
    }

    #[cold]
    fn grow(&mut self) {
        let first = self.chunks.len() * CHUNK;
        if self.chunks.len() == self.chunks.capacity() {
            // The pointers of an eighth more chunks: they would otherwise double.
            self.chunks.reserve_exact(self.chunks.len() / 8 + 1);
        }
        self.chunks.push(Box::new(array::from_fn(|at| {
            SlabPlace::Free(narrow(first + at + 1))
        })));
    }
}

/// The value of a number that is in use.
impl<T> Index<usize> for ChunkedSlab<T> {
    type Output = T;

    #[inline]
    fn index(&self, number: usize) -> &T {
        match &self.chunks[number / CHUNK][number % CHUNK] {
            SlabPlace::Taken(value) => value,
            SlabPlace::Free(_) => unused(number),
        }
    }
}

impl<T> IndexMut<usize> for ChunkedSlab<T> {
    #[inline]
    fn index_mut(&mut self, number: usize) -> &mut T {
        match &mut self.chunks[number / CHUNK][number % CHUNK] {
            SlabPlace::Taken(value) => value,
            SlabPlace::Free(_) => unused(number),
        }
    }
}

#[cold]
fn unused(number: usize) -> ! {
    panic!("no value has the number {number}")
}

/// Memory runs out long before the numbers do.
fn narrow(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn it_agrees_with_a_map(steps in prop::collection::vec((any::<bool>(), 0..40_usize), 0..200)) {
            let mut slab = ChunkedSlab::default();
            let mut model: BTreeMap<usize, Box<usize>> = BTreeMap::new();
            for (at, (is_insert, number)) in steps.into_iter().enumerate() {
                if is_insert {
                    let next = slab.next_number();
                    prop_assert_eq!(slab.insert(Box::new(at)), next);
                    prop_assert!(model.insert(next, Box::new(at)).is_none());
                } else {
                    prop_assert_eq!(slab.remove(number), model.remove(&number));
                }
                prop_assert_eq!(slab.len(), model.len());
                prop_assert_eq!(slab.is_empty(), model.is_empty());
                prop_assert!(slab.values().eq(model.values()));
                for number in 0..250 {
                    prop_assert_eq!(slab.get(number), model.get(&number));
                    prop_assert_eq!(slab.get_mut(number), model.get_mut(&number));
                }
                // A number is used again before a chunk is added.
                prop_assert!(slab.chunks.len() * CHUNK >= slab.len());
            }
        }
    }

    #[test]
    fn a_value_with_a_niche_needs_no_tag() {
        assert_eq!(size_of::<SlabPlace<Box<u8>>>(), 16);
        assert_eq!(size_of::<SlabPlace<(u64, bool)>>(), 16);
    }

    #[test]
    fn freed_places_are_used_before_new_ones() {
        let mut slab = ChunkedSlab::default();
        for value in 0..2 * CHUNK {
            slab.insert(value);
        }
        slab.remove(3);
        slab.remove(CHUNK + 1);
        assert_eq!([slab.insert(30), slab.insert(50)], [CHUNK + 1, 3]);
        assert_eq!(slab.chunks.len(), 2);
        assert_eq!(slab.insert(0), 2 * CHUNK);
    }
}
