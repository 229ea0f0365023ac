//! Events and session changes as plain values: target, name, data, id.
//!
//! Every value has been parsed, so it is valid: a name with a line break cannot be constructed.

use std::fmt;
use std::str::FromStr;

use compact_str::CompactString;
use thiserror::Error;

use crate::topic::Topic;

/// Longest event name, in bytes. It is part of every frame, so it is short.
pub(crate) const MAX_NAME_BYTES: usize = 128;
/// Names of the server's own events (docs/streams.md). A client could not tell a published event of that name from them.
pub(crate) const RESERVED_NAMES: [&str; 6] = [
    "heartbeat",
    "replay_gap",
    "token_expired",
    "evicted",
    "open",
    "error",
];
/// Longest user or session id, in bytes. A UUID or an email address fits. It is stored for each user
/// online.
pub(crate) const MAX_ID_BYTES: usize = 256;
/// Longest id chosen by a publisher, in bytes. It is stored for ten minutes.
pub(crate) const MAX_SOURCE_ID_BYTES: usize = 256;

/// The number of an entry in this process's log, from 1. A connection stores the position at which it
/// joined, so that it gets every later entry once.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Position(pub u64);

/// The id of an event for clients and all nodes: `<ms>-<seq>`, as in Redis Streams.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EventId {
    /// Unix milliseconds.
    pub ms: u64,
    /// Counts the events of that millisecond, from 0.
    pub seq: u64,
}

impl EventId {
    /// The id of an empty log. No event has it, and all later ids are greater. It is partly random, so that
    /// two logs which began in the same millisecond do not accept each other's clients.
    pub fn origin(unix_ms: u64) -> Self {
        Self {
            ms: unix_ms.max(1),
            seq: u64::from(fastrand::u32(..)),
        }
    }

    /// An id between this one and any before it. May equal the one before.
    #[must_use]
    pub fn before(self) -> Self {
        match (self.ms, self.seq) {
            (0, 0) => self,
            (ms, 0) => Self {
                ms: ms - 1,
                seq: u64::MAX,
            },
            (ms, seq) => Self { ms, seq: seq - 1 },
        }
    }

    /// An id before this one that no event has: the ids of a millisecond count from 0.
    #[must_use]
    pub fn unused_before(self) -> Self {
        Self { seq: 0, ..self }.before()
    }

    /// The id of an event accepted at `unix_ms`, after `self`. It is greater than `self` even if the
    /// machine's clock went back.
    #[must_use]
    pub fn next(self, unix_ms: u64) -> Self {
        if unix_ms > self.ms {
            Self {
                ms: unix_ms,
                seq: 0,
            }
        } else {
            Self {
                ms: self.ms,
                seq: self.seq + 1,
            }
        }
    }
}

impl fmt::Display for EventId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // A publisher's answer is little more than an id, so it is formatted without the machinery of `write!`.
        f.write_str(itoa::Buffer::new().format(self.ms))?;
        f.write_str("-")?;
        f.write_str(itoa::Buffer::new().format(self.seq))
    }
}

impl FromStr for EventId {
    type Err = InvalidEvent;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let number = |digits: &str| {
            // `parse` alone would accept a leading `+`.
            if digits.bytes().all(|b| b.is_ascii_digit()) {
                digits.parse().map_err(|_| InvalidEvent::Id)
            } else {
                Err(InvalidEvent::Id)
            }
        };
        let (ms, seq) = text.split_once('-').ok_or(InvalidEvent::Id)?;
        Ok(Self {
            ms: number(ms)?,
            seq: number(seq)?,
        })
    }
}

/// Who an event is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// All connections of a user.
    User(UserId),
    /// All connections of several users.
    Users(Users),
    /// All connections that subscribe to the topic.
    Topic(Topic),
    /// All connections.
    All,
}

impl Target {
    /// Bytes on the heap.
    pub(crate) fn heap_bytes(&self) -> usize {
        match self {
            Self::User(user) => user.heap_bytes(),
            Self::Users(Users(users)) => users
                .iter()
                .map(|user| size_of::<UserId>() + user.heap_bytes())
                .sum(),
            Self::Topic(topic) => heap_bytes(topic.as_compact()),
            Self::All => 0,
        }
    }
}

