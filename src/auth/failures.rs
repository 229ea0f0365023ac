//! How often a login may fail: five times a minute for an account, and for an address.
//!
//! The window slides: each key keeps the times of its last five failures, and is limited while the
//! oldest of them is less than a minute old. A fixed window would let ten through around its edge.

use std::fmt;
use std::net::IpAddr;

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::clock::Clock;
use crate::expiring::Expiring;
use crate::net::Network;

/// Failures after which a key is limited.
pub(crate) const MAX_FAILURES: usize = 5;

/// Time over which failures are counted.
pub(crate) const WINDOW_MS: u64 = 60_000;

/// Most keys remembered, about 2 MiB. To flood this table, an attacker has to fail from two thousand
/// addresses within a minute, because a limited address is not recorded again.
pub(crate) const MAX_FAILING: usize = 10_000;

/// The account or the address of a failure. They are counted separately, so that attacks from many
/// addresses on one account, and from one address on many accounts, are both noticed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) struct FailureKey(Who);

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
enum Who {
    /// Half of a SHA-256: an email address of any length takes 16 bytes, and does not appear in memory dumps.
    Account([u8; 16]),
    Address(Network),
}

impl FailureKey {
    /// The account of an email address, whether it exists or not.
    pub(crate) fn account(email: &str) -> Self {
        let hash: [u8; 32] = Sha256::digest(email.to_lowercase()).into();
        let mut half = [0; 16];
        half.iter_mut().zip(hash).for_each(|(to, from)| *to = from);
        Self(Who::Account(half))
    }

    /// The client's address.
    pub(crate) fn address(address: IpAddr) -> Self {
        Self(Who::Address(Network::of(Some(address))))
    }
}

/// As it is written in a store that nodes share.
impl fmt::Display for FailureKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Who::Account(hash) => write!(f, "account:{:032x}", u128::from_be_bytes(hash)),
            Who::Address(network) => write!(f, "address:{network}"),
        }
    }
}

/// The login failures of the last minute.
#[derive(Debug)]
pub(crate) struct Failures {
    clock: Clock,
    table: Mutex<Table>,
}

impl Failures {
    /// Without failures.
    pub(crate) fn new(clock: Clock) -> Self {
        Self {
            clock,
            table: Mutex::default(),
        }
    }

    /// Counts an attempt as a failure of all `keys` in advance. Returns false, and counts nothing, if one of
    /// them has failed [`MAX_FAILURES`] times within the last minute.
    ///
    /// Many more attempts may arrive while a password is checked. So call this before the check, and
    /// [`forget`](Self::forget) after a success.
    pub(crate) fn begin(&self, keys: &[FailureKey]) -> bool {
        let now_ms = self.clock.now_ms();
        let mut table = self.table.lock();
        if keys.iter().any(|key| table.limited(*key, now_ms)) {
            return false;
        }
        for key in keys {
            table.record(*key, now_ms);
        }
        true
    }

    /// Removes the latest failure of `key`, because the attempt that was counted in advance has succeeded.
    pub(crate) fn forget(&self, key: FailureKey) {
        self.table.lock().forget(key);
    }
}

/// The failures of a key, described for another process of the server.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct PortableFailure {
    key: FailureKey,
    /// How long ago they were, in milliseconds, the latest first.
    ages_ms: Vec<u64>,
}

impl Failures {
    /// Describes the failures of the last minute.
    pub(crate) fn describe(&self) -> Vec<PortableFailure> {
        let now_ms = self.clock.now_ms();
        let table = self.table.lock();
        let failing = table.0.iter();
        failing
            .map(|(key, entry)| PortableFailure {
                key,
                ages_ms: entry
                    .value
                    .recent(now_ms)
                    .map(|at_ms| now_ms - at_ms)
                    .collect(),
            })
            .collect()
    }

    /// Takes over the failures that another process has counted.
    pub(crate) fn take_over(&self, failures: Vec<PortableFailure>) {
        let now_ms = self.clock.now_ms();
        let mut table = self.table.lock();
        for failure in failures {
            for age_ms in failure.ages_ms.into_iter().rev() {
                table.record(failure.key, now_ms.saturating_sub(age_ms));
            }
        }
    }
}

/// The failures by key. A key is forgotten when its last failure is a minute old.
#[derive(Debug, Default)]
struct Table(Expiring<FailureKey, Failing>);

/// Times of the last failures, latest first.
#[derive(Debug, Default)]
struct Failing([Option<u64>; MAX_FAILURES]);

impl Failing {
    fn recent(&self, now_ms: u64) -> impl Iterator<Item = u64> {
        self.0
            .iter()
            .flatten()
            .copied()
            .filter(move |at_ms| now_ms.saturating_sub(*at_ms) < WINDOW_MS)
    }
}

impl Table {
    fn limited(&self, key: FailureKey, now_ms: u64) -> bool {
        self.0
            .get(key)
            .is_some_and(|entry| entry.value.recent(now_ms).count() >= MAX_FAILURES)
    }

