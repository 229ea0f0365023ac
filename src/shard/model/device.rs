//! The model's browser: tracks what it has seen, and checks what it receives.

use std::os::unix::net::UnixStream;

use super::{Opener, place_of, topic, user};
use crate::event::{EventId, Target};

/// An entry of the log, in the model.
pub(super) struct Happened {
    pub(super) id: EventId,
    pub(super) what: What,
}

pub(super) enum What {
    Event { to: Target, is_kept: bool },
    Session { user: usize, keep: usize },
}

/// A browser. It keeps the id of its last event across connections.
pub(super) struct Device {
    pub(super) user: usize,
    pub(super) session: usize,
    pub(super) topics: Vec<usize>,
    pub(super) last_id: Option<EventId>,
    /// The device has seen all entries for it before this index.
    pub(super) seen: usize,
    pub(super) connection: Option<Connection>,
}

#[allow(clippy::struct_excessive_bools)] // they are independent
pub(super) struct Connection {
    pub(super) socket: UnixStream,
    /// Present if the connection uses TLS.
    pub(super) opener: Option<Opener>,
    pub(super) received: Vec<u8>,
    pub(super) has_head: bool,
    /// A gap was reported, and nothing with an id has arrived since.
    pub(super) has_gap: bool,
    /// The number of entries when its session ended.
    pub(super) over_at: Option<usize>,
    pub(super) is_logged_out: bool,
    pub(super) is_complete: bool,
    pub(super) is_over: bool,
    /// Its first frame was read.
    pub(super) has_begun: bool,
    pub(super) fleeting: Vec<usize>,
}

/// Splits off the frame's id, if it has one.
fn split_id(frame: &str) -> (Option<EventId>, &str) {
    let Some(rest) = frame.strip_prefix("id: ") else {
        return (None, frame);
    };
    let (id, rest) = rest.split_once('\n').unwrap();
    (Some(id.parse().unwrap()), rest)
}

impl Happened {
    pub(super) fn is_kept(&self) -> bool {
        match self.what {
            What::Event { is_kept, .. } => is_kept,
            What::Session { .. } => true,
        }
    }
}

impl Connection {
    pub(super) fn receive(&mut self, bytes: &[u8]) {
        match &mut self.opener {
            Some(opener) => opener.receive(bytes, &mut self.received),
            None => self.received.extend_from_slice(bytes),
        }
    }

    /// Takes a complete chunk from the received bytes.
    pub(super) fn next_frame(&mut self) -> Option<String> {
        let find = |bytes: &[u8], what: &[u8]| {
            let at = bytes
                .windows(what.len())
                .position(|window| window == what)?;
            Some(at + what.len())
        };
        if !self.has_head {
            let end = find(&self.received, b"HEAD\r\n\r\n")?;
            self.received.drain(..end);
            self.has_head = true;
        }
        let line_end = find(&self.received, b"\r\n")?;
        let size = std::str::from_utf8(&self.received[..line_end - 2]).unwrap();
        let size = usize::from_str_radix(size, 16).unwrap();
        let end = line_end + size + 2;
        if self.received.len() < end {
            return None;
        }
        let chunk: Vec<u8> = self.received.drain(..end).collect();
        Some(String::from_utf8(chunk[line_end..end - 2].to_vec()).unwrap())
    }
}

impl Device {
    /// Starts over, with an id that the log does not contain.
    pub(super) fn forget(&mut self) {
        (self.last_id, self.seen) = (Some(EventId { ms: 1, seq: 1 }), 0);
    }

    fn is_mine(&self, happened: &Happened) -> bool {
        match &happened.what {
            What::Session { .. } => false,
            What::Event { to, .. } => match to {
                Target::All => true,
                Target::User(id) => *id == user(self.user),
                Target::Users(users) => users.as_slice().contains(&user(self.user)),
                Target::Topic(other) => self.topics.iter().any(|n| topic(*n) == *other),
            },
        }
    }

    /// The first entry in the range that is kept and for this device.
    pub(super) fn first_missing(
        &self,
        happened: &[Happened],
        range: std::ops::Range<usize>,
    ) -> Option<usize> {
        range
            .into_iter()
            .find(|n| happened[*n].is_kept() && self.is_mine(&happened[*n]))
    }

    /// Handles an id that claims that the device has everything up to it.
    fn move_to(&mut self, id: EventId, happened: &[Happened], oldest: usize) {
        let place = place_of(happened, id).expect("an id of this log");
        assert!(self.last_id.is_none_or(|last| last <= id), "back to {id}");
        // A reported gap also covers entries that were evicted after it was reported.
        let connection = self.connection.as_mut();
        if connection.is_some_and(|it| std::mem::take(&mut it.has_gap)) {
            self.seen = self.seen.max(oldest.min(place));
        }
        let missing = self.first_missing(happened, self.seen..place);
        assert_eq!(missing, None, "an id claims an entry that has not arrived");
        self.seen = self.seen.max(place);
        self.last_id = Some(id);
    }

    /// Checks the next frame of its stream against what happened.
    pub(super) fn check(&mut self, frame: &str, happened: &[Happened], oldest: usize) {
        let connection = self.connection.as_mut().unwrap();
        assert!(!connection.is_complete, "after the end: {frame:?}");
        if frame.is_empty() {
            connection.is_complete = true;
            return;
        }
        assert!(!connection.is_logged_out, "after its log-out: {frame:?}");
        let (id, text) = split_id(frame);
        if text.contains("event: heartbeat\n") {
            let is_first = !std::mem::replace(&mut connection.has_begun, true);
            assert_eq!(is_first, text.starts_with("retry: "), "{frame:?}");
            if let Some(id) = id {
                self.move_to(id, happened, oldest);
            }
            return;
        }
        if text.starts_with("event: replay_gap\n") {
            assert!(!connection.has_gap, "two gaps in a row");
            connection.has_gap = true;
            // Retained entries that it had seen before arrive again.
            let id = id.expect("a gap that can be resumed from");
            self.last_id = Some(id);
            self.seen = place_of(happened, id).expect("an id of this log");
            return;
        }
        let Some(id) = id else {
            let data = frame.strip_prefix("event: message\ndata: ").unwrap();
            let number: usize = data[..data.find(' ').unwrap()].parse().unwrap();
            assert!(!connection.fleeting.contains(&number), "{number} twice");
            connection.fleeting.push(number);
            assert!(connection.over_at.is_none_or(|over_at| number < over_at));
            assert!(self.is_mine(&happened[number]) && !happened[number].is_kept());
            return;
        };
        let at = happened.iter().position(|other| other.id == id).unwrap();
        let has_gap = std::mem::take(&mut connection.has_gap);
        match happened[at].what {
            What::Session { user, keep } => {
                assert!(user == self.user && keep != self.session);
                connection.is_logged_out = true;
            }
            What::Event { .. } => {
                let is_before_its_end = connection.over_at.is_none_or(|over_at| at < over_at);
                assert!(is_before_its_end, "{at} is from after its log-out");
                assert!(self.is_mine(&happened[at]));
            }
        }
        assert!(at >= self.seen, "{at} again, seen up to {}", self.seen);
        let missing = self.first_missing(happened, self.seen..at);
        assert!(
            missing.is_none_or(|_| has_gap),
            "{missing:?} is missing before {at}"
        );
        // A gap covers evicted entries only.
        let late = self.first_missing(happened, oldest.max(self.seen)..at);
        assert_eq!(late, None, "retained and skipped");
        self.seen = at + 1;
        self.last_id = Some(id);
    }
}