/// Bytes on the heap; short texts have none.
fn heap_bytes(text: &CompactString) -> usize {
    if text.is_heap_allocated() {
        text.capacity()
    } else {
        0
    }
}

/// Several users, without duplicates and sorted by id, so that one can be found quickly.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Users(Box<[UserId]>);

impl Users {
    /// Sorts the users of a list and removes duplicates.
    pub fn new(mut users: Vec<UserId>) -> Self {
        users.sort_unstable();
        users.dedup();
        Self(users.into())
    }

    /// All users.
    pub fn as_slice(&self) -> &[UserId] {
        &self.0
    }

    /// The index of a user in the list.
    pub(crate) fn place_of(&self, user: &str) -> Option<usize> {
        self.0
            .binary_search_by(|candidate| candidate.as_str().cmp(user))
            .ok()
    }
}

/// A user's id: 1 to [`MAX_ID_BYTES`] bytes without control characters.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UserId(CompactString);

impl UserId {
    /// Parses an id.
    ///
    /// # Errors
    /// [`InvalidEvent::User`] if it is empty, too long or has control characters.
    pub fn new(id: &str) -> Result<Self, InvalidEvent> {
        if is_id(id) {
            Ok(Self(id.into()))
        } else {
            Err(InvalidEvent::User)
        }
    }

    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// What it holds beside itself.
    pub(crate) fn heap_bytes(&self) -> usize {
        heap_bytes(&self.0)
    }
}

/// Checks a session's id: 1 to [`MAX_ID_BYTES`] bytes without control characters.
///
/// # Errors
/// [`InvalidEvent::Session`].
pub(crate) fn check_session(id: &str) -> Result<(), InvalidEvent> {
    if is_id(id) {
        Ok(())
    } else {
        Err(InvalidEvent::Session)
    }
}

/// The digits of a JSON integer of any size; `None` for any other value, and for `-0`.
pub(crate) fn integer_digits(json: &str) -> Option<&str> {
    let digits = json.strip_prefix('-').unwrap_or(json);
    let is_integer = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    (is_integer && json != "-0").then_some(json)
}

/// An event's name: 1 to [`MAX_NAME_BYTES`] bytes, one line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EventName(CompactString);

impl EventName {
    /// Parses a name.
    ///
    /// # Errors
    /// [`InvalidEvent::Name`] if it is empty, too long or not a single line.
    pub fn new(name: &str) -> Result<Self, InvalidEvent> {
        if is_line(name, MAX_NAME_BYTES) {
            Ok(Self(name.into()))
        } else {
            Err(InvalidEvent::Name)
        }
    }

    /// Parses a name that a publisher chose.
    ///
    /// # Errors
    /// [`InvalidEvent::Reserved`] if the server uses the name itself, otherwise as [`EventName::new`].
    pub fn of_publisher(name: &str) -> Result<Self, InvalidEvent> {
        match RESERVED_NAMES.into_iter().find(|own| *own == name) {
            Some(own) => Err(InvalidEvent::Reserved(own)),
            None => Self::new(name),
        }
    }

    /// The name that `EventSource.onmessage` receives.
    pub const DEFAULT: &str = "message";

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Bytes on the heap.
    pub(crate) fn heap_bytes(&self) -> usize {
        heap_bytes(&self.0)
    }
}

impl Default for EventName {
    /// [`EventName::DEFAULT`].
    fn default() -> Self {
        Self(CompactString::const_new(Self::DEFAULT))
    }
}

/// An event as a publisher sends it, without an id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Draft {
    /// The target.
    pub to: Target,
    /// The name.
    pub name: EventName,
    /// The payload, sent line by line.
    pub data: String,
    /// The publisher's own id. A second draft with the same id is not published again.
    pub source_id: Option<CompactString>,
    /// True if the event is kept for replay. Otherwise it is sent without an `id:` line, so that a client
    /// never reconnects with an id that is no longer known.
    pub is_kept: bool,
}

/// A session change as requested. The engine that stores it sets the time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionDraft {
    /// The user whose session changes.
    pub user: UserId,
    /// The session that stays; `None` ends all sessions.
    pub keep: Option<Box<str>>,
}

