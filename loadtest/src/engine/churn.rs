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
        let key = (0..MAX_LOOKS).find_map(|_| {
            let key = self.cursor;
            self.cursor = (key + 1) % conns.capacity().max(1);
            let conn = conns.get(key)?;
            (conn.phase == Phase::Open).then_some(key)
        })?;
        pace.may_open().then_some(key)
    }
}
