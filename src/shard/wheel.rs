//! The timer wheel: one timer per connection, in 12 bytes of its slot.
//!
//! A binary heap or a sorted map would cost 16–32 bytes per timer and O(log n) steps, each with a cache
//! miss. Here, arming and disarming touch two neighbours. In return, a timer fires up to one tick (31.25 ms)
//! late, and a timer beyond the wheel's span of 32 s is looked at once per revolution. The links are in the
//! slots, so the wheel itself takes 4 KiB regardless of the number of connections.
//! `cargo bench --bench shard` prints the nanoseconds.

#![allow(clippy::indexing_slicing)] // a bucket is a remainder of the number of buckets

use crate::hub::ConnectionId;

/// Ticks per second. A heartbeat may be a second late, so a resolution of 31.25 ms is enough.
pub(crate) const TICKS_PER_S: u64 = 32;
/// The number of buckets. They span 32 s, just over the default heartbeat interval.
const BUCKETS: u32 = 1024;

const NIL: u32 = u32::MAX;
/// In [`Links::prev`], this bit means that the other bits are the number of a bucket, not of a slot.
const IS_BUCKET: u32 = 1 << 31;
const _: () = assert!(ConnectionId::MAX_KEYS <= IS_BUCKET as usize);

/// The number of ticks since the clock was created. It wraps after four years. Ticks are compared by the
/// shorter way around, so they must be less than two years apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Tick(pub(crate) u32);

impl Tick {
    /// The tick that `now_ms` falls into.
    pub(crate) fn at_ms(now_ms: u64) -> Self {
        Self(truncate(now_ms * TICKS_PER_S / 1_000))
    }

    /// The number of ticks in `ms`, rounded up.
    pub(crate) fn span(ms: u64) -> u32 {
        u32::try_from((ms * TICKS_PER_S).div_ceil(1_000)).unwrap_or(i32::MAX as u32)
    }

    /// The tick that is `ticks` later.
    pub(crate) fn plus(self, ticks: u32) -> Self {
        Self(self.0.wrapping_add(ticks))
    }

    /// The tick that was `ticks` earlier.
    pub(crate) fn minus(self, ticks: u32) -> Self {
        Self(self.0.wrapping_sub(ticks))
    }

    /// The number of ticks from `earlier` to `self`; 0 if `earlier` is in fact later.
    pub(crate) fn since(self, earlier: Self) -> u32 {
        let ticks = self.0.wrapping_sub(earlier.0);
        if i32::try_from(ticks).is_ok() {
            ticks
        } else {
            0
        }
    }

    /// Returns true if `self` is `other` or later.
    pub(crate) fn reached(self, other: Self) -> bool {
        i32::try_from(self.0.wrapping_sub(other.0)).is_ok()
    }

    /// The earlier of the two.
    pub(crate) fn min(self, other: Self) -> Self {
        if self.reached(other) { other } else { self }
    }

    fn bucket(self) -> u32 {
        self.0 % BUCKETS
    }
}

/// The time at which the tick after that of `now_ms` begins.
pub(crate) fn next_tick_ms(now_ms: u64) -> u64 {
    start_of(Tick::at_ms(now_ms).plus(1), now_ms)
}

/// The time at which `tick` begins. It must be at most half the range of a tick after `now_ms`.
pub(crate) fn start_of(tick: Tick, now_ms: u64) -> u64 {
    let ahead = u64::from(tick.since(Tick::at_ms(now_ms)));
    let elapsed_ticks = now_ms * TICKS_PER_S / 1_000;
    ((elapsed_ticks + ahead) * 1_000).div_ceil(TICKS_PER_S)
}

/// The part of a timer that is in its slot.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Links {
    prev: u32,
    next: u32,
    due: Tick,
}

impl Links {
    /// The links of a timer that is not armed.
    pub(crate) const UNARMED: Self = Self {
        prev: NIL,
        next: NIL,
        due: Tick(0),
    };

    pub(crate) fn is_armed(&self) -> bool {
        self.prev != NIL
    }
}

/// The storage of the links, which is the table.
pub(crate) trait Slots {
    /// The links of an occupied slot.
    fn links(&mut self, key: u32) -> &mut Links;
}

/// The timers of one shard.
#[derive(Debug)]
pub(crate) struct Wheel {
    heads: Box<[u32; BUCKETS as usize]>,
    occupied: [u64; BUCKETS as usize / 64],
    /// The tick whose bucket is being searched.
    current: Tick,
    /// The next slot to look at in that bucket.
    cursor: u32,
}

