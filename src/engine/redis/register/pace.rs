//! The pace of the batches, from a timer of the kernel. The runtime's own timers are rounded up to whole milliseconds,
//! so a pause of one would take up to two, and a client waits for it before it gets its place.

use std::io;
use std::os::fd::OwnedFd;
use std::time::Duration;

use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create,
    timerfd_settime,
};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use crate::sys;

/// Shortest time from the start of one batch to the start of the next: each costs the store a wake-up, so requests that
/// follow closely share one. A client waits for half of it on average.
const SHORTEST: Duration = Duration::from_micros(1_500);
/// What each request of a batch adds. The more clients come, the more of them share a wake-up: each waits a little longer,
/// and the machine connects more of them.
const PER_REQUEST: Duration = Duration::from_micros(75);
/// Longest time between two starts. It is far below the time after which a request is decided here.
const LONGEST: Duration = Duration::from_millis(4);

/// Keeps the starts of two batches apart.
pub(super) struct Pace(AsyncFd<OwnedFd>);

impl Pace {
    /// A pace that waits for nothing before the first [`begin`](Self::begin).
    ///
    /// # Errors
    /// The process has no descriptor left, or the runtime cannot watch it.
    pub(super) fn new() -> io::Result<Self> {
        let flags = TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC;
        let timer = timerfd_create(TimerfdClockId::Monotonic, flags)?;
        Ok(Self(sys::watch_readable(timer)?))
    }

    /// A batch with so many requests begins now.
    pub(super) fn begin(&self, requests: usize) -> io::Result<()> {
        let once = Itimerspec {
            it_interval: Timespec::default(),
            it_value: Timespec::try_from(interval(requests)).map_err(io::Error::other)?,
        };
        timerfd_settime(&self.0, TimerfdTimerFlags::empty(), &once)?;
        Ok(())
    }

    /// Waits until the next batch may begin. Call it once for each [`begin`](Self::begin).
    pub(super) async fn rest(&self) -> io::Result<()> {
        let expired = |timer: &OwnedFd| match rustix::io::read(timer, &mut [0; 8]) {
            Ok(_) => Ok(()),
            Err(error) => Err(error.into()),
        };
        self.0.async_io(Interest::READABLE, expired).await
    }
}

/// Time from the start of a batch with so many requests to the start of the next.
fn interval(requests: usize) -> Duration {
    let requests = u32::try_from(requests).unwrap_or(u32::MAX);
    (SHORTEST + PER_REQUEST.saturating_mul(requests)).min(LONGEST)
}

#[cfg(test)]
mod tests {
    use rustix::time::{ClockId, clock_gettime};

    use super::*;

    /// The clock that the timer goes by.
    fn now() -> Duration {
        let now = clock_gettime(ClockId::Monotonic);
        now.try_into().expect("it counts from the machine's start")
    }

    #[test]
    fn the_more_clients_come_the_more_of_them_share_a_batch() {
        assert_eq!(interval(0), SHORTEST);
        assert_eq!(interval(2), SHORTEST + 2 * PER_REQUEST);
        assert_eq!(interval(1_000), LONGEST);
        assert_eq!(interval(usize::MAX), LONGEST);
    }

    #[tokio::test]
    async fn the_next_batch_does_not_begin_early() {
        let pace = Pace::new().expect("the kernel has timers");
        for requests in [0, 10, 0] {
            let begun = now();
            pace.begin(requests).expect("a timer can be set");
            pace.rest().await.expect("a timer can be read");
            assert!(now() >= begun + interval(requests));
        }
    }
}
