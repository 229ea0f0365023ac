//! The session log: session changes in a file of their own, beside the database. A change is written to it
//! before it is accepted. So the change survives the loss of SQLite's write-ahead log, and is accepted even
//! if the database cannot be written, for example on a full disk.
//!
//! Each change is one line, `<checksum> <JSON>`. The first line says how many changes came before. After the
//! last line the file is filled with zeros in advance, so that the space is still there on a full disk.
//! Changes that the database's own file is known to hold are dropped ([`SessionLog::reset`]).

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::checksum::checksum;
use crate::event::EventId;

pub(super) const SESSIONS: &str = "sessions.log";
/// Space is reserved in pieces of this size: a few thousand log-outs. Small in tests.
const RESERVE_BYTES: u64 = if cfg!(test) { 64 << 10 } else { 1 << 20 };
/// Above this size, the file is worth a checkpoint of the database, after which it is emptied.
const LONG_BYTES: u64 = RESERVE_BYTES / 4;
/// Largest file. It is reached only if no checkpoint works for a million changes. Beyond it, changes are
/// refused.
const MAX_BYTES: u64 = 256 << 20;
/// Bytes that are zeroed at once, from back to front, so that the lines before them are still whole after an
/// interruption.
const PAGE: usize = 4_096;

/// A session change as it is stored. Changes are numbered without holes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Change {
    pub(super) number: u64,
    ms: u64,
    seq: u64,
    #[serde(flatten)]
    pub(super) kind: ChangeKind,
}

/// The kinds of session changes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum ChangeKind {
    /// The standing of one user from now on, as JSON.
    Session { user: String, standing: String },
    /// Everyone is logged out, as of this Unix millisecond.
    Everyone { logged_out_ms: u64 },
}

impl Change {
    pub(super) fn new(number: u64, id: EventId, kind: ChangeKind) -> Self {
        Self {
            number,
            ms: id.ms,
            seq: id.seq,
            kind,
        }
    }

    pub(super) fn id(&self) -> EventId {
        EventId {
            ms: self.ms,
            seq: self.seq,
        }
    }
}

/// The first line of the file.
#[derive(Debug, Serialize, Deserialize)]
struct Begin {
    changes_before: u64,
}

/// The session log that an earlier process left.
#[derive(Debug, Default)]
pub(super) struct FoundLog {
    pub(super) exists: bool,
    /// Every line is whole, and only zeros follow the last one.
    pub(super) is_clean: bool,
    /// The changes of the lines that are whole.
    pub(super) changes: Vec<Change>,
    /// The newest number that it mentions.
    pub(super) newest: u64,
}

impl FoundLog {
    /// Returns true if the file was created and never written to.
    pub(super) fn is_unused(&self) -> bool {
        self.exists && self.is_clean && self.newest == 0
    }
}

/// The open file.
#[derive(Debug)]
pub(super) struct SessionLog {
    file: File,
    directory: PathBuf,
    /// Where the next line goes.
    tail: u64,
    length: u64,
    /// There may be bytes after the tail that are no line.
    is_broken: bool,
}

