//! A single node's log on its way to another process of the server, and from one.

use std::time::Duration;

use super::record::{Stored, Unreadable};
use super::tail::Tail;
use crate::event::{EventId, InvalidEvent, Position, UserId};
use crate::hub::engine::{NotContinued, PortableEntry, PortableLog};
use crate::hub::log::{Control, DispatchedLog, Entry, NotRising, Record};

impl From<Unreadable> for NotContinued {
    fn from(error: Unreadable) -> Self {
        Self(error.to_string())
    }
}

impl From<InvalidEvent> for NotContinued {
    fn from(error: InvalidEvent) -> Self {
        Self(error.to_string())
    }
}

impl From<NotRising> for NotContinued {
    fn from(error: NotRising) -> Self {
        Self(error.to_string())
    }
}

/// Describes an entry of this process.
pub(super) fn describe(tail: &Tail, entry: &Entry) -> PortableEntry {
    aged(entry, tail.now_ms().saturating_sub(entry.accepted_ms))
}

/// Describes an entry that this process retains for so many more milliseconds.
pub(super) fn describe_retained(tail: &Tail, entry: &Entry, left_ms: u64) -> PortableEntry {
    aged(entry, tail.log().max_age_ms().saturating_sub(left_ms))
}

/// Describes the beginning of a log of this process.
pub(super) fn describe_log(log: &DispatchedLog) -> PortableLog {
    let (position, newest) = log.newest;
    PortableLog {
        floor: log.floor.to_string(),
        lost_before: log.lost_before.to_string(),
        position: position.0,
        newest: newest.to_string(),
        everyone_ms: 0,
        shared: None,
    }
}

fn aged(entry: &Entry, age_ms: u64) -> PortableEntry {
    PortableEntry {
        id: entry.id.to_string(),
        age_ms,
        record: Stored::of(&entry.record).to_json(),
        source: None,
    }
}

/// Begins a log as another process has described it.
pub(super) fn begin(
    tail: &Tail,
    log: &PortableLog,
    retained: &mut dyn Iterator<Item = PortableEntry>,
) -> Result<(), NotContinued> {
    tail.begin_at(id(&log.floor)?);
    for entry in retained {
        let stored = Stored::from_json(&entry.record)?;
        let record = stored.record()?.unwrap_or(Record::Mark);
        tail.restore(id(&entry.id)?, Duration::from_millis(entry.age_ms), record);
    }
    tail.continue_after(
        (Position(log.position), id(&log.newest)?),
        id(&log.lost_before)?,
    );
    Ok(())
}

/// Appends an entry of another process.
pub(super) fn follow(tail: &Tail, entry: &PortableEntry) -> Result<(), NotContinued> {
    let stored = Stored::from_json(&entry.record)?;
    let record = match (stored.record()?, stored.disconnected()) {
        (Some(record), _) => record,
        (None, Some(user)) => Tail::unanswered(Control::Disconnect {
            user: UserId::new(user)?,
        }),
        (None, None) => Record::Mark,
    };
    let accepted_ms = tail.now_ms().saturating_sub(entry.age_ms);
    tail.append_at(id(&entry.id)?, accepted_ms, record)?;
    Ok(())
}

/// Reads an id.
pub(super) fn id(text: &str) -> Result<EventId, NotContinued> {
    text.parse()
        .map_err(|_| NotContinued(format!("`{text}` is not an id")))
}
