//! Quotas, and permits that are given back when dropped.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Counts permits. The limit is passed at each request for a permit, because it changes with the configuration.
#[derive(Debug, Default)]
pub struct Quota {
    used: AtomicU64,
}

/// One unit of a quota. Given back when dropped.
#[derive(Debug)]
#[must_use]
pub(crate) struct Permit {
    quota: Option<Arc<Quota>>,
}

/// Several permits of one quota, stored as a number: for an owner that has no room for the permits themselves.
/// Given back when dropped.
#[derive(Debug)]
pub(crate) struct Permits {
    quota: Arc<Quota>,
    held: u64,
}

impl Quota {
    /// Returns a permit if fewer than `most` are in use.
    pub(crate) fn acquire(self: &Arc<Self>, most: usize) -> Option<Permit> {
        let more = |used| (used < most as u64).then_some(used + 1);
        self.used
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, more)
            .ok()?;
        Some(Permit {
            quota: Some(Arc::clone(self)),
        })
    }

    /// The number of permits in use.
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
    /// Creates a store for permits of `quota`, which holds none yet.
    pub(crate) fn of(quota: &Arc<Quota>) -> Self {
        Self {
            quota: Arc::clone(quota),
            held: 0,
        }
    }

    /// Adds a permit of the same quota.
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
    fn a_permit_is_given_back_wherever_it_is_dropped() {
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
