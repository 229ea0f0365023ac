//! The one place that reads time. Code asks a [`Clock`]; tests hold a manual one and move it.
//!
//! Two readings: a monotonic count of milliseconds since the clock was made (deadlines, the wheel)
//! and wall-clock milliseconds since the Unix epoch (event ids, token times).

#![allow(clippy::disallowed_methods)] // this file is where the bans in clippy.toml point to

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use tokio::sync::watch;

/// A cheap handle to a source of time; clones read the same time.
#[derive(Clone, Debug)]
pub struct Clock(Source);

#[derive(Clone, Debug)]
enum Source {
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
        Self(Source::System(Instant::now()))
    }

    /// A clock that stands still at `unix_ms` until [`Clock::advance`] moves it.
    pub fn manual(unix_ms: u64) -> Self {
        Self(Source::Manual(Arc::new(Manual {
            elapsed_ms: watch::Sender::new(0),
            unix_epoch_ms: AtomicU64::new(unix_ms),
        })))
    }

    /// Milliseconds since the clock was made; never goes back.
    pub fn now_ms(&self) -> u64 {
        match &self.0 {
            Source::System(start) => millis(start.elapsed()),
            Source::Manual(manual) => *manual.elapsed_ms.borrow(),
        }
    }

    /// Wall-clock milliseconds since the Unix epoch; may jump when the machine's clock is set.
    pub fn unix_ms(&self) -> u64 {
        match &self.0 {
            Source::System(_) => SystemTime::now()
                .duration_since(UNIX_EPOCH)
                .map_or(0, millis),
            Source::Manual(manual) => {
                manual.unix_epoch_ms.load(Ordering::Relaxed) + *manual.elapsed_ms.borrow()
            }
        }
    }

    /// Waits until [`Clock::now_ms`] has reached `at_ms`.
    pub async fn sleep_until(&self, at_ms: u64) {
        match &self.0 {
            Source::System(start) => {
                let at = *start + Duration::from_millis(at_ms);
                tokio::time::sleep_until(at.into()).await;
            }
            Source::Manual(manual) => {
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

    /// What `future` comes to, if it does before `time` is over; past that it is not even begun.
    pub async fn within<T>(&self, time: Duration, future: impl Future<Output = T>) -> Option<T> {
        tokio::select! {
            biased;
            () = self.sleep(time) => None,
            outcome = future => Some(outcome),
        }
    }

    /// Moves a manual clock on and wakes whoever waits for a moment that has come.
    ///
    /// # Panics
    /// On a system clock: nothing moves that one.
    pub fn advance(&self, duration: Duration) {
        match &self.0 {
            Source::System(_) => panic!("only a manual clock can be advanced"),
            Source::Manual(manual) => manual
                .elapsed_ms
                .send_modify(|now_ms| *now_ms += millis(duration)),
        }
    }
}

/// How long the machine's clock has to stay ahead until it is believed: whoever set it wrong has
/// noticed by then.
const BELIEVED_AFTER_MS: u64 = 24 * 60 * 60 * 1_000;
/// The same for a clock that was watched by several processes, all together. Longer, because a
/// restart may be somebody at work on the wrong clock; bounded, because a process that restarts
/// every night never runs for a whole day.
const BELIEVED_AFTER_RESTARTS_MS: u64 = 7 * BELIEVED_AFTER_MS;

/// Wall-clock time for what is forgotten for good once its time is over. A clock that is set far
/// ahead by mistake, at a start or later, must not forget what is needed when it is right again.
#[derive(Clone, Debug)]
pub struct SteadyTime {
    unix_ms: u64,
    /// When that was, on the monotonic clock.
    at_ms: u64,
    /// What this process has seen of the machine's clock being ahead.
    here: Ahead,
    /// What it and those before it have.
    ever: Ahead,
}

/// How far the machine's clock has been ahead of the time believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Ahead {
    /// At the least. Only so much is believed in the end: a clock that goes far ahead later than
    /// `for_ms` began has to stay there for as long again.
    least_ms: u64,
    /// For so long, without having been right or behind.
    for_ms: u64,
}

/// What a [`SteadyTime`] hands to the next process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Believed {
    /// The time believed.
    pub unix_ms: u64,
    /// How far the machine's clock has been ahead of it, at the least.
    pub least_ahead_ms: u64,
    /// For how long it was seen ahead.
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
    /// Only that `unix_ms` has certainly been.
    pub fn at(unix_ms: u64) -> Self {
        Self {
            unix_ms,
            least_ahead_ms: Ahead::NOT_YET.least_ms,
            ahead_for_ms: Ahead::NOT_YET.for_ms,
        }
    }
}

impl SteadyTime {
    /// Goes on from what an earlier process believed; begins now if that is earlier.
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

    /// Begins now.
    pub fn now(clock: &Clock) -> Self {
        Self::since(Believed::at(clock.unix_ms()), clock)
    }

    /// Unix milliseconds: the machine's, as far as it is not ahead, or has been for long enough.
    /// Called every few seconds, to see a clock that is right for a while.
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

    /// For the next process.
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

/// Whole milliseconds of `duration`, saturating far beyond any uptime.
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

    /// Moves the wall clock alone.
    fn set_ahead(clock: &Clock, by_ms: u64) {
        let Source::Manual(manual) = &clock.0 else {
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
        // One that is behind is believed at once.
        let mut steady = SteadyTime::since(Believed::at(200 * DAY_MS), &clock);
        assert_eq!(steady.unix_ms(&clock), clock.unix_ms());
    }

    #[test]
    fn a_clock_that_goes_far_ahead_while_it_is_a_little_ahead_is_not_believed_the_sooner() {
        let clock = Clock::manual(100 * DAY_MS);
        // Down for ten seconds before.
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

    /// What a process that runs for 23 hours, by a clock that begins at `unix_ms`, leaves to the next.
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
        // Seven hours more; what it was down for is believed in the next week.
        believed = life(believed, 107 * DAY_MS);
        assert_eq!(
            believed.unix_ms,
            107 * DAY_MS + 23 * millis(HOUR) - 7 * millis(HOUR)
        );
    }

    #[test]
    fn a_clock_that_was_right_in_between_is_no_evidence_of_what_it_was_before() {
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
    async fn what_comes_in_time_is_had_and_what_does_not_is_given_up() {
        let clock = Clock::manual(0);
        let second = Duration::from_secs(1);
        assert_eq!(clock.within(second, async { 1 }).await, Some(1));
        assert_eq!(clock.within(Duration::ZERO, async { 1 }).await, None);
        let late = clock.within(second, std::future::pending::<()>());
        let (late, ()) = tokio::join!(late, async { clock.advance(second) });
        assert_eq!(late, None);
    }
}
