//! The only module that reads the time. Code asks a [`Clock`]; tests use a manual one and advance it.
//!
//! A clock has two readings. The monotonic one counts milliseconds since the clock was made, for
//! deadlines and the wheel. The wall clock counts milliseconds since the Unix epoch, for ids and tokens.

#![allow(clippy::disallowed_methods)] // this file is where the bans in clippy.toml point to

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use tokio::sync::watch;

/// A cheap handle to a source of time. Clones read the same time.
#[derive(Clone, Debug)]
pub struct Clock(TimeSource);

#[derive(Clone, Debug)]
enum TimeSource {
    System(Instant),
    Manual(Arc<Manual>),
}

#[derive(Debug)]
struct Manual {
    elapsed_ms: watch::Sender<u64>,
    unix_epoch_ms: AtomicU64,
}

impl Clock {
    /// The machine's time.
    pub fn system() -> Self {
        Self(TimeSource::System(Instant::now()))
    }

    /// A clock that stands still at `unix_ms` until [`Clock::advance`] moves it.
    pub fn manual(unix_ms: u64) -> Self {
        Self(TimeSource::Manual(Arc::new(Manual {
            elapsed_ms: watch::Sender::new(0),
            unix_epoch_ms: AtomicU64::new(unix_ms),
        })))
    }

    /// Milliseconds since the clock was made; never goes back.
    pub fn now_ms(&self) -> u64 {
        match &self.0 {
            TimeSource::System(start) => millis(start.elapsed()),
            TimeSource::Manual(manual) => *manual.elapsed_ms.borrow(),
        }
    }

    /// Wall-clock milliseconds since the Unix epoch; may jump when the machine's clock is set.
    pub fn unix_ms(&self) -> u64 {
        match &self.0 {
            TimeSource::System(_) => SystemTime::now()
                .duration_since(UNIX_EPOCH)
                .map_or(0, millis),
            TimeSource::Manual(manual) => {
                manual.unix_epoch_ms.load(Ordering::Relaxed) + *manual.elapsed_ms.borrow()
            }
        }
    }

    /// How far a manual clock is ahead of the machine's, in milliseconds; 0 for the machine's own.
    pub(crate) fn shift_ms(&self) -> i64 {
        match &self.0 {
            TimeSource::System(_) => 0,
            TimeSource::Manual(_) => {
                let machine = Self::system().unix_ms();
                self.unix_ms().cast_signed() - machine.cast_signed()
            }
        }
    }

    /// Waits until [`Clock::now_ms`] has reached `at_ms`.
    pub async fn sleep_until(&self, at_ms: u64) {
        match &self.0 {
            TimeSource::System(start) => {
                let at = *start + Duration::from_millis(at_ms);
                tokio::time::sleep_until(at.into()).await;
            }
            TimeSource::Manual(manual) => {
                let mut elapsed_ms = manual.elapsed_ms.subscribe();
                // The sender lives in `manual`, so the channel cannot close while we hold it.
                let _ = elapsed_ms.wait_for(|now_ms| *now_ms >= at_ms).await;
            }
        }
    }

    /// Waits for `duration`, rounded up to a millisecond.
    pub async fn sleep(&self, duration: Duration) {
        let rounded_ms = u64::try_from(duration.as_nanos().div_ceil(1_000_000)).unwrap_or(u64::MAX);
        self.sleep_until(self.now_ms().saturating_add(rounded_ms))
            .await;
    }

    /// The result of `future`, if it is ready within `time`. With no time left it is not even polled.
    pub async fn within<T>(&self, time: Duration, future: impl Future<Output = T>) -> Option<T> {
        tokio::select! {
            biased;
            () = self.sleep(time) => None,
            outcome = future => Some(outcome),
        }
    }

    /// Advances a manual clock, and wakes everything that waits for a moment which has come.
    ///
    /// # Panics
    /// On a system clock.
    pub fn advance(&self, duration: Duration) {
        match &self.0 {
            TimeSource::System(_) => panic!("only a manual clock can be advanced"),
            TimeSource::Manual(manual) => manual
                .elapsed_ms
                .send_modify(|now_ms| *now_ms += millis(duration)),
        }
    }
}

/// How long the machine's clock has to stay ahead until it is believed. An operator who set it wrong has
/// noticed by then.
const BELIEVED_AFTER_MS: u64 = 24 * 60 * 60 * 1_000;
/// The same for a clock that several processes have watched, all together. It is longer, because a
/// restart may mean that an operator is correcting the clock. It is bounded, because a process that
/// restarts every night never runs for a whole day.
const BELIEVED_AFTER_RESTARTS_MS: u64 = 7 * BELIEVED_AFTER_MS;