impl SessionLog {
    /// Opens and reads the file. Instead of the file, returns `None` if it is missing or damaged: then it
    /// must not be written to.
    pub(super) fn open(directory: &Path) -> io::Result<(Option<Self>, FoundLog)> {
        let path = directory.join(SESSIONS);
        let bytes = match fs::read(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Ok((None, FoundLog::default()));
            }
            Err(error) => return Err(error),
        };
        let (found, tail) = read(&bytes);
        if !found.is_clean {
            return Ok((None, found));
        }
        let log = Self {
            file: OpenOptions::new().write(true).open(path)?,
            directory: directory.to_owned(),
            tail,
            length: bytes.len() as u64,
            is_broken: false,
        };
        Ok((Some(log), found))
    }

    /// Creates an empty file in the place of whatever is there, and flushes it.
    pub(super) fn create(directory: &Path, changes_before: u64) -> io::Result<Self> {
        let new = directory.join(format!("{SESSIONS}.new"));
        let file = OpenOptions::new()
            .create(true)
            .truncate(true)
            .write(true)
            .mode(0o600)
            .open(&new)?;
        let begin = begin(changes_before);
        let created = write_zeros(&file, 0, RESERVE_BYTES)
            .and_then(|()| file.write_all_at(begin.as_bytes(), 0))
            .and_then(|()| file.sync_all())
            .and_then(|()| fs::rename(&new, directory.join(SESSIONS)))
            .and_then(|()| File::open(directory)?.sync_all());
        if let Err(error) = created {
            // Its space is needed elsewhere. If it cannot be removed, the next attempt overwrites it.
            let _ = fs::remove_file(&new);
            return Err(error);
        }
        Ok(Self {
            file,
            directory: directory.to_owned(),
            tail: begin.len() as u64,
            length: RESERVE_BYTES,
            is_broken: false,
        })
    }

    /// Appends all of these changes or none.
    pub(super) fn append(&mut self, changes: &[Change]) -> io::Result<()> {
        if self.is_broken {
            return Err(io::Error::other("the end of sessions.log is damaged"));
        }
        let text: String = changes.iter().map(line).collect();
        let end = self.tail + text.len() as u64;
        // At least one zero stays after it.
        while end >= self.length {
            self.extend()?;
        }
        if let Err(error) = self.file.write_all_at(text.as_bytes(), self.tail) {
            let undone = write_zeros(&self.file, self.tail, text.len() as u64);
            self.is_broken = undone.is_err();
            return Err(error);
        }
        self.tail = end;
        // In advance, while there is space. If the disk is full, that is an error only when the space is
        // needed.
        if self.length - self.tail < RESERVE_BYTES / 2 {
            let _ = self.extend();
        }
        Ok(())
    }

    /// Flushes what was appended. After a failure nothing more can be appended: the kernel may have dropped
    /// what it could not write.
    pub(super) fn flush(&mut self) -> io::Result<()> {
        self.file.sync_data().inspect_err(|_| self.is_broken = true)
    }

    /// Returns true if the file is worth a checkpoint and a [`SessionLog::reset`].
    pub(super) fn is_long(&self) -> bool {
        self.tail > LONG_BYTES || self.is_broken
    }

    /// Empties the file. All of its changes have to be on the disk elsewhere.
    pub(super) fn reset(&mut self, changes_before: u64) -> io::Result<()> {
        if self.is_broken || self.length > RESERVE_BYTES {
            *self = Self::create(&self.directory, changes_before)?;
            return Ok(());
        }
        self.is_broken = true;
        let mut at = self.tail;
        while at > 0 {
            let from = (at - 1) / PAGE as u64 * PAGE as u64;
            write_zeros(&self.file, from, at - from)?;
            at = from;
        }
        let begin = begin(changes_before);
        self.file.write_all_at(begin.as_bytes(), 0)?;
        self.file.sync_data()?;
        self.tail = begin.len() as u64;
        self.is_broken = false;
        Ok(())
    }

    fn extend(&mut self) -> io::Result<()> {
        if self.length >= MAX_BYTES {
            return Err(io::ErrorKind::StorageFull.into());
        }
        if let Err(error) = write_zeros(&self.file, self.length, RESERVE_BYTES) {
            // Cut back, because a length that is no multiple of the reserve counts as damage.
            self.is_broken |= self.file.set_len(self.length).is_err();
            return Err(error);
        }
        self.length += RESERVE_BYTES;
        Ok(())
    }
}

fn line(value: &impl Serialize) -> String {
    let json = serde_json::to_string(value).expect("texts and numbers serialise");
    format!("{:016x} {json}\n", checksum("change", &[json.as_bytes()]))
}

fn begin(changes_before: u64) -> String {
    line(&Begin { changes_before })
}

/// The JSON of a line; `None` if its checksum is wrong.
fn json(line: &[u8]) -> Option<&str> {
    let (sum, json) = std::str::from_utf8(line).ok()?.split_once(' ')?;
    let is_whole = sum == format!("{:016x}", checksum("change", &[json.as_bytes()]));
    is_whole.then_some(json)
}

/// Reads a file's bytes. Also returns where the next line goes.
fn read(bytes: &[u8]) -> (FoundLog, u64) {
    let mut found = FoundLog {
        exists: true,
        is_clean: !bytes.is_empty() && (bytes.len() as u64).is_multiple_of(RESERVE_BYTES),
        ..FoundLog::default()
    };
    let mut lines = bytes.split(|byte| *byte == b'\n');
    let rest = lines.next_back().unwrap_or_default();
    found.is_clean &= rest.iter().all(|byte| *byte == 0);
    match lines.next().and_then(json).map(serde_json::from_str) {
        Some(Ok(Begin { changes_before })) => found.newest = changes_before,
        _ => found.is_clean = false,
    }
    for line in lines {
        let start = line
            .iter()
            .position(|byte| *byte != 0)
            .unwrap_or(line.len());
        match json(&line[start..]).map(serde_json::from_str::<Change>) {
            Some(Ok(change)) => {
                found.newest = found.newest.max(change.number);
                found.changes.push(change);
                found.is_clean &= start == 0;
            }
            _ => found.is_clean = false,
        }
    }
    (found, (bytes.len() - rest.len()) as u64)
}