    fn record(&mut self, key: FailureKey, now_ms: u64) {
        let old = self.0.remove(key).map(|entry| entry.value);
        let Failing(mut at_ms) = old.unwrap_or_default();
        at_ms.rotate_right(1);
        if let Some(latest) = at_ms.first_mut() {
            *latest = Some(now_ms);
        }
        self.0.make_room(MAX_FAILING - 1, now_ms);
        self.0
            .insert(key, Failing(at_ms), now_ms.saturating_add(WINDOW_MS));
    }

    fn forget(&mut self, key: FailureKey) {
        // Its time stays: it may only keep the key for longer than needed.
        if let Some(Failing(at_ms)) = self.0.get_mut(key) {
            at_ms.rotate_left(1);
            if let Some(earliest) = at_ms.last_mut() {
                *earliest = None;
            }
            if at_ms.iter().all(Option::is_none) {
                self.0.remove(key);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;

    impl Failures {
        fn limited(&self, key: FailureKey) -> bool {
            self.table.lock().limited(key, self.clock.now_ms())
        }

        fn record(&self, key: FailureKey) {
            self.table.lock().record(key, self.clock.now_ms());
        }
    }

    fn failures() -> (Clock, Failures) {
        let clock = Clock::manual(0);
        (clock.clone(), Failures::new(clock))
    }

    #[test]
    fn the_fifth_failure_within_a_minute_limits() {
        let (clock, failures) = failures();
        let key = FailureKey::account("User@Example.com");
        for _ in 0..4 {
            failures.record(key);
            clock.advance(Duration::from_secs(10));
        }
        assert!(!failures.limited(key));
        failures.record(key);
        assert!(failures.limited(key));
        assert!(failures.limited(FailureKey::account("user@example.COM")));
        assert!(!failures.limited(FailureKey::account("other@example.com")));
    }

    #[test]
    fn the_window_slides() {
        let (clock, failures) = failures();
        let key = FailureKey::account("a");
        for _ in 0..5 {
            failures.record(key);
            clock.advance(Duration::from_secs(10));
        }
        clock.advance(Duration::from_millis(9_999));
        assert!(failures.limited(key));
        clock.advance(Duration::from_millis(1));
        assert!(!failures.limited(key));
        failures.record(key);
        assert!(failures.limited(key));
    }

    #[test]
    fn an_attempt_counts_for_all_of_its_keys_or_for_none() {
        let (_, failures) = failures();
        let keys = ["a", "b", "c"].map(FailureKey::account);
        (0..5).for_each(|_| assert!(failures.begin(&keys[..1])));
        assert!(!failures.begin(&keys[..2]));
        (0..5).for_each(|_| assert!(failures.begin(&keys[1..])));
        assert!(!failures.begin(&keys[2..]));
    }

    #[test]
    fn a_success_takes_its_own_record_back_and_no_other() {
        let (_, failures) = failures();
        let key = FailureKey::account("a");
        for _ in 0..5 {
            failures.record(key);
        }
        failures.forget(key);
        assert!(!failures.limited(key));
        failures.record(key);
        assert!(failures.limited(key));
        (0..6).for_each(|_| failures.forget(key));
        assert_eq!(failures.table.lock().0.len(), 0);
    }

    #[test]
    fn an_ipv6_network_counts_as_one_address() {
        let key = |text: &str| FailureKey::address(text.parse().unwrap());
        assert_eq!(key("2001:db8::1"), key("2001:db8::ffff:0:0:2"));
        assert_ne!(key("2001:db8::1"), key("2001:db8:0:1::1"));
        assert_eq!(key("::ffff:192.0.2.1"), key("192.0.2.1"));
        assert_ne!(key("192.0.2.1"), key("192.0.2.2"));
    }

    #[test]
    fn a_flood_of_keys_drops_those_that_expire_soonest() {
        let (clock, failures) = failures();
        let key = |number: usize| FailureKey::account(&number.to_string());
        for number in 0..MAX_FAILING {
            (0..5).for_each(|_| failures.record(key(number)));
        }
        clock.advance(Duration::from_millis(1));
        failures.record(key(MAX_FAILING));
        assert!(!failures.limited(key(0)));
        assert!(failures.limited(key(1)));
        assert_eq!(failures.table.lock().0.len(), MAX_FAILING);
        clock.advance(Duration::from_secs(60));
        failures.record(key(0));
        assert_eq!(failures.table.lock().0.len(), 1);
    }

    proptest! {
        #[test]
        fn limits_follow_the_failures_of_the_last_minute(
            steps in prop::collection::vec((0..3_u8, 0..20_000_u64), 0..100)
        ) {
            let (clock, failures) = failures();
            let mut all = Vec::new();
            for (number, wait_ms) in steps {
                let key = FailureKey::account(&number.to_string());
                failures.record(key);
                all.push((number, clock.now_ms()));
                clock.advance(Duration::from_millis(wait_ms));
                let recent = all
                    .iter()
                    .filter(|(who, at_ms)| *who == number && clock.now_ms() - at_ms < WINDOW_MS)
                    .count();
                prop_assert_eq!(failures.limited(key), recent >= MAX_FAILURES);
            }
        }
    }
}