/// Wall-clock time for deciding what can be deleted for good. If a clock is set far ahead by mistake,
/// nothing may be deleted that is still needed once it is right again.
#[derive(Clone, Debug)]
pub struct SteadyTime {
    unix_ms: u64,
    /// The moment of `unix_ms` on the monotonic clock.
    at_ms: u64,
    /// How far ahead this process has seen the machine's clock.
    here: Ahead,
    /// The same, including earlier processes.
    ever: Ahead,
}

/// How far the machine's clock has been ahead of the believed time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Ahead {
    /// The smallest lead seen. Only this much is believed in the end: if the clock goes further ahead
    /// after `for_ms` began, the rest has to last as long again.
    least_ms: u64,
    /// For how long it has been ahead without interruption.
    for_ms: u64,
}

/// The state that a [`SteadyTime`] leaves to the next process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Believed {
    /// The believed time.
    pub unix_ms: u64,
    /// The smallest lead of the machine's clock seen.
    pub least_ahead_ms: u64,
    /// For how long it was ahead.
    pub ahead_for_ms: u64,
}

impl Ahead {
    const NOT_YET: Self = Self {
        least_ms: u64::MAX,
        for_ms: 0,
    };

    fn note(&mut self, ahead_ms: u64, passed_ms: u64) {
        if ahead_ms == 0 {
            *self = Self::NOT_YET;
            return;
        }
        if *self != Self::NOT_YET {
            self.for_ms = self.for_ms.saturating_add(passed_ms);
        }
        self.least_ms = self.least_ms.min(ahead_ms);
    }
}

impl Believed {
    /// Only that `unix_ms` is in the past.
    pub fn at(unix_ms: u64) -> Self {
        Self {
            unix_ms,
            least_ahead_ms: Ahead::NOT_YET.least_ms,
            ahead_for_ms: Ahead::NOT_YET.for_ms,
        }
    }
}

impl SteadyTime {
    /// Continues from what an earlier process believed, or from now if that is earlier.
    pub fn since(past: Believed, clock: &Clock) -> Self {
        Self {
            unix_ms: past.unix_ms.min(clock.unix_ms()),
            at_ms: clock.now_ms(),
            here: Ahead::NOT_YET,
            ever: Ahead {
                least_ms: past.least_ahead_ms,
                for_ms: past.ahead_for_ms,
            },
        }
    }

    /// Starts from now.
    pub fn now(clock: &Clock) -> Self {
        Self::since(Believed::at(clock.unix_ms()), clock)
    }

    /// Unix milliseconds: the machine's, unless that is ahead and has not been so for long enough. Call this
    /// every few seconds, so that it notices a clock that is right for a short time.
    pub fn unix_ms(&mut self, clock: &Clock) -> u64 {
        self.at(clock.unix_ms(), clock.now_ms())
    }

    /// The same, from another clock's Unix milliseconds and this machine's monotonic ones.
    pub fn at(&mut self, unix_ms: u64, now_ms: u64) -> u64 {
        let passed_ms = now_ms - self.at_ms;
        self.at_ms = now_ms;
        self.unix_ms = self.unix_ms.saturating_add(passed_ms).min(unix_ms);
        self.note(unix_ms, passed_ms);
        let believed = [
            (self.here, BELIEVED_AFTER_MS),
            (self.ever, BELIEVED_AFTER_RESTARTS_MS),
        ];
        if let Some((ahead, _)) = believed
            .iter()
            .find(|(ahead, bound)| ahead.for_ms >= *bound)
        {
            self.unix_ms += ahead.least_ms;
            (self.here, self.ever) = (Ahead::NOT_YET, Ahead::NOT_YET);
            self.note(unix_ms, 0);
        }
        self.unix_ms
    }

    /// The state for the next process.
    pub fn believed(&self) -> Believed {
        Believed {
            unix_ms: self.unix_ms,
            least_ahead_ms: self.ever.least_ms,
            ahead_for_ms: self.ever.for_ms,
        }
    }

    fn note(&mut self, unix_ms: u64, passed_ms: u64) {
        let ahead_ms = unix_ms - self.unix_ms;
        self.here.note(ahead_ms, passed_ms);
        self.ever.note(ahead_ms, passed_ms);
    }
}

/// Waits in real time, also in tests: for what a kernel does meanwhile.
pub(crate) async fn real_sleep(duration: Duration) {
    tokio::time::sleep(duration).await;
}

