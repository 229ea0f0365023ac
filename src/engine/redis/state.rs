//! What a node knows about its store: whether it is attached, since when it has heard nothing, and the store's
//! time.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;

use crate::clock::{Clock, millis};
use crate::event::EventId;
use crate::hub::engine::{EngineFigures, EngineHealth, Verdict};

/// What this node knows about the store. It is measured in real time, because the store sets the pace.
pub(super) struct State {
    real: Clock,
    inner: Mutex<Inner>,
}

struct Inner {
    /// Why the store cannot be used; `None` while the node is attached.
    away: Option<Arc<str>>,
    /// When the store was last heard of; `None` before the first time.
    contact_ms: Option<u64>,
    /// How far the store's clock is ahead of the machine's.
    offset_ms: i64,
    /// The newest entry that was read.
    seen: EventId,
    /// The newest entry in the store, as of the last beat.
    newest: EventId,
    /// The names of the live nodes, as of the last beat.
    live: Vec<String>,
    /// The sum of their users, as of the last beat.
    users: u64,
    attached: [u64; Verdict::ALL.len()],
    unknown: u64,
}

impl State {
    pub(super) fn new(real: Clock) -> Self {
        Self {
            real,
            inner: Mutex::new(Inner {
                away: Some("Redis has not been reached yet".into()),
                contact_ms: None,
                offset_ms: 0,
                seen: EventId::default(),
                newest: EventId::default(),
                live: Vec::new(),
                users: 0,
                attached: Default::default(),
                unknown: 0,
            }),
        }
    }

    /// The node has compared its log with the store's, and goes on from there.
    pub(super) fn attached(&self, verdict: Verdict) {
        let mut inner = self.inner.lock();
        inner.away = None;
        inner.contact_ms = Some(self.real.now_ms());
        inner.attached[verdict as usize] += 1;
    }

    /// The store cannot be used for now. Returns true if that, or the reason, is new.
    pub(super) fn away(&self, reason: &str) -> bool {
        let before = self.inner.lock().away.replace(reason.into());
        before.as_deref() != Some(reason)
    }

    /// The store is alive and takes writes.
    pub(super) fn contact(&self) {
        self.inner.lock().contact_ms = Some(self.real.now_ms());
    }

    /// The store may not be heard of for long, so no stream is admitted until it is. Returns true if one was before.
    pub(super) fn lose_contact(&self) -> bool {
        self.inner.lock().contact_ms.take().is_some()
    }

    /// Notes the store's time, which it told between `asked_ms` and now, both on the machine's clock.
    pub(super) fn set_time(&self, store_unix_ms: u64, asked_unix_ms: u64) {
        let now_ms = self.real.unix_ms();
        // The store read its clock somewhere in between.
        let here = u64::midpoint(asked_unix_ms, now_ms);
        let offset_ms = store_unix_ms.cast_signed() - here.cast_signed();
        let error_ms = now_ms.saturating_sub(asked_unix_ms) / 2 + 1;
        // A difference that the measurement cannot show counts as none, so the time of clocks that agree is exact.
        self.inner.lock().offset_ms = if offset_ms.unsigned_abs() <= error_ms {
            0
        } else {
            offset_ms
        };
    }

    /// How far the store's clock is ahead of the machine's.
    pub(super) fn offset_ms(&self) -> i64 {
        self.inner.lock().offset_ms
    }

    /// The newest entry that was read.
    pub(super) fn seen(&self) -> EventId {
        self.inner.lock().seen
    }

    pub(super) fn set_seen(&self, id: EventId) {
        self.inner.lock().seen = id;
    }

    /// Notes what a beat has answered.
    pub(super) fn set_store(&self, newest: EventId, live: Vec<String>, users: u64) {
        let mut inner = self.inner.lock();
        (inner.newest, inner.live, inner.users) = (newest, live, users);
    }

    /// The names of the nodes besides `own` that were live when the store was last heard of.
    pub(super) fn others(&self, own: &str) -> Vec<String> {
        let inner = self.inner.lock();
        let others = inner.live.iter().filter(|name| *name != own);
        let mut others: Vec<String> = others.cloned().collect();
        others.sort_unstable();
        others
    }

