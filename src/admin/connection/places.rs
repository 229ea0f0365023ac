//! The admin connections of all listeners: how many there may be, and which one makes room.
//!
//! A new connection is always let in, because it may be a health check. At the limit the one that
//! has been idle longest is closed for it. A connection is idle while the server waits for its
//! client, in the middle of a body, too; while the server works on a request it is not. If all are
//! busy, a few more are let in; past those, the one that is busy longest is closed.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;

use super::line::Line;
use crate::clock::Clock;
use crate::quiet::Quiet;

/// All open admin connections, up to the limit.
#[derive(Debug)]
pub(crate) struct Places {
    clock: Clock,
    max: usize,
    spare: usize,
    table: Mutex<Table>,
    /// Counts the moments at which any connection moved, and so puts them in order.
    moves: AtomicU64,
    evictions: Quiet,
}

#[derive(Debug, Default)]
struct Table {
    lines: HashMap<u64, Arc<Line>>,
    entered: u64,
}

/// A connection's place; given back when it is dropped.
#[derive(Debug)]
pub(crate) struct Place {
    places: Arc<Places>,
    number: u64,
    line: Arc<Line>,
}

impl Places {
    pub(crate) fn new(clock: Clock, max: usize, spare: usize) -> Self {
        Self {
            clock,
            max,
            spare,
            table: Mutex::default(),
            // Zero is before all of them.
            moves: AtomicU64::new(1),
            evictions: Quiet::new(Duration::from_secs(1)),
        }
    }

    /// A place for a new connection, and the one that was cut for it: its descriptor is free once
    /// it [is gone](Line::is_gone).
    pub(crate) fn enter(self: &Arc<Self>, peer: Option<SocketAddr>) -> (Place, Option<Arc<Line>>) {
        let now_ms = self.clock.now_ms();
        let line = Arc::new(Line::new(peer, self.next_move(), now_ms));
        let mut table = self.table.lock();
        let cut = self.make_room(&mut table);
        table.entered += 1;
        let number = table.entered;
        table.lines.insert(number, Arc::clone(&line));
        drop(table);
        if let Some(cut) = &cut {
            cut.cut();
            self.log(cut, now_ms);
        }
        let places = Arc::clone(self);
        let place = Place {
            places,
            number,
            line,
        };
        (place, cut)
    }

    fn make_room(&self, table: &mut Table) -> Option<Arc<Line>> {
        let held = table.lines.len();
        if held < self.max {
            return None;
        }
        let lines = table.lines.iter();
        let (number, line) = lines.min_by_key(|(number, line)| (line.rank(), **number))?;
        if line.is_busy() && held < self.max + self.spare {
            return None;
        }
        let number = *number;
        table.lines.remove(&number)
    }

    fn log(&self, cut: &Line, now_ms: u64) {
        if let Some(suppressed) = self.evictions.suppressed(now_ms) {
            tracing::warn!(
                admin_max_connections = self.max,
                peer = cut.peer().map(tracing::field::display),
                idle_ms = cut.idle_ms(now_ms),
                suppressed,
                "admin: the connection that was idle longest is closed for a new one"
            );
        }
    }

    fn next_move(&self) -> u64 {
        self.moves.fetch_add(1, Ordering::Relaxed)
    }
}

impl Place {
    pub(crate) fn line(&self) -> &Arc<Line> {
        &self.line
    }

    /// Notes that bytes came or went.
    pub(crate) fn moved(&self) {
        let places = &self.places;
        self.line.moved(places.next_move(), places.clock.now_ms());
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.places.table.lock().lines.remove(&self.number);
        self.line.left();
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn places(max: usize, spare: usize) -> Arc<Places> {
        Arc::new(Places::new(Clock::manual(0), max, spare))
    }

    fn is_held(place: &Place) -> bool {
        place.places.table.lock().lines.contains_key(&place.number)
    }

    #[test]
    fn the_one_that_has_been_idle_longest_makes_room() {
        let places = places(3, 1);
        let held: Vec<Place> = (0..3).map(|_| places.enter(None).0).collect();
        held[0].moved();
        let (new, cut) = places.enter(None);
        assert!(Arc::ptr_eq(&cut.unwrap(), held[1].line()));
        assert!(is_held(&held[0]) && !is_held(&held[1]) && is_held(&held[2]) && is_held(&new));
    }

    #[test]
    fn a_connection_that_is_worked_on_stays_and_past_the_spare_places_the_oldest_goes() {
        let places = places(2, 1);
        let held: Vec<Place> = (0..2).map(|_| places.enter(None).0).collect();
        for place in &held {
            place.line().set_busy(true);
        }
        let (third, cut) = places.enter(None);
        assert!(cut.is_none());
        third.line().set_busy(true);
        let (_fourth, cut) = places.enter(None);
        assert!(Arc::ptr_eq(&cut.unwrap(), held[0].line()));
    }

    #[test]
    fn one_that_has_had_its_last_answer_goes_first() {
        let places = places(2, 0);
        let (idle, _) = places.enter(None);
        let (answered, _) = places.enter(None);
        answered.moved();
        answered.line().is_done();
        let (_, cut) = places.enter(None);
        assert!(Arc::ptr_eq(&cut.unwrap(), answered.line()));
        assert!(is_held(&idle));
    }

    proptest! {
        /// Whoever comes is let in, and there are never more than the places.
        #[test]
        fn there_are_never_more_than_the_places(
            acts in prop::collection::vec((0_usize..4, any::<prop::sample::Index>()), 1..200),
        ) {
            let places = places(4, 2);
            let mut held: Vec<Place> = Vec::new();
            for (act, index) in acts {
                match act {
                    0 | 1 => {
                        let (place, _) = places.enter(None);
                        prop_assert!(is_held(&place));
                        held.push(place);
                        held.retain(is_held);
                    }
                    2 if !held.is_empty() => drop(held.swap_remove(index.index(held.len()))),
                    _ => held.iter().for_each(|place| place.line().set_busy(act == 3)),
                }
                let count = places.table.lock().lines.len();
                prop_assert!(count <= 6 && count == held.len());
            }
        }
    }
}