impl Wheel {
    pub(crate) fn new(now: Tick) -> Self {
        Self {
            heads: Box::new([NIL; BUCKETS as usize]),
            occupied: [0; BUCKETS as usize / 64],
            current: now,
            cursor: NIL,
        }
    }

    /// Arms the timer of `key` for `due`, or re-arms it. If `due` has been reached already, the timer fires
    /// at the next tick.
    pub(crate) fn arm(&mut self, slots: &mut impl Slots, key: u32, due: Tick) {
        self.disarm(slots, key);
        let soonest = self.current.plus(1);
        let due = if due.reached(soonest) { due } else { soonest };
        let bucket = due.bucket();
        let next = self.heads[bucket as usize];
        *slots.links(key) = Links {
            prev: IS_BUCKET | bucket,
            next,
            due,
        };
        if next != NIL {
            slots.links(next).prev = key;
        }
        self.heads[bucket as usize] = key;
        self.occupied[bucket as usize / 64] |= 1 << (bucket % 64);
    }

    /// Disarms the timer of `key`, if it is armed.
    pub(crate) fn disarm(&mut self, slots: &mut impl Slots, key: u32) {
        let links = *slots.links(key);
        if !links.is_armed() {
            return;
        }
        if self.cursor == key {
            self.cursor = links.next;
        }
        if links.prev & IS_BUCKET == 0 {
            slots.links(links.prev).next = links.next;
        } else {
            let bucket = links.prev & !IS_BUCKET;
            self.heads[bucket as usize] = links.next;
            if links.next == NIL {
                self.occupied[bucket as usize / 64] &= !(1 << (bucket % 64));
            }
        }
        if links.next != NIL {
            slots.links(links.next).prev = links.prev;
        }
        *slots.links(key) = Links::UNARMED;
    }

    /// Disarms a timer that is due at `now`, and returns its key; `None` if there are no more. Callers have
    /// to repeat the call until then, in any number of slices.
    pub(crate) fn pop_due(&mut self, slots: &mut impl Slots, now: Tick) -> Option<u32> {
        loop {
            while self.cursor != NIL {
                let key = self.cursor;
                let links = *slots.links(key);
                self.cursor = links.next;
                if self.current.reached(links.due) {
                    self.disarm(slots, key);
                    return Some(key);
                }
            }
            // The bitmap skips empty buckets. Even after a long sleep or a jump of the clock, this loop runs
            // only once per occupied bucket.
            let skip = self.ticks_to_occupied();
            let ahead = now.since(self.current);
            match skip {
                Some(skip) if skip <= ahead => self.current = self.current.plus(skip),
                _ => {
                    self.current = self.current.plus(ahead);
                    return None;
                }
            }
            self.cursor = self.heads[self.current.bucket() as usize];
        }
    }

    /// The next tick at which a timer may be due; `None` if no timer is armed.
    pub(crate) fn next_tick(&self) -> Option<Tick> {
        if self.cursor != NIL {
            return Some(self.current);
        }
        self.ticks_to_occupied()
            .map(|ticks| self.current.plus(ticks))
    }

    /// The number of ticks from the current one to the next with an occupied bucket, from 1 to [`BUCKETS`].
    fn ticks_to_occupied(&self) -> Option<u32> {
        let start = self.current.plus(1).bucket();
        let words = self.occupied.len();
        for step in 0..=words {
            let word = (start as usize / 64 + step) % words;
            let mut bits = self.occupied[word];
            let first = start % 64;
            if step == 0 {
                bits &= u64::MAX << first;
            } else if step == words {
                bits &= !(u64::MAX << first);
            }
            if bits != 0 {
                let bucket = truncate(word as u64 * 64) + bits.trailing_zeros();
                return Some((bucket + BUCKETS - start) % BUCKETS + 1);
            }
        }
        None
    }
}

