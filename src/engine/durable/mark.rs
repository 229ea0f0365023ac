//! The mark: how far the history went when something was last accepted. It is a file of its own, so that a
//! database or a write-ahead log that lost its end is not taken for a complete one.
//!
//! Two slots are written in turn, so that a torn write leaves the one before it. The file is not flushed per
//! commit. After a crash of the process it is exact. After a crash of the machine it may be old, and then it
//! claims less than there was.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;

use super::checksum::checksum;
use crate::event::EventId;

pub(super) const MARK: &str = "mark";
/// Distance between the slots: a page, so that they share no sector.
const SLOT_DISTANCE: u64 = 4_096;
/// Six numbers, of which the last is the checksum.
const SLOT_BYTES: usize = 48;

/// How far the history went.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Mark {
    /// Number of the newest row of `events`.
    pub(super) rows: u64,
    /// The newest id that was given out, stored or not.
    pub(super) last_id: EventId,
    /// Number of the newest session change.
    pub(super) changes: u64,
}

/// The mark that an earlier process left.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct FoundMark {
    pub(super) exists: bool,
    /// Neither slot is damaged, so no newer mark is lost.
    pub(super) is_intact: bool,
    /// The newest mark that can be read.
    pub(super) mark: Mark,
    /// The lock's file says that there was a history in this directory, even if the other files are missing.
    pub(super) is_of_history: bool,
}

/// The mark's file.
#[derive(Debug)]
pub(super) struct MarkFile {
    file: File,
    /// Writes so far. The next one goes to the slot of its parity.
    writes: u64,
    /// The last write failed.
    is_failing: bool,
    #[cfg(test)]
    is_disk_broken: bool,
}

impl MarkFile {
    /// Opens the file, or creates it, and reads it.
    pub(super) fn open(directory: &Path) -> io::Result<(Self, FoundMark)> {
        let file = open_private(directory, MARK)?;
        let exists = file.metadata()?.len() > 0;
        let slots = [read_slot(&file, 0), read_slot(&file, 1)];
        let newest = slots.iter().flatten().max_by_key(|(writes, _)| *writes);
        let (writes, mark) = newest.copied().unwrap_or_default();
        // The other slot holds the write before, unless there was none.
        let other = slots[usize::from(writes % 2 == 0)].map(|(writes, _)| writes);
        let is_intact = writes > 0 && (writes == 1 || other == Some(writes - 1));
        let found = FoundMark {
            exists,
            is_intact,
            mark,
            is_of_history: false,
        };
        let opened = Self {
            file,
            writes,
            is_failing: false,
            #[cfg(test)]
            is_disk_broken: false,
        };
        Ok((opened, found))
    }

    /// Replaces the older of the two slots. If that fails, the file is emptied if possible: an old
    /// mark would make a history that lost its end look complete. The next write replaces both.
    pub(super) fn write(&mut self, mark: Mark) -> io::Result<()> {
        if self.is_failing {
            return self.rewrite(mark);
        }
        let written = self.write_slot(mark);
        self.note(written)
    }

    /// Replaces both slots, and any damage in them. Flushes the file.
    pub(super) fn rewrite(&mut self, mark: Mark) -> io::Result<()> {
        let written = self
            .write_slot(mark)
            .and_then(|()| self.write_slot(mark))
            .and_then(|()| self.file.sync_data());
        self.note(written)
    }

    /// Returns true if the last write failed, so that the file does not say how far the history went.
    pub(super) fn is_failing(&self) -> bool {
        self.is_failing
    }

    /// Makes writes fail as on a broken disk.
    #[cfg(test)]
    pub(super) fn break_disk(&mut self, is_broken: bool) {
        self.is_disk_broken = is_broken;
    }

    fn note(&mut self, written: io::Result<()>) -> io::Result<()> {
        self.is_failing = written.is_err();
        if self.is_failing {
            // The first error is the one that counts.
            let _ = self.file.set_len(0);
        }
        written
    }