    pub(super) fn count_unknown(&self) {
        self.inner.lock().unknown += 1;
    }

    /// Returns true unless the store was not heard of for longer than `max_stale`. Zero means that any time is
    /// short enough. A node that has never reached the store knows nothing.
    pub(super) fn is_current(&self, max_stale: Duration) -> bool {
        let inner = self.inner.lock();
        let Some(contact_ms) = inner.contact_ms else {
            return false;
        };
        let silent_ms = self.real.now_ms().saturating_sub(contact_ms);
        max_stale.is_zero() || silent_ms <= millis(max_stale)
    }

    pub(super) fn health(&self) -> EngineHealth {
        match &self.inner.lock().away {
            None => EngineHealth::Well,
            Some(reason) => EngineHealth::Away(Arc::clone(reason)),
        }
    }

    /// How far this node is behind the newest entry of the store, as of the last beat.
    pub(super) fn lag(&self) -> Duration {
        let inner = self.inner.lock();
        Duration::from_millis(inner.newest.ms.saturating_sub(inner.seen.ms))
    }

    pub(super) fn figures(&self) -> EngineFigures {
        let lag = self.lag();
        let inner = self.inner.lock();
        let contact_ms = inner.contact_ms.unwrap_or(0);
        EngineFigures {
            lag,
            beat_age: Duration::from_millis(self.real.now_ms().saturating_sub(contact_ms)),
            attached: inner.attached,
            unknown: inner.unknown,
            nodes: inner.live.len() as u64,
            users: inner.users,
            clock_offset_ms: inner.offset_ms,
            ..EngineFigures::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STALE: Duration = Duration::from_secs(30);

    #[test]
    fn a_node_without_contact_for_longer_than_max_stale_admits_nobody() {
        let clock = Clock::manual(1_000_000);
        let state = State::new(clock.clone());
        assert!(!state.is_current(STALE) && !state.is_current(Duration::ZERO));
        state.attached(Verdict::Start);
        assert_eq!(state.health(), EngineHealth::Well);
        state.away("gone");
        clock.advance(STALE);
        assert!(state.is_current(STALE));
        clock.advance(Duration::from_millis(1));
        assert!(!state.is_current(STALE) && state.is_current(Duration::ZERO));
        assert_eq!(state.figures().beat_age, STALE + Duration::from_millis(1));
        state.contact();
        assert!(state.is_current(STALE));
        assert_eq!(state.health(), EngineHealth::Away("gone".into()));
    }

    #[test]
    fn the_store_s_time_is_taken_from_the_middle_of_the_round_trip() {
        let clock = Clock::manual(1_000_000);
        let state = State::new(clock.clone());
        clock.advance(Duration::from_millis(20));
        state.set_time(1_000_510, 1_000_000);
        assert_eq!(state.offset_ms(), 500);
        state.set_time(999_010, 1_000_020);
        assert_eq!(state.offset_ms(), -1_010);
        // Within half of the round trip.
        state.set_time(1_000_021, 1_000_000);
        assert_eq!(state.offset_ms(), 0);
        state.set_time(1_000_022, 1_000_000);
        assert_eq!(state.offset_ms(), 12);
    }

    #[test]
    fn lag_is_the_time_between_the_newest_entry_and_the_newest_that_was_read() {
        let state = State::new(Clock::manual(1_000_000));
        state.set_store(
            EventId { ms: 900, seq: 0 },
            ["c", "b", "a"].map(str::to_owned).into(),
            5,
        );
        state.set_seen(EventId { ms: 400, seq: 7 });
        assert_eq!(state.lag(), Duration::from_millis(500));
        // Entries that arrived since the beat.
        state.set_seen(EventId { ms: 1_000, seq: 0 });
        assert_eq!((state.lag(), state.figures().nodes), (Duration::ZERO, 3));
        assert_eq!(state.others("b"), ["a", "c"]);
    }
}
