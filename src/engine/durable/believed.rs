//! The time that the server believes, kept in a file across restarts. Log-outs are forgotten by it
//! once no token from before them can be valid. Neither the machine's clock nor the newest id will
//! do: a clock that is months fast, and an id issued under it, would forget them too soon.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;

use super::checksum::checksum;
use super::mark::open_private;
use crate::clock::{Clock, SteadyTime};

const BELIEVED: &str = "time";
/// Unix milliseconds, and the checksum.
const BYTES: usize = 16;
/// Between two writes. After a crash the next process continues from a time that is up to this much
/// too early, which only keeps log-outs for longer.
const EVERY_MS: u64 = 60 * 1_000;

/// The time that standings grow old by, and its file.
#[derive(Debug)]
pub(super) struct BelievedTime {
    /// None if it could not be made, on a full disk for instance.
    file: Option<File>,
    time: SteadyTime,
    next_write_ms: u64,
}

impl BelievedTime {
    /// Opens the file, or makes it where it is missing. Without it, a history that is not new begins
    /// at 0: nothing in it is old enough to be forgotten until the machine's clock is believed.
    pub(super) fn open(directory: &Path, is_new: bool, clock: &Clock) -> Self {
        let file = open_private(directory, BELIEVED)
            .inspect_err(|error| tracing::warn!(%error, "history.path: no file for the time"))
            .ok();
        let past_ms = match file.as_ref().and_then(read) {
            Some(unix_ms) => unix_ms,
            None if is_new => clock.unix_ms(),
            None => 0,
        };
        Self {
            file,
            time: SteadyTime::since(past_ms, clock),
            next_write_ms: clock.now_ms(),
        }
    }

    /// Unix milliseconds. It is also written to the file now and then; if that fails, the file keeps
    /// an earlier time.
    pub(super) fn unix_ms(&mut self, clock: &Clock) -> u64 {
        let unix_ms = self.time.unix_ms(clock);
        if clock.now_ms() >= self.next_write_ms {
            self.next_write_ms = clock.now_ms() + EVERY_MS;
            self.write(unix_ms);
        }
        unix_ms
    }

    /// Writes it for the next process.
    pub(super) fn close(&mut self, clock: &Clock) {
        let unix_ms = self.time.unix_ms(clock);
        self.write(unix_ms);
    }

    fn write(&self, unix_ms: u64) {
        let mut bytes = [0; BYTES];
        bytes[..8].copy_from_slice(&unix_ms.to_le_bytes());
        bytes[8..].copy_from_slice(&sum(unix_ms).to_le_bytes());
        let written = self.file.as_ref().map(|file| file.write_all_at(&bytes, 0));
        if let Some(Err(error)) = written {
            tracing::debug!(%error, "history.path: the time could not be written");
        }
    }
}

fn read(file: &File) -> Option<u64> {
    let mut bytes = [0; BYTES];
    file.read_exact_at(&mut bytes, 0).ok()?;
    let (unix_ms, found) = bytes.split_at(8);
    let unix_ms = u64::from_le_bytes(unix_ms.try_into().ok()?);
    (found == sum(unix_ms).to_le_bytes()).then_some(unix_ms)
}

fn sum(unix_ms: u64) -> u64 {
    checksum("time", &[&unix_ms.to_le_bytes()])
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const DAY: Duration = Duration::from_secs(24 * 60 * 60);
    const MONTH_MS: u64 = 30 * 24 * 60 * 60 * 1_000;

    #[test]
    fn a_clock_that_is_fast_is_not_believed_however_often_the_process_starts() {
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
