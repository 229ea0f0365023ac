//! Recent refusals, for the dashboard: which clients were refused, and why.
//!
//! A fixed number is kept per reason, so that a flood of one reason does not hide others. Only a few per
//! second and reason are recorded; the others are counted.

use std::collections::VecDeque;
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};

use compact_str::CompactString;
use parking_lot::Mutex;

use crate::clock::Clock;
use crate::metrics::{ByLabel, RefusedReason};

/// Refusals kept per reason: about a hundred in total, some 15 KB.
const KEPT: usize = 20;
/// Refusals recorded per reason and second: people read no more, and the lock is taken no more often.
const NOTED_PER_S: u64 = 4;

/// The details of a refusal, without token, cookie or query.
#[derive(Clone, Debug)]
pub struct RefusalNote {
    /// The reason that it is counted under.
    pub reason: RefusedReason,
    /// The text sent to the client, or a description if nothing was sent.
    pub text: &'static str,
    /// The status sent to the client.
    pub status: Option<u16>,
    /// The client's address; `None` for a unix socket.
    pub remote: Option<IpAddr>,
    /// The user, if the credential was good.
    pub user: Option<CompactString>,
}

/// An entry of the list.
#[derive(Clone, Debug)]
pub struct RecentRefusal {
    /// When, in Unix milliseconds.
    pub at_unix_ms: u64,
    /// Client and reason.
    pub note: RefusalNote,
    /// Later refusals for the same reason that were only counted.
    pub more: u64,
}

/// Recent refusals, by reason.
#[derive(Debug, Default)]
pub struct RecentRefusals {
    gates: ByLabel<Gate, { RefusedReason::ALL.len() }>,
    kept: Mutex<ByLabel<VecDeque<RecentRefusal>, { RefusedReason::ALL.len() }>>,
}

impl RecentRefusals {
    /// Records a refusal, or only counts it if this second had enough for the same reason.
    pub fn note(&self, clock: &Clock, reason: RefusedReason, note: impl FnOnce() -> RefusalNote) {
        let reason = reason as usize;
        let gate = self.gates.at(reason);
        if !gate.opens(clock.now_ms() / 1_000) {
            gate.skipped.fetch_add(1, Ordering::Relaxed);
            return;
        }
        let note = note();
        let mut kept = self.kept.lock();
        let kept = kept.at_mut(reason);
        if let Some(last) = kept.back_mut() {
            last.more += gate.skipped.swap(0, Ordering::Relaxed);
        }
        if kept.len() == KEPT {
            kept.pop_front();
        }
        kept.push_back(RecentRefusal {
            at_unix_ms: clock.unix_ms(),
            note,
            more: 0,
        });
    }

    /// All recorded refusals, the latest first.
    pub fn list(&self) -> Vec<RecentRefusal> {
        let mut list = Vec::with_capacity(KEPT * RefusedReason::ALL.len());
        let kept = self.kept.lock();
        for reason in RefusedReason::ALL {
            let reason = *reason as usize;
            let skipped = self.gates.at(reason).skipped.load(Ordering::Relaxed);
            let latest_first = kept.at(reason).iter().rev().cloned();
            list.extend(latest_first.enumerate().map(|(place, mut refusal)| {
                if place == 0 {
                    refusal.more += skipped;
                }
                refusal
            }));
        }
        drop(kept);
        list.sort_by_key(|refusal| std::cmp::Reverse(refusal.at_unix_ms));
        list
    }
}

/// Lets a few refusals per second through, without a lock.
#[derive(Debug, Default)]
struct Gate {
    /// The second and its count, as `second * (NOTED_PER_S + 1) + count`.
    second_and_count: AtomicU64,
    /// Refusals that were only counted since the latest recorded one.
    skipped: AtomicU64,
}

impl Gate {
    fn opens(&self, second: u64) -> bool {
        const STEP: u64 = NOTED_PER_S + 1;
        self.second_and_count
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |state| {
                if state / STEP == second {
                    (state % STEP < NOTED_PER_S).then_some(state + 1)
                } else {
                    Some(second * STEP + 1)
                }
            })
            .is_ok()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn note(refusals: &RecentRefusals, clock: &Clock, reason: RefusedReason, status: u16) {
        refusals.note(clock, reason, || RefusalNote {
            reason,
            text: "Some reason",
            status: Some(status),
            remote: None,
            user: None,
        });
    }

    /// The status of each entry, which identifies it here, and its number of further refusals.
    fn listed(refusals: &RecentRefusals) -> Vec<(Option<u16>, u64)> {
        let list = refusals.list();
        list.iter().map(|one| (one.note.status, one.more)).collect()
    }

    #[test]
    fn a_flood_is_counted_and_hides_no_other_reason() {
        let clock = Clock::manual(1_700_000_000_000);
        let refusals = RecentRefusals::default();
        note(&refusals, &clock, RefusedReason::Limit, 429);
        clock.advance(Duration::from_secs(1));
        for status in 0..1_000 {
            note(&refusals, &clock, RefusedReason::Auth, status);
        }
        let flood = [(Some(3), 996), (Some(2), 0), (Some(1), 0), (Some(0), 0)];
        assert_eq!(listed(&refusals)[..4], flood);
        assert_eq!(listed(&refusals)[4..], [(Some(429), 0)]);
        clock.advance(Duration::from_secs(1));
        note(&refusals, &clock, RefusedReason::Auth, 401);
        assert_eq!(listed(&refusals)[..2], [(Some(401), 0), (Some(3), 996)]);
    }

    #[test]
    fn the_oldest_refusals_of_a_reason_are_dropped() {
        let clock = Clock::manual(1_700_000_000_000);
        let refusals = RecentRefusals::default();
        for status in 0..100 {
            note(&refusals, &clock, RefusedReason::Topic, status);
            clock.advance(Duration::from_secs(1));
        }
        let statuses: Vec<u16> = (80..100).rev().collect();
        let listed: Vec<u16> = listed(&refusals)
            .into_iter()
            .filter_map(|(status, _)| status)
            .collect();
        assert_eq!(listed, statuses);
    }
}
