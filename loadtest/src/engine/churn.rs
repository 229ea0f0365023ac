//! Departures at a rate: which client leaves next.

use std::time::Duration;

use slab::Slab;

use super::conn::{Conn, Phase};
use super::connect::Pace;

/// Slots looked at to find one that streams, before this turn is given up.
const MAX_LOOKS: usize = 64;

/// Round and round the slab, so that nobody is passed over and most have stayed a whole round.
#[derive(Debug, Default)]
pub(super) struct Churn {
    pace: Option<Pace>,
    cursor: usize,
}

impl Churn {
    /// One departure every `interval`, asked for about once a `turn`; zero stops them.
    pub(super) fn new(interval: Duration, turn: Duration) -> Self {
        Self {
            pace: (!interval.is_zero()).then(|| Pace::new(interval, turn)),
            cursor: 0,
        }
    }

    pub(super) fn is_on(&self) -> bool {
        self.pace.is_some()
    }

    /// The key of the client that leaves now, if it is time for one.
    pub(super) fn next(&mut self, conns: &Slab<Conn>) -> Option<usize> {
        let pace = self.pace.as_mut()?;
        let slots = conns.capacity().max(1);
        let streams = |key: &usize| {
            let conn = conns.get(*key);
            conn.is_some_and(|conn| conn.phase == Phase::Open)
        };
        let mut looked_at = (0..MAX_LOOKS).map(|step| (self.cursor + step) % slots);
        let found = looked_at.find(streams);
        let Some(key) = found else {
            self.cursor = (self.cursor + MAX_LOOKS) % slots;
            return None;
        };
        self.cursor = key;
        pace.may_open().then(|| {
            self.cursor = (key + 1) % slots;
            key
        })
    }
}
