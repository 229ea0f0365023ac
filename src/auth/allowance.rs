//! Limits the failures of each address. A failure uses up one unit of the address's allowance, and
//! units return over time. A client that mostly succeeds is never limited.
//!
//! The allowance of an address is stored as one number: the moment at which it will be full again
//! (generic cell rate algorithm). At most [`MAX_NETWORKS`] are stored. One more replaces the one that
//! will be full soonest.

use parking_lot::Mutex;

use super::fair_queue::Reputation;
use crate::expiring::Expiring;
use crate::net::Network;

/// Most addresses stored, some 2 MiB.
pub(crate) const MAX_NETWORKS: usize = 16 * 1024;

/// What each network has left of its allowance.
#[derive(Debug)]
pub(crate) struct Allowance {
    /// Time for one unit to return.
    each_ms: u64,
    /// Time for all units to return.
    all_ms: u64,
    used: Mutex<Used>,
}

/// Addresses whose allowance is not full.
#[derive(Debug, Default)]
struct Used(Expiring<Network, ()>);

impl Allowance {
    /// Each address has `at_once` units; one returns every `each_ms`.
    pub(crate) fn new(at_once: u64, each_ms: u64) -> Self {
        Self {
            each_ms,
            all_ms: at_once * each_ms,
            used: Mutex::default(),
        }
    }

    /// Returns true if a unit is left.
    pub(crate) fn has_some(&self, network: Network, now_ms: u64) -> bool {
        self.has_room(self.used.lock().whole_at_ms(network), now_ms)
    }

    /// Suspect if more than a tenth is used up: that is more than one person's mistakes.
    pub(crate) fn reputation(&self, network: Network, now_ms: u64) -> Reputation {
        let used_ms = self.used.lock().whole_at_ms(network).saturating_sub(now_ms);
        if used_ms > self.all_ms / 10 {
            Reputation::Suspect
        } else {
            Reputation::Good
        }
    }

    /// Uses one unit; returns false if none is left.
    pub(crate) fn take(&self, network: Network, now_ms: u64) -> bool {
        let mut used = self.used.lock();
        let whole_at_ms = used.whole_at_ms(network);
        let has_room = self.has_room(whole_at_ms, now_ms);
        if has_room {
            used.0.remove(network);
            used.0.make_room(MAX_NETWORKS - 1, now_ms);
            used.0
                .insert(network, (), whole_at_ms.max(now_ms) + self.each_ms);
        }
        has_room
    }

    /// Returns a unit that was taken in advance.
    pub(crate) fn give_back(&self, network: Network) {
        let mut used = self.used.lock();
        let whole_at_ms = used.whole_at_ms(network).saturating_sub(self.each_ms);
        used.0.remove(network);
        if whole_at_ms > 0 {
            used.0.insert(network, (), whole_at_ms);
        }
    }

    fn has_room(&self, whole_at_ms: u64, now_ms: u64) -> bool {
        whole_at_ms.max(now_ms) + self.each_ms <= now_ms + self.all_ms
    }
}

impl Used {
    /// The moment at which the allowance is full. It is in the past, or 0, if it is full now.
    fn whole_at_ms(&self, network: Network) -> u64 {
        self.0.get(network).map_or(0, |entry| entry.expiry.at_ms)
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use proptest::prelude::*;

    use super::*;

    fn network(number: u32) -> Network {
        Network::of(Some(Ipv4Addr::from_bits(number).into()))
    }

    #[test]
    fn units_return_one_by_one() {
        let allowance = Allowance::new(3, 100);
        let take = |now_ms| allowance.take(network(1), now_ms);
        assert!(take(1_000) && take(1_000) && take(1_000));
        assert!(!take(1_000) && !take(1_099));
        assert!(take(1_100) && !take(1_100));
        assert!(allowance.take(network(2), 1_100), "another has its own");
    }

    #[test]
    fn an_address_is_suspect_while_more_than_a_tenth_is_used() {
        let allowance = Allowance::new(100, 100);
        let reputation = |now_ms| allowance.reputation(network(1), now_ms);
        for _ in 0..10 {
            assert!(allowance.take(network(1), 0));
            assert_eq!(reputation(0), Reputation::Good);
        }
        assert!(allowance.take(network(1), 0));
        assert_eq!(
            (reputation(0), reputation(100)),
            (Reputation::Suspect, Reputation::Good)
        );
        assert_eq!(allowance.reputation(network(2), 0), Reputation::Good);
    }

    #[test]
    fn a_returned_unit_can_be_taken_again() {
        let allowance = Allowance::new(2, 100);
        for _ in 0..1_000 {
            assert!(allowance.take(network(1), 5));
            allowance.give_back(network(1));
        }
        assert!(allowance.has_some(network(1), 5));
    }

    #[test]
    fn the_number_of_stored_addresses_is_bounded() {
        let allowance = Allowance::new(2, 100);
        for number in 0..u32::try_from(MAX_NETWORKS).unwrap() + 10 {
            assert!(allowance.take(network(number), 0));
        }
        let used = || allowance.used.lock().0.len();
        assert_eq!(used(), MAX_NETWORKS);
        assert!(allowance.take(network(0), 100));
        assert_eq!(used(), 1);
    }

    proptest! {
        #[test]
        fn it_behaves_as_a_bucket_that_fills_steadily(
            steps in prop::collection::vec((0..3_u32, 0..150_u64, any::<bool>()), 0..200),
            at_once in 1..6_u64,
        ) {
            const EACH_MS: u64 = 50;
            let allowance = Allowance::new(at_once, EACH_MS);
            let mut now_ms = 1_000;
            // What each bucket lacks, in milliseconds of filling.
            let mut missing_ms = [0_u64; 3];
            for (number, wait_ms, is_given_back) in steps {
                now_ms += wait_ms;
                missing_ms = missing_ms.map(|missing| missing.saturating_sub(wait_ms));
                let missing = &mut missing_ms[number as usize];
                let has_room = *missing + EACH_MS <= at_once * EACH_MS;
                prop_assert_eq!(allowance.has_some(network(number), now_ms), has_room);
                prop_assert_eq!(allowance.take(network(number), now_ms), has_room);
                if has_room {
                    *missing += EACH_MS;
                    if is_given_back {
                        *missing -= EACH_MS;
                        allowance.give_back(network(number));
                    }
                }
            }
        }
    }
}