fn write_zeros(file: &File, from: u64, count: u64) -> io::Result<()> {
    static ZEROS: [u8; 16 * PAGE] = [0; 16 * PAGE];
    let end = from + count;
    let mut at = from;
    while at < end {
        let piece = usize::try_from(end - at)
            .unwrap_or(usize::MAX)
            .min(ZEROS.len());
        file.write_all_at(&ZEROS[..piece], at)?;
        at += piece as u64;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn change(number: u64) -> Change {
        let kind = ChangeKind::Session {
            user: format!("user\n{number}"),
            standing: "{\"a\":1}".to_owned(),
        };
        Change::new(number, EventId { ms: number, seq: 3 }, kind)
    }

    fn found(directory: &Path) -> FoundLog {
        SessionLog::open(directory).unwrap().1
    }

    #[test]
    fn changes_come_back_and_a_reset_leaves_their_number() {
        let directory = tempfile::tempdir().unwrap();
        assert!(!found(directory.path()).exists);
        let mut log = SessionLog::create(directory.path(), 7).unwrap();
        log.append(&[change(8), change(9)]).unwrap();
        let (log, read) = SessionLog::open(directory.path()).unwrap();
        assert!(read.is_clean && read.newest == 9);
        assert_eq!(read.changes, [change(8), change(9)]);
        let mut log = log.unwrap();
        // More than was reserved at first.
        for number in 10..1_200 {
            log.append(&[change(number)]).unwrap();
            // There is always space for more, in case the disk is full from now on.
            assert!(log.length - log.tail >= RESERVE_BYTES / 2);
        }
        assert!(log.is_long() && log.length > RESERVE_BYTES);
        let read = found(directory.path());
        assert!(read.is_clean && read.newest == 1_199);
        for _ in 0..2 {
            log.reset(1_199).unwrap();
            let read = found(directory.path());
            assert!(read.is_clean && read.newest == 1_199 && read.changes.is_empty());
            assert!(!log.is_long() && log.length == RESERVE_BYTES);
            log.append(&[change(1_200)]).unwrap();
            assert_eq!(found(directory.path()).changes, [change(1_200)]);
        }
    }

    #[test]
    fn the_space_that_is_reserved_is_on_the_disk() {
        use std::os::unix::fs::MetadataExt;

        let directory = tempfile::tempdir().unwrap();
        let log = SessionLog::create(directory.path(), 0).unwrap();
        // How many blocks this file system uses for zeros that were written, not for a length that was set.
        let other = File::create(directory.path().join("other")).unwrap();
        other
            .write_all_at(&vec![0; usize::try_from(RESERVE_BYTES).unwrap()], 0)
            .unwrap();
        other.sync_all().unwrap();
        let blocks = |file: &File| file.metadata().unwrap().blocks();
        assert!(blocks(&log.file) >= blocks(&other));
    }

    #[test]
    fn a_file_that_is_altered_anywhere_is_not_clean_and_yields_no_other_change() {
        let directory = tempfile::tempdir().unwrap();
        let mut log = SessionLog::create(directory.path(), 0).unwrap();
        let changes: Vec<Change> = (1..=5).map(change).collect();
        log.append(&changes).unwrap();
        let path = directory.path().join(SESSIONS);
        let whole = fs::read(&path).unwrap();
        let tail = usize::try_from(log.tail).unwrap();
        for at in 0..tail + 8 {
            let mut bytes = whole.clone();
            bytes[at] ^= 1 << (at % 8);
            let (read, _) = read(&bytes);
            assert!(!read.is_clean, "{at}");
            assert!(read.changes.iter().all(|change| changes.contains(change)));
        }
        for at in 0..=tail {
            assert!(!read(&whole[..at]).0.is_clean, "cut at {at}");
        }
        let mut bytes = whole.clone();
        bytes[100..200].fill(0);
        assert!(!read(&bytes).0.is_clean);
    }
}