/// The low 32 bits. Ticks may wrap, and buckets are small.
#[allow(clippy::cast_possible_truncation)]
fn truncate(wide: u64) -> u32 {
    wide as u32
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    struct Plain(Vec<Links>);

    impl Slots for Plain {
        fn links(&mut self, key: u32) -> &mut Links {
            &mut self.0[key as usize]
        }
    }

    fn slots(count: usize) -> Plain {
        Plain(vec![Links::UNARMED; count])
    }

    #[test]
    fn a_timer_fires_at_its_tick_and_not_before() {
        let (mut wheel, mut slots) = (Wheel::new(Tick(100)), slots(1));
        wheel.arm(&mut slots, 0, Tick(105));
        assert_eq!(wheel.next_tick(), Some(Tick(105)));
        assert_eq!(wheel.pop_due(&mut slots, Tick(104)), None);
        assert_eq!(wheel.pop_due(&mut slots, Tick(105)), Some(0));
        assert_eq!(wheel.next_tick(), None);
    }

    #[test]
    fn a_timer_that_is_due_already_fires_at_the_next_tick() {
        let (mut wheel, mut slots) = (Wheel::new(Tick(100)), slots(2));
        for (key, due) in [Tick(100), Tick(90)].into_iter().enumerate() {
            let key = u32::try_from(key).unwrap();
            wheel.arm(&mut slots, key, due);
            assert_eq!(wheel.next_tick(), Some(Tick(101)), "{due:?}");
        }
        assert_eq!(wheel.pop_due(&mut slots, Tick(100)), None);
        assert!(wheel.pop_due(&mut slots, Tick(101)).is_some());
        // The other one is still due, so a slice may end here.
        assert_eq!(wheel.next_tick(), Some(Tick(101)));
        assert!(wheel.pop_due(&mut slots, Tick(101)).is_some());
        assert_eq!(wheel.next_tick(), None);
    }

    #[test]
    fn a_timer_beyond_one_revolution_fires_in_its_own() {
        let (mut wheel, mut slots) = (Wheel::new(Tick(0)), slots(1));
        wheel.arm(&mut slots, 0, Tick(BUCKETS * 2 + 5));
        assert_eq!(wheel.pop_due(&mut slots, Tick(BUCKETS * 2 + 4)), None);
        assert_eq!(wheel.pop_due(&mut slots, Tick(BUCKETS * 2 + 5)), Some(0));
    }

    #[test]
    fn the_number_of_ticks_may_wrap() {
        let start = Tick(u32::MAX - 2);
        let (mut wheel, mut slots) = (Wheel::new(start), slots(1));
        wheel.arm(&mut slots, 0, start.plus(10));
        assert_eq!(wheel.pop_due(&mut slots, start.plus(9)), None);
        assert_eq!(wheel.pop_due(&mut slots, start.plus(10)), Some(0));
    }

    #[derive(Clone, Debug)]
    enum Step {
        Arm(u32, u32),
        Disarm(u32),
        Pass(u32, usize),
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            (0..16u32, 0..3_000u32).prop_map(|(key, ticks)| Step::Arm(key, ticks)),
            (0..16u32).prop_map(Step::Disarm),
            (0..2_000u32, 0..4usize).prop_map(|(ticks, pops)| Step::Pass(ticks, pops)),
        ]
    }

    proptest! {
        /// The model is a map from timers to ticks. A pass may stop after a few timers, as a slice does.
        /// Timers are then armed and disarmed before the next pass.
        #[test]
        fn the_wheel_agrees_with_a_naive_model(start: u32, steps in prop::collection::vec(step(), 1..200)) {
            let mut now = Tick(start);
            let (mut wheel, mut slots) = (Wheel::new(now), slots(16));
            let mut model: BTreeMap<u32, Tick> = BTreeMap::new();
            for step in steps {
                match step {
                    Step::Arm(key, ticks) => {
                        wheel.arm(&mut slots, key, now.plus(ticks));
                        model.insert(key, now.plus(ticks));
                    }
                    Step::Disarm(key) => {
                        wheel.disarm(&mut slots, key);
                        model.remove(&key);
                    }
                    Step::Pass(ticks, pops) => {
                        now = now.plus(ticks);
                        for _ in 0..pops {
                            let Some(key) = wheel.pop_due(&mut slots, now) else { break };
                            let due = model.remove(&key);
                            prop_assert!(due.is_some_and(|due| now.reached(due)));
                        }
                    }
                }
            }
            // One tick later, every timer that was due has fired.
            now = now.plus(1);
            while let Some(key) = wheel.pop_due(&mut slots, now) {
                prop_assert!(model.remove(&key).is_some());
            }
            prop_assert!(model.values().all(|due| !now.reached(*due)));
            let armed = slots.0.iter().filter(|links| links.is_armed()).count();
            prop_assert_eq!(armed, model.len());
        }
    }
}
