//! What is published, as plain values: who it is for, its name, its data, its id.
//!
//! Everything here was parsed: a name that would break a stream's lines cannot be built.

use std::fmt;
use std::str::FromStr;

use compact_str::CompactString;
use thiserror::Error;

use crate::topic::Topic;

/// Longest event name, in bytes: it stands in every frame, so it is kept short.
pub(crate) const MAX_NAME_BYTES: usize = 128;
/// Names of what the server itself says (API.md). A client could not tell an event of that name
/// from the protocol's own.
const RESERVED_NAMES: [&str; 6] = [
    "heartbeat",
    "replay_gap",
    "token_expired",
    "evicted",
    "open",
    "error",
];
/// Longest user or session id, in bytes: a UUID or an address fits; it is kept for every user
/// online.
pub(crate) const MAX_ID_BYTES: usize = 256;
/// Longest publisher's own id, in bytes: it is kept for ten minutes.
pub(crate) const MAX_SOURCE_ID_BYTES: usize = 256;

/// A place in this process's log; the first entry has 1. Connections remember the one they
/// joined at, so that they get what came after and nothing twice.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Position(pub u64);

/// A position in the log that clients see: `<ms>-<seq>`, as Redis Streams writes it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EventId {
    /// Unix milliseconds.
    pub ms: u64,
    /// Rank among the events of that millisecond.
    pub seq: u64,
}

impl EventId {
    /// The position of a log before its first event: no event gets it, and all later ids are
    /// greater. Partly random, so that of two logs that began in the same millisecond neither takes
    /// the other's clients for its own.
    pub fn origin(unix_ms: u64) -> Self {
        Self {
            ms: unix_ms.max(1),
            seq: u64::from(fastrand::u32(..)),
        }
    }

    /// An id that lies between this one and whichever came before it, or is that one.
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

    /// An id before this one that no event gets: ids of one millisecond are counted from 0.
    #[must_use]
    pub fn unused_before(self) -> Self {
        Self { seq: 0, ..self }.before()
    }

    /// The id of an event accepted at `unix_ms`, after `self`; strictly greater than `self` even
    /// if the machine's clock went back.
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
        write!(f, "{}-{}", self.ms, self.seq)
    }
}

impl FromStr for EventId {
    type Err = InvalidEvent;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let number = |digits: &str| {
            // `parse` alone would take a leading `+`.
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
    /// Every connection of one user.
    User(UserId),
    /// Every connection of some users.
    Users(Users),
    /// Every connection that asked for the topic.
    Topic(Topic),
    /// Everybody.
    All,
}

impl Target {
    /// What it holds beside itself.
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

/// What a text holds beside itself; a short one stands inline.
fn heap_bytes(text: &CompactString) -> usize {
    if text.is_heap_allocated() {
        text.capacity()
    } else {
        0
    }
}

/// Some users, each once and in the order of their ids, so that one is found among many.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Users(Box<[UserId]>);

impl Users {
    /// The users of a list; named twice, a user is meant once.
    pub fn new(mut users: Vec<UserId>) -> Self {
        users.sort_unstable();
        users.dedup();
        Self(users.into())
    }

    /// All of them.
    pub fn as_slice(&self) -> &[UserId] {
        &self.0
    }

    /// The place of a user among them.
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
    /// [`InvalidEvent::User`] where it is empty, too long or has control characters.
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

/// A session's id: 1 to [`MAX_ID_BYTES`] bytes without control characters.
///
/// # Errors
/// [`InvalidEvent::Session`] for anything else.
pub(crate) fn check_session(id: &str) -> Result<(), InvalidEvent> {
    if is_id(id) {
        Ok(())
    } else {
        Err(InvalidEvent::Session)
    }
}

/// The digits of an integer as JSON has it, however large; nothing for any other value. `-0` is
/// no way to write an id.
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
    /// [`InvalidEvent::Name`] where it is empty, too long or would break the stream's lines.
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
    /// [`InvalidEvent::Reserved`] if it is one of the protocol's own, otherwise as
    /// [`EventName::new`].
    pub fn of_publisher(name: &str) -> Result<Self, InvalidEvent> {
        match RESERVED_NAMES.into_iter().find(|own| *own == name) {
            Some(own) => Err(InvalidEvent::Reserved(own)),
            None => Self::new(name),
        }
    }

    /// What `EventSource.onmessage` listens to.
    pub const DEFAULT: &str = "message";

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Bytes that it owns.
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

/// An event as a publisher hands it in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Draft {
    /// Who it is for.
    pub to: Target,
    /// Its name.
    pub name: EventName,
    /// Its payload, sent line by line.
    pub data: String,
    /// The publisher's own id; a second draft with the same one is not published again.
    pub source_id: Option<CompactString>,
    /// Whether the event is kept for replay. One that is not goes out without an `id:` line, so
    /// that a client never reconnects with an id that nobody remembers.
    pub persist: bool,
}

/// A change of session as it is asked for: who stores it says when it was.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionDraft {
    /// Whose session.
    pub user: UserId,
    /// The session that stays; `None` logs everything out.
    pub keep: Option<Box<str>>,
}

/// A change of who may be connected as a user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionChange {
    /// Whose session.
    pub user: UserId,
    /// The session that stays; `None` logs everything out.
    pub keep: Option<Box<str>>,
    /// When, in Unix milliseconds: tokens issued until then are refused, where they do not name
    /// the session that stays.
    pub at_unix_ms: u64,
}

impl SessionChange {
    /// What it holds beside itself.
    pub(crate) fn heap_bytes(&self) -> usize {
        self.user.heap_bytes() + self.keep.as_deref().map_or(0, str::len)
    }
}

/// Why a value cannot be published.
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

/// Whether `text` can name a user or a session: 1 to [`MAX_ID_BYTES`] bytes that are safe in a log
/// line.
pub(crate) fn is_id(text: &str) -> bool {
    is_line(text, MAX_ID_BYTES)
}

/// Whether `text` fits on one line of a stream or a log.
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
    fn names_that_would_break_a_stream_are_refused() {
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
            // What an earlier version stored is read all the same.
            assert!(EventName::new(name).is_ok());
        }
        let error = InvalidEvent::Reserved("open").to_string();
        assert!(error.contains("`open`") && error.contains("replay_gap, token_expired"));
        for name in ["Heartbeat", "errors", "message", "open "] {
            assert!(EventName::of_publisher(name).is_ok(), "{name}");
        }
    }

    #[test]
    fn ids_of_another_form_are_refused() {
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
