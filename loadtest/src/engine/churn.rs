//! Chooses the clients that leave, at a given rate.

use std::time::Duration;

use slab::Slab;

use super::conn::{Conn, Phase};
use super::connect::Pace;

/// Slots that are checked for a stream before this pass gives up.
const MAX_LOOKS: usize = 64;

/// Walks round the slab, so that no client is skipped and most have stayed for a whole round.
#[derive(Debug, Default)]
pub(super) struct Departures {
    pace: Option<Pace>,
    cursor: usize,
}

impl Departures {
    /// One departure per `interval`; called about once per `turn`. Zero stops departures.
    pub(super) fn new(interval: Duration, turn: Duration) -> Self {
        Self {
            pace: (!interval.is_zero()).then(|| Pace::new(interval, turn)),
            cursor: 0,
        }
    }

    pub(super) fn is_on(&self) -> bool {
        self.pace.is_some()
    }

    /// The key of the client that leaves now, if one is due.
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
