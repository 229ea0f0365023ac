//! The only module that reads the time.
//!
//! Latency is measured across processes, so the clock is the kernel's `CLOCK_MONOTONIC`: publisher,
//! workers and floor share the same nanosecond count.

use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

/// Nanoseconds of `CLOCK_MONOTONIC`; never goes back.
pub(crate) fn now_ns() -> u64 {
    let time = clock_gettime(ClockId::Monotonic);
    nanos(time.tv_sec, time.tv_nsec)
}

/// CPU seconds that the calling thread has used.
pub(crate) fn thread_cpu_s() -> f64 {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    seconds_between(0, nanos(time.tv_sec, time.tv_nsec))
}

/// Wall-clock seconds since the Unix epoch, for token times.
pub(crate) fn unix_s() -> u64 {
    u64::try_from(clock_gettime(ClockId::Realtime).tv_sec).unwrap_or(0)
}

/// A deadline on the monotonic clock.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Deadline(u64);

impl Deadline {
    /// A deadline `duration` from now.
    pub(crate) fn after(duration: Duration) -> Self {
        Self(now_ns().saturating_add(duration_ns(duration)))
    }

    /// Returns true if the deadline has passed.
    pub(crate) fn passed(self) -> bool {
        now_ns() >= self.0
    }
}

/// Sleeps until [`now_ns`] has reached `at_ns`; returns at once if it has.
pub(crate) fn sleep_until_ns(at_ns: u64) {
    let now_ns = now_ns();
    if at_ns > now_ns {
        std::thread::sleep(Duration::from_nanos(at_ns - now_ns));
    }
}

/// Seconds between two readings of [`now_ns`].
#[expect(clippy::cast_precision_loss, reason = "a run is shorter than 2^53 ns")]
pub(crate) fn seconds_between(from_ns: u64, to_ns: u64) -> f64 {
    to_ns.saturating_sub(from_ns) as f64 / 1e9
}

/// `duration` as whole nanoseconds.
pub(crate) fn duration_ns(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

fn nanos(seconds: i64, nanos: i64) -> u64 {
    // The monotonic clock starts at zero when the machine boots.
    u64::try_from(seconds).unwrap_or(0) * 1_000_000_000 + u64::try_from(nanos).unwrap_or(0)
}