/// Whole milliseconds of `duration`; saturates far beyond any uptime.
pub(crate) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_manual_clock_wakes_sleepers_when_their_moment_comes() {
        let clock = Clock::manual(1_000);
        let sleeper = tokio::spawn({
            let clock = clock.clone();
            async move { clock.sleep(Duration::from_secs(30)).await }
        });
        tokio::task::yield_now().await;
        clock.advance(Duration::from_millis(29_999));
        tokio::task::yield_now().await;
        assert!(!sleeper.is_finished());
        clock.advance(Duration::from_millis(1));
        sleeper.await.unwrap();
        assert_eq!((clock.now_ms(), clock.unix_ms()), (30_000, 31_000));
    }

    /// Moves only the wall clock.
    fn set_ahead(clock: &Clock, by_ms: u64) {
        let TimeSource::Manual(manual) = &clock.0 else {
            panic!("only a manual clock can be set");
        };
        manual.unix_epoch_ms.fetch_add(by_ms, Ordering::Relaxed);
    }

    const HOUR: Duration = Duration::from_secs(60 * 60);
    const DAY_MS: u64 = 24 * 60 * 60 * 1_000;

    #[test]
    fn a_clock_that_is_ahead_is_believed_after_a_day() {
        let clock = Clock::manual(100 * DAY_MS);
        let mut steady = SteadyTime::since(Believed::at(60 * DAY_MS), &clock);
        assert_eq!(steady.unix_ms(&clock), 60 * DAY_MS);
        clock.advance(Duration::from_millis(DAY_MS - 1));
        assert_eq!(steady.unix_ms(&clock), 61 * DAY_MS - 1);
        clock.advance(Duration::from_millis(1));
        assert_eq!(steady.unix_ms(&clock), 101 * DAY_MS);
        clock.advance(Duration::from_secs(5));
        assert_eq!(steady.unix_ms(&clock), 101 * DAY_MS + 5_000);
        // A clock that is behind is believed at once.
        let mut steady = SteadyTime::since(Believed::at(200 * DAY_MS), &clock);
        assert_eq!(steady.unix_ms(&clock), clock.unix_ms());
    }

    #[test]
    fn a_clock_that_goes_far_ahead_while_it_is_a_little_ahead_is_not_believed_sooner() {
        let clock = Clock::manual(100 * DAY_MS);
        // The process was down for the ten seconds before.
        let mut steady = SteadyTime::since(Believed::at(100 * DAY_MS - 10_000), &clock);
        for _ in 0..23 {
            steady.unix_ms(&clock);
            clock.advance(HOUR);
        }
        set_ahead(&clock, 90 * DAY_MS);
        for hours in 23..47 {
            let unix_ms = steady.unix_ms(&clock);
            let passed_ms = hours * millis(HOUR);
            let is_day_over = hours >= 24;
            let believed_ms = 100 * DAY_MS + passed_ms - if is_day_over { 0 } else { 10_000 };
            assert_eq!(unix_ms, believed_ms, "{hours}");
            clock.advance(HOUR);
        }
        clock.advance(HOUR);
        assert_eq!(steady.unix_ms(&clock), clock.unix_ms());
    }

    /// Runs a process for 23 hours, with a clock that starts at `unix_ms`. Returns the state it leaves.
    fn life(past: Believed, unix_ms: u64) -> Believed {
        let clock = Clock::manual(unix_ms);
        let mut steady = SteadyTime::since(past, &clock);
        for _ in 0..23 {
            steady.unix_ms(&clock);
            clock.advance(HOUR);
        }
        steady.unix_ms(&clock);
        steady.believed()
    }

    #[test]
    fn processes_that_never_run_for_a_day_believe_a_clock_after_a_week() {
        let mut believed = Believed::at(0);
        for day in 0..7 {
            believed = life(believed, (100 + day) * DAY_MS);
            assert_eq!(believed.unix_ms, (day + 1) * 23 * millis(HOUR));
        }
        // After seven more hours. The downtime is believed in the next week.
        believed = life(believed, 107 * DAY_MS);
        assert_eq!(
            believed.unix_ms,
            107 * DAY_MS + 23 * millis(HOUR) - 7 * millis(HOUR)
        );
    }

    #[test]
    fn a_clock_that_was_right_in_between_starts_the_wait_again() {
        let mut believed = Believed::at(0);
        for day in 0..20 {
            let is_right = day % 7 == 6;
            let unix_ms = if is_right {
                believed.unix_ms
            } else {
                100 * DAY_MS
            };
            believed = life(believed, unix_ms);
            assert_eq!(believed.unix_ms, (day + 1) * 23 * millis(HOUR));
        }
    }

    #[tokio::test]
    async fn within_returns_a_result_only_if_it_is_in_time() {
        let clock = Clock::manual(0);
        let second = Duration::from_secs(1);
        assert_eq!(clock.within(second, async { 1 }).await, Some(1));
        assert_eq!(clock.within(Duration::ZERO, async { 1 }).await, None);
        let late = clock.within(second, std::future::pending::<()>());
        let (late, ()) = tokio::join!(late, async { clock.advance(second) });
        assert_eq!(late, None);
    }
}
