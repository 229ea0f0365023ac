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

/// How long the machine's clock has to stay ahead until that is its time: whoever set it wrong
/// has noticed by then.
const BELIEVED_AFTER_MS: u64 = 24 * 60 * 60 * 1_000;

/// Wall-clock time for what is forgotten for good once its time is over. A clock that is set far
/// ahead by mistake, at a start or later, must not forget what is needed when it is right again.
#[allow(clippy::struct_field_names)] // units stand in names
#[derive(Debug)]
pub struct SteadyTime {
    unix_ms: u64,
    /// When that was, on the monotonic clock.
    at_ms: u64,
    /// Since when the machine's clock has been ahead of it.
    ahead_since_ms: Option<u64>,
}

impl SteadyTime {
    /// Begins at `past_unix_ms`, a moment that has certainly been, or now if that is earlier.
    pub fn since(past_unix_ms: u64, clock: &Clock) -> Self {
        Self {
            unix_ms: past_unix_ms.min(clock.unix_ms()),
            at_ms: clock.now_ms(),
            ahead_since_ms: None,
        }
    }

    /// Unix milliseconds: the machine's, unless it went ahead of the time that has passed less
    /// than a day ago.
    pub fn unix_ms(&mut self, clock: &Clock) -> u64 {
        let (unix_ms, now_ms) = (clock.unix_ms(), clock.now_ms());
        let passed_ms = self.unix_ms.saturating_add(now_ms - self.at_ms);
        let ahead_since_ms = *self.ahead_since_ms.get_or_insert(now_ms);
        let is_believed = now_ms - ahead_since_ms >= BELIEVED_AFTER_MS;
        if unix_ms <= passed_ms || is_believed {
            self.unix_ms = unix_ms;
            self.ahead_since_ms = None;
        } else {
            self.unix_ms = passed_ms;
        }
        self.at_ms = now_ms;
        self.unix_ms
    }
}

/// Whole milliseconds of `duration`, saturating far beyond any uptime.
pub fn millis(duration: Duration) -> u64 {
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

    #[test]
    fn a_clock_that_is_ahead_is_believed_after_a_day() {
        const DAY_MS: u64 = 24 * 60 * 60 * 1_000;
        let clock = Clock::manual(100 * DAY_MS);
        let mut steady = SteadyTime::since(60 * DAY_MS, &clock);
        assert_eq!(steady.unix_ms(&clock), 60 * DAY_MS);
        clock.advance(Duration::from_millis(DAY_MS - 1));
        assert_eq!(steady.unix_ms(&clock), 61 * DAY_MS - 1);
        clock.advance(Duration::from_millis(1));
        assert_eq!(steady.unix_ms(&clock), 101 * DAY_MS);
        clock.advance(Duration::from_secs(5));
        assert_eq!(steady.unix_ms(&clock), 101 * DAY_MS + 5_000);
        // One that is behind is believed at once.
        let mut steady = SteadyTime::since(200 * DAY_MS, &clock);
        assert_eq!(steady.unix_ms(&clock), clock.unix_ms());
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
