//! How many of something there are, and permits that give their place back by themselves.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Counts permits. How many there may be is asked at each, since that changes with the configuration.
#[derive(Debug, Default)]
pub struct Quota {
    used: AtomicU64,
}

/// One place under a quota, given back when it is dropped.
#[derive(Debug)]
#[must_use]
pub(crate) struct Permit {
    quota: Option<Arc<Quota>>,
}

/// Permits of one quota, as a number: for holders that have no room for a permit each. They are
/// given back when this is dropped.
#[derive(Debug)]
pub(crate) struct Permits {
    quota: Arc<Quota>,
    held: u64,
}

impl Quota {
    /// A permit, if fewer than `most` are given.
    pub(crate) fn acquire(self: &Arc<Self>, most: usize) -> Option<Permit> {
        let more = |used| (used < most as u64).then_some(used + 1);
        self.used
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, more)
            .ok()?;
        Some(Permit {
            quota: Some(Arc::clone(self)),
        })
    }

    /// Permits that are given.
    pub fn used(&self) -> u64 {
        self.used.load(Ordering::Relaxed)
    }

    fn release(&self, permits: u64) {
        self.used.fetch_sub(permits, Ordering::Relaxed);
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        if let Some(quota) = &self.quota {
            quota.release(1);
        }
    }
}

impl Permits {
    /// None yet.
    pub(crate) fn of(quota: &Arc<Quota>) -> Self {
        Self {
            quota: Arc::clone(quota),
            held: 0,
        }
    }

    /// Takes a permit of the same quota.
    pub(crate) fn put(&mut self, mut permit: Permit) {
        if let Some(quota) = permit.quota.take() {
            debug_assert!(
                Arc::ptr_eq(&quota, &self.quota),
                "a permit of another quota"
            );
            self.held += 1;
        }
    }

    /// Gives one permit back.
    pub(crate) fn release(&mut self) {
        debug_assert!(self.held > 0, "no permit is held");
        self.held -= 1;
        self.quota.release(1);
    }
}

impl Drop for Permits {
    fn drop(&mut self) {
        self.quota.release(self.held);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_permit_comes_back_whoever_drops_it() {
        let quota = Arc::<Quota>::default();
        let permit = quota.acquire(2).unwrap();
        let other = quota.acquire(2).unwrap();
        assert!(quota.acquire(2).is_none());
        drop(permit);
        let mut permits = Permits::of(&quota);
        permits.put(other);
        permits.put(quota.acquire(2).unwrap());
        assert!(quota.acquire(2).is_none());
        permits.release();
        assert_eq!(quota.used(), 1);
        drop(permits);
        assert_eq!(quota.used(), 0);
    }
}
