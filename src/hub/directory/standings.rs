//! The standings of a stripe's users, whether they are connected or not.
//!
//! Nothing points into this table, so it can shrink when users are forgotten. A table of connected users cannot.

use std::fmt::Display;

use hashbrown::HashTable;

use super::name::Name;
use super::standing::{Rules, Standing};
use crate::event::Position;

/// A table that uses less than `1 / SPARSE` of its capacity is shrunk to twice its use.
const SPARSE: usize = 4;

/// The standings of one stripe's users, by name.
#[derive(Debug, Default)]
pub(super) struct Standings {
    /// Boxed, so that each place reserved for growth costs one pointer.
    #[allow(clippy::vec_box)]
    users: Vec<Box<Remembered>>,
    /// Indices into `users`, found by the name's hash.
    index: HashTable<u32>,
}

/// One user's standing.
#[derive(Debug)]
pub(super) struct Remembered {
    name: Name,
    pub(super) standing: Standing,
    /// The position of the last change in the log.
    pub(super) settled: Position,
}

// With its pointer and its place in the index, about 97 bytes (docs/decisions.md).
const _: () = assert!(size_of::<Remembered>() == 80);

impl Standings {
    pub(super) fn find(&self, hash: u64, name: &str) -> Option<&Remembered> {
        if self.users.is_empty() {
            return None;
        }
        let place = self.place(hash, name)?;
        self.users.get(place).map(AsRef::as_ref)
    }

    /// Remembers a standing that took effect at `settled` in the log. A full table remembers nothing more: it
    /// holds four billion users.
    pub(super) fn remember(
        &mut self,
        hash: u64,
        name: &str,
        standing: Standing,
        settled: Position,
        hasher: &ahash::RandomState,
    ) {
        if let Some(place) = self.place(hash, name) {
            let user = &mut self.users[place];
            (user.standing, user.settled) = (standing, settled);
            return;
        }
        let Ok(place) = u32::try_from(self.users.len()) else {
            return;
        };
        let Self { users, index } = self;
        users.push(Box::new(Remembered {
            name: Name::new(name),
            standing,
            settled,
        }));
        index.insert_unique(hash, place, |place| {
            users[*place as usize].name.hash(hasher)
        });
    }

    /// Looks at up to `budget` users from `place` on, and forgets those whose standing is over. Returns where to
    /// continue, or `None` at the end.
    pub(super) fn fade(
        &mut self,
        mut place: usize,
        budget: usize,
        unix_ms: u64,
        rules: Rules,
        hasher: &ahash::RandomState,
    ) -> Option<usize> {
        let mut looked_at = 0;
        while looked_at < budget
            && let Some(user) = self.users.get_mut(place)
        {
            looked_at += 1;
            if user.standing.fade(unix_ms, rules) {
                place += 1;
            } else {
                self.remove(place, hasher);
            }
        }
        self.shrink(hasher);
        (place < self.users.len()).then_some(place)
    }

    /// Logs out up to `budget` users before the place `end`, as of `at_ms`. Returns the end of the rest. It goes
    /// backwards, because a user that is forgotten meanwhile is replaced by the last one.
    pub(super) fn log_out(&mut self, end: usize, budget: usize, at_ms: u64, rules: Rules) -> usize {
        let end = end.min(self.users.len());
        let from = end.saturating_sub(budget);
        for user in &mut self.users[from..end] {
            user.standing.log_out(at_ms, rules);
        }
        from
    }

    /// Calls `each` for every user.
    pub(super) fn each(&self, each: &mut impl FnMut(&dyn Display, &Standing)) {
        for user in &self.users {
            each(&user.name, &user.standing);
        }
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.users.len()
    }

    fn place(&self, hash: u64, name: &str) -> Option<usize> {
        self.index
            .find(hash, |place| self.users[*place as usize].name.is(name))
            .map(|place| *place as usize)
    }

    fn remove(&mut self, place: usize, hasher: &ahash::RandomState) {
        let removed = self.users.swap_remove(place);
        let hash = removed.name.hash(hasher);
        if let Ok(entry) = self
            .index
            .find_entry(hash, |candidate| *candidate as usize == place)
        {
            entry.remove();
        }
        // The last user has moved into the free place.
        if let Some(moved) = self.users.get(place) {
            let (hash, from) = (moved.name.hash(hasher), self.users.len());
            let number = self
                .index
                .find_mut(hash, |candidate| *candidate as usize == from);
            if let (Some(number), Ok(place)) = (number, u32::try_from(place)) {
                *number = place;
            }
        }
    }

    fn shrink(&mut self, hasher: &ahash::RandomState) {
        let Self { users, index } = self;
        if users.is_empty() {
            *self = Self::default();
        } else if users.len() < users.capacity() / SPARSE {
            users.shrink_to(users.len() * 2);
            index.shrink_to(users.len() * 2, |place| {
                users[*place as usize].name.hash(hasher)
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{SessionChange, UserId};
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    const RULES: Rules = Rules {
        leeway_ms: 0,
        max_token_life_ms: 1_000,
    };

    fn logged_out(user: &str, at_unix_ms: u64) -> Standing {
        let change = SessionChange {
            user: UserId::new(user).unwrap(),
            keep: None,
            at_unix_ms,
        };
        Standing::after(&change, 0, None, RULES)
    }

    proptest! {
        #[test]
        fn only_standings_that_are_over_are_forgotten_and_all_others_are_found(
            log_outs in prop::collection::vec((0..40_u8, 1..3_000_u64), 0..200),
            sweeps in prop::collection::vec((0..5_000_u64, 1..20_usize), 0..20),
        ) {
            let hasher = ahash::RandomState::with_seeds(1, 2, 3, 4);
            let mut standings = Standings::default();
            let mut model: BTreeMap<String, u64> = BTreeMap::new();
            for (user, at_ms) in log_outs {
                let name = user.to_string();
                let (hash, standing) = (hasher.hash_one(name.as_str()), logged_out(&name, at_ms));
                standings.remember(hash, &name, standing, Position(at_ms), &hasher);
                model.insert(name, at_ms);
            }
            for (unix_ms, budget) in sweeps {
                let mut place = Some(0);
                while let Some(from) = place {
                    place = standings.fade(from, budget, unix_ms, RULES, &hasher);
                }
                model.retain(|_, at_ms| *at_ms + 2_000 >= unix_ms);
                for user in 0..40_u8 {
                    let name = user.to_string();
                    let found = standings.find(hasher.hash_one(name.as_str()), &name);
                    let found = found.map(|remembered| remembered.settled.0);
                    prop_assert_eq!(found, model.get(&name).copied());
                }
                prop_assert_eq!(standings.len(), model.len());
                prop_assert_eq!(standings.index.len(), model.len());
            }
        }
    }
}