/// A change of the session that a user's connections must have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionChange {
    /// The user whose session changes.
    pub user: UserId,
    /// The session that stays; `None` ends all sessions.
    pub keep: Option<Box<str>>,
    /// When, in Unix milliseconds. Tokens issued up to then are rejected, unless they name the session that
    /// stays.
    pub at_unix_ms: u64,
}

impl SessionChange {
    /// Bytes on the heap.
    pub(crate) fn heap_bytes(&self) -> usize {
        self.user.heap_bytes() + self.keep.as_deref().map_or(0, str::len)
    }
}

/// Why a value is invalid.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[allow(missing_docs)] // each message says it
pub enum InvalidEvent {
    #[error("an event id has the form <ms>-<seq>")]
    Id,
    #[error("a user id has 1 to {MAX_ID_BYTES} bytes and no control characters")]
    User,
    #[error("a session id has 1 to {MAX_ID_BYTES} bytes and no control characters")]
    Session,
    #[error("an event name has 1 to {MAX_NAME_BYTES} bytes and no control characters")]
    Name,
    #[error(
        "event: `{0}` is a name that the server itself uses, as are {others}; choose another, such as `my_{0}`",
        others = RESERVED_NAMES.into_iter().filter(|name| name != .0).collect::<Vec<_>>().join(", ")
    )]
    Reserved(&'static str),
}

/// Returns true if `text` can be the id of a user or a session: 1 to [`MAX_ID_BYTES`] bytes that are
/// safe in a log line.
pub(crate) fn is_id(text: &str) -> bool {
    is_line(text, MAX_ID_BYTES)
}

/// Returns true if `text` fits on one line of a stream or a log.
fn is_line(text: &str, max_bytes: usize) -> bool {
    !text.is_empty() && text.len() <= max_bytes && !text.chars().any(char::is_control)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn ids_rise_even_when_the_clock_goes_back() {
        let first = EventId::default().next(1_000);
        let second = first.next(999);
        let third = second.next(1_001);
        assert_eq!(first.to_string(), "1000-0");
        assert_eq!(second.to_string(), "1000-1");
        assert_eq!(third.to_string(), "1001-0");
    }

    #[test]
    fn names_that_would_break_a_stream_are_rejected() {
        for name in ["", "a\nb", "a\rb", "a\0b", &"x".repeat(MAX_NAME_BYTES + 1)] {
            assert_eq!(EventName::new(name), Err(InvalidEvent::Name));
        }
        assert_eq!(EventName::new("order.paid").unwrap().as_str(), "order.paid");
    }

    #[test]
    fn a_publisher_may_not_use_the_protocols_own_names() {
        for name in RESERVED_NAMES {
            let error = EventName::of_publisher(name).unwrap_err();
            assert_eq!(error, InvalidEvent::Reserved(name));
            // Names stored by an earlier version can still be read.
            assert!(EventName::new(name).is_ok());
        }
        let error = InvalidEvent::Reserved("open").to_string();
        assert!(error.contains("`open`") && error.contains("replay_gap, token_expired"));
        for name in ["Heartbeat", "errors", "message", "open "] {
            assert!(EventName::of_publisher(name).is_ok(), "{name}");
        }
    }

    #[test]
    fn malformed_ids_are_rejected() {
        for id in [
            "",
            "1",
            "1-",
            "-1",
            "1-2-3",
            "+1-2",
            "1- 2",
            "a-b",
            "99999999999999999999-0",
        ] {
            assert_eq!(id.parse::<EventId>(), Err(InvalidEvent::Id), "{id}");
        }
    }

    #[test]
    fn names_are_short_and_printable() {
        assert!(is_id("42") && is_id("jörg@example.com") && is_id(&"x".repeat(256)));
        assert!(!is_id("") && !is_id(&"x".repeat(257)));
        assert!(!is_id("a\nb") && !is_id("\0"));
    }

    proptest! {
        #[test]
        fn an_id_reads_back_as_written(ms: u64, seq: u64) {
            let id = EventId { ms, seq };
            prop_assert_eq!(id.to_string().parse::<EventId>().unwrap(), id);
        }
    }
}