    fn write_slot(&mut self, mark: Mark) -> io::Result<()> {
        #[cfg(test)]
        if self.is_disk_broken {
            return Err(io::Error::other("broken"));
        }
        let writes = self.writes + 1;
        let numbers = [
            writes,
            mark.rows,
            mark.last_id.ms,
            mark.last_id.seq,
            mark.changes,
        ];
        let mut slot = [0; SLOT_BYTES];
        for (place, number) in slot.chunks_exact_mut(8).zip(numbers) {
            place.copy_from_slice(&number.to_le_bytes());
        }
        let sum = checksum("mark", &[&slot[..SLOT_BYTES - 8]]);
        slot[SLOT_BYTES - 8..].copy_from_slice(&sum.to_le_bytes());
        self.file
            .write_all_at(&slot, (writes % 2) * SLOT_DISTANCE)?;
        self.writes = writes;
        Ok(())
    }
}

/// Opens a small file of the history, which only this server may read. Creates it if it is missing.
pub(super) fn open_private(directory: &Path, name: &str) -> io::Result<File> {
    OpenOptions::new()
        .create(true)
        .truncate(false)
        .read(true)
        .write(true)
        .mode(0o600)
        .open(directory.join(name))
}

/// A slot's number of writes and its mark; `None` if its checksum is wrong.
fn read_slot(file: &File, slot: u64) -> Option<(u64, Mark)> {
    let mut bytes = [0; SLOT_BYTES];
    file.read_exact_at(&mut bytes, slot * SLOT_DISTANCE).ok()?;
    let mut numbers = [0; SLOT_BYTES / 8];
    for (number, place) in numbers.iter_mut().zip(bytes.chunks_exact(8)) {
        *number = u64::from_le_bytes(place.try_into().ok()?);
    }
    let [writes, rows, ms, seq, changes, sum] = numbers;
    let is_whole = sum == checksum("mark", &[&bytes[..SLOT_BYTES - 8]]);
    let mark = Mark {
        rows,
        last_id: EventId { ms, seq },
        changes,
    };
    (is_whole && writes % 2 == slot).then_some((writes, mark))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    fn mark(n: u64) -> Mark {
        Mark {
            rows: n,
            last_id: EventId { ms: n, seq: n },
            changes: n,
        }
    }

    #[test]
    fn the_newest_mark_is_read_and_damage_is_noticed() {
        let directory = tempfile::tempdir().unwrap();
        let (mut file, found) = MarkFile::open(directory.path()).unwrap();
        assert_eq!(found, FoundMark::default());
        for n in 1..=5 {
            file.write(mark(n)).unwrap();
            let (_, found) = MarkFile::open(directory.path()).unwrap();
            assert_eq!((found.mark, found.is_intact), (mark(n), true));
        }
        let path = directory.path().join(MARK);
        let whole = fs::read(&path).unwrap();
        for at in (0..SLOT_BYTES).chain(4_096..whole.len()) {
            for bit in 0..8 {
                let mut bytes = whole.clone();
                bytes[at] ^= 1 << bit;
                fs::write(&path, &bytes).unwrap();
                let (_, found) = MarkFile::open(directory.path()).unwrap();
                assert!(found.exists && !found.is_intact);
                assert!(found.mark == mark(4) || found.mark == mark(5));
            }
        }
        for length in 0..whole.len() {
            fs::write(&path, &whole[..length]).unwrap();
            let (_, found) = MarkFile::open(directory.path()).unwrap();
            assert!(!found.is_intact, "cut at {length}");
        }
        let (mut file, _) = MarkFile::open(directory.path()).unwrap();
        file.rewrite(mark(7)).unwrap();
        let (_, found) = MarkFile::open(directory.path()).unwrap();
        assert_eq!((found.mark, found.is_intact), (mark(7), true));
    }

    #[test]
    fn a_write_that_fails_leaves_no_older_mark_and_the_next_one_a_whole_file() {
        let directory = tempfile::tempdir().unwrap();
        let (mut file, _) = MarkFile::open(directory.path()).unwrap();
        file.rewrite(mark(1)).unwrap();
        file.break_disk(true);
        file.write(mark(2)).unwrap_err();
        assert!(file.is_failing());
        let (_, found) = MarkFile::open(directory.path()).unwrap();
        assert!(!found.is_intact && found.mark == Mark::default());
        file.break_disk(false);
        file.write(mark(3)).unwrap();
        assert!(!file.is_failing());
        let (_, found) = MarkFile::open(directory.path()).unwrap();
        assert_eq!((found.mark, found.is_intact), (mark(3), true));
    }
}
