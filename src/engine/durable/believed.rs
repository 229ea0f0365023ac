//! The time that the server believes, kept in a file across restarts. A log-out is forgotten by this time,
//! once no token from before it can be valid. By a clock that is months fast, or by an id issued under it,
//! log-outs would be forgotten too soon.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;

use super::checksum::checksum;
use super::mark::open_private;
use crate::clock::{Believed, Clock, SteadyTime};

const BELIEVED: &str = "time";
/// Size of the file: the numbers of a [`Believed`], and the checksum.
const BYTES: usize = 32;
/// Time between two writes. After a crash the next process continues from a time that is up to this much too
/// early, which only keeps log-outs for longer.
const EVERY_MS: u64 = 60 * 1_000;

/// The time by which standings age, and its file.
#[derive(Debug)]
pub(super) struct BelievedTime {
    /// `None` if it could not be created, for example on a full disk.
    file: Option<File>,
    time: SteadyTime,
    next_write_ms: u64,
}

impl BelievedTime {
    /// Opens the file, or creates it. If the file is missing, a history that is not new begins at 0: nothing
    /// in it is old enough to be forgotten until the machine's clock is believed.
    pub(super) fn open(directory: &Path, is_new: bool, clock: &Clock) -> Self {
        let file = open_private(directory, BELIEVED)
            .inspect_err(|error| tracing::warn!(%error, "history.path: no file for the time"))
            .ok();
        let past = match file.as_ref().and_then(read) {
            Some(believed) => believed,
            None if is_new => Believed::at(clock.unix_ms()),
            None => Believed::at(0),
        };
        Self {
            file,
            time: SteadyTime::since(past, clock),
            next_write_ms: clock.now_ms(),
        }
    }

    /// The time of a process that is still writing it.
    pub(super) fn of_another(directory: &Path, clock: &Clock) -> SteadyTime {
        let file = File::open(directory.join(BELIEVED));
        let past = file.ok().and_then(|file| read(&file));
        SteadyTime::since(past.unwrap_or(Believed::at(0)), clock)
    }

    /// A copy for others, which continues from here.
    pub(super) fn steady(&self) -> SteadyTime {
        self.time.clone()
    }

    /// The time, in Unix milliseconds. Also writes it to the file once a minute. If that fails, the file
    /// keeps an earlier time.
    pub(super) fn unix_ms(&mut self, clock: &Clock) -> u64 {
        let unix_ms = self.time.unix_ms(clock);
        if clock.now_ms() >= self.next_write_ms {
            self.next_write_ms = clock.now_ms() + EVERY_MS;
            self.write();
        }
        unix_ms
    }

    /// Writes the time for the next process.
    pub(super) fn close(&mut self, clock: &Clock) {
        self.time.unix_ms(clock);
        self.write();
    }

    fn write(&self) {
        let Believed {
            unix_ms,
            least_ahead_ms,
            ahead_for_ms,
        } = self.time.believed();
        let mut bytes = [0; BYTES];
        let numbers = [unix_ms, least_ahead_ms, ahead_for_ms];
        for (place, number) in bytes.chunks_exact_mut(8).zip(numbers) {
            place.copy_from_slice(&number.to_le_bytes());
        }
        let sum = checksum("time", &[&bytes[..BYTES - 8]]);
        bytes[BYTES - 8..].copy_from_slice(&sum.to_le_bytes());
        let written = self.file.as_ref().map(|file| file.write_all_at(&bytes, 0));
        if let Some(Err(error)) = written {
            tracing::debug!(%error, "history.path: the time could not be written");
        }
    }
}

fn read(file: &File) -> Option<Believed> {
    let mut bytes = [0; BYTES];
    file.read_exact_at(&mut bytes, 0).ok()?;
    let mut numbers = [0; BYTES / 8];
    for (number, place) in numbers.iter_mut().zip(bytes.chunks_exact(8)) {
        *number = u64::from_le_bytes(place.try_into().ok()?);
    }
    let [unix_ms, least_ahead_ms, ahead_for_ms, sum] = numbers;
    let is_whole = sum == checksum("time", &[&bytes[..BYTES - 8]]);
    is_whole.then_some(Believed {
        unix_ms,
        least_ahead_ms,
        ahead_for_ms,
    })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const DAY: Duration = Duration::from_secs(24 * 60 * 60);
    const MONTH_MS: u64 = 30 * 24 * 60 * 60 * 1_000;

    #[test]
    fn restarts_do_not_make_a_fast_clock_believed_sooner() {
        let directory = tempfile::tempdir().unwrap();
        let clock = Clock::manual(1_000_000);
        let mut time = BelievedTime::open(directory.path(), true, &clock);
        clock.advance(Duration::from_secs(5));
        time.close(&clock);
        for starts in 1..4 {
            let clock = Clock::manual(1_005_000 + 3 * MONTH_MS);
            let mut time = BelievedTime::open(directory.path(), false, &clock);
            clock.advance(DAY / 2);
            let half_days_ms = starts * 12 * 60 * 60 * 1_000;
            assert_eq!(time.unix_ms(&clock), 1_005_000 + half_days_ms);
            time.close(&clock);
        }
        // A clock that is right again is believed at once.
        let clock = Clock::manual(1_006_000);
        let mut time = BelievedTime::open(directory.path(), false, &clock);
        assert_eq!(time.unix_ms(&clock), 1_006_000);
    }

    #[test]
    fn a_file_that_is_missing_or_damaged_makes_nothing_old() {
        let directory = tempfile::tempdir().unwrap();
        let clock = Clock::manual(MONTH_MS);
        let open = |is_new| BelievedTime::open(directory.path(), is_new, &clock);
        assert_eq!(open(false).unix_ms(&clock), 0);
        open(true).close(&clock);
        for byte in 0..BYTES {
            let path = directory.path().join(BELIEVED);
            let mut bytes = std::fs::read(&path).unwrap();
            bytes[byte] ^= 1;
            std::fs::write(&path, &bytes).unwrap();
            assert_eq!(open(false).time.unix_ms(&clock), 0, "{byte}");
            bytes[byte] ^= 1;
            std::fs::write(&path, &bytes).unwrap();
        }
        clock.advance(DAY);
        let mut time = open(false);
        time.unix_ms(&clock);
        clock.advance(DAY);
        assert_eq!(time.unix_ms(&clock), clock.unix_ms());
    }
}
