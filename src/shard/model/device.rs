//! The model's browser: tracks what it has seen, and checks what it receives.

use std::io::Write;
use std::os::unix::net::UnixStream;

use super::frames::{close, next_frame};
use super::said::Said;
use super::speaker::Speaker;
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
    /// The keys of its last connection had sealed enough.
    pub(super) was_worn: bool,
    /// The numbers of the fleeting events that it has received, on all its connections.
    pub(super) fleeting: Vec<usize>,
    pub(super) connection: Option<Connection>,
}

#[allow(clippy::struct_excessive_bools)] // they are independent
pub(super) struct Connection {
    pub(super) socket: UnixStream,
    /// Present if the connection uses TLS.
    pub(super) opener: Option<Opener>,
    /// Of a WebSocket.
    pub(super) speaker: Option<Speaker>,
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
    /// The number of entries when it was admitted.
    pub(super) joined_at: usize,
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

    /// Takes the next thing out of what was received, as soon as all of it is there.
    pub(super) fn next_said(&mut self) -> Option<Said> {
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
        if self.speaker.is_some() {
            let (first, payload) = next_frame(&mut self.received)?;
            return Some(Said::of_frame(first, &payload));
        }
        let line_end = find(&self.received, b"\r\n")?;
        let size = std::str::from_utf8(&self.received[..line_end - 2]).unwrap();
        let size = usize::from_str_radix(size, 16).unwrap();
        let end = line_end + size + 2;
        if self.received.len() < end {
            return None;
        }
        let chunk: Vec<u8> = self.received.drain(..end).collect();
        let text = std::str::from_utf8(&chunk[line_end..end - 2]).unwrap();
        Some(Said::of_chunk(text))
    }

    /// Sends this, in one record with TLS.
    pub(super) fn send(&mut self, bytes: &[u8]) {
        const DATA: u8 = 23;
        self.send_record(DATA, bytes);
    }

    pub(super) fn send_record(&mut self, typed: u8, bytes: &[u8]) {
        let record = self
            .opener
            .as_mut()
            .map(|opener| opener.secrets.record(typed, bytes));
        // The server may have closed.
        let _ = self.socket.write_all(record.as_deref().unwrap_or(bytes));
    }

    /// Returns true if its client keeps what the server has ended.
    pub(super) fn is_kept_after_its_end(&self) -> bool {
        self.is_complete && self.speaker.as_ref().is_some_and(|it| it.is_mute)
    }

    /// Returns true if the server may end it only because its keys have sealed enough.
    pub(super) fn is_worn(&self) -> bool {
        let opener = self.opener.as_ref();
        opener.is_some_and(|opener| opener.secrets.are_worn())
    }

    /// Does what a WebSocket client has to do about a frame that is not its stream's.
    fn follow(&mut self, said: &Said) {
        let is_worn = self.is_worn();
        let Some(speaker) = &mut self.speaker else {
            assert!(matches!(said, Said::End(None)), "{said:?}");
            return;
        };
        match said {
            Said::Ping if speaker.answers_pings => {
                let answer = speaker.answer();
                self.send(&answer);
            }
            Said::Pong(payload) => speaker.check_pong(payload),
            Said::End(code) => {
                let code = code.expect("a close frame with a code");
                let is_right = match code {
                    4003 => self.is_logged_out,
                    1001 => is_worn || speaker.has_caused(code),
                    code => speaker.has_caused(code),
                };
                assert!(is_right, "{code} for {speaker:?}");
                if !speaker.is_mute {
                    let mut answer = speaker.answer();
                    answer.extend(close(code));
                    self.send(&answer);
                }
            }
            _ => {}
        }
    }
}

impl Device {
    /// Starts over, with an id that the log does not contain.
    pub(super) fn forget(&mut self) {
        (self.last_id, self.seen) = (Some(EventId { ms: 1, seq: 1 }), 0);
    }

    /// Returns true if it has no reason to be closed, however much time passes.
    pub(super) fn is_to_stay(&self) -> bool {
        let Some(connection) = &self.connection else {
            return false;
        };
        let speaker = connection.speaker.as_ref();
        let answers = speaker.is_none_or(|it| it.answers_pings && !it.has_half_a_frame());
        answers && !connection.is_complete
    }

    /// Returns true if its connection has received an end.
    pub(super) fn has_end(&self) -> bool {
        let connection = self.connection.as_ref();
        connection.is_some_and(|it| it.is_complete)
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

    /// The first fleeting event for it since this entry that it has not received.
    pub(super) fn missing_fleeting(&self, happened: &[Happened], since: usize) -> Option<usize> {
        (since..happened.len()).find(|n| {
            let one = &happened[*n];
            !one.is_kept() && self.is_mine(one) && !self.fleeting.contains(n)
        })
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

    /// Checks the next thing that its stream says against what happened.
    pub(super) fn check(&mut self, said: Said, happened: &[Happened], oldest: usize) {
        let connection = self.connection.as_mut().unwrap();
        assert!(!connection.is_complete, "behind the end: {said:?}");
        let (id, data) = match said {
            Said::Ping | Said::Pong(_) => return connection.follow(&said),
            Said::End(_) => {
                connection.is_complete = true;
                return connection.follow(&said);
            }
            _ if connection.is_logged_out => panic!("after its log-out: {said:?}"),
            Said::Opened(id) | Said::Heartbeat(id) => {
                let is_first = !std::mem::replace(&mut connection.has_begun, true);
                assert_eq!(is_first, matches!(said, Said::Opened(_)), "{said:?}");
                if let Some(id) = id {
                    self.move_to(id, happened, oldest);
                }
                return;
            }
            Said::Gap(id) => {
                assert!(!connection.has_gap, "told twice");
                connection.has_gap = true;
                // What it had of that before comes again.
                self.last_id = Some(id);
                self.seen = place_of(happened, id).expect("an id of this log");
                return;
            }
            Said::Event(id, data) => (id, data),
        };
        let Some(id) = id else {
            let number: usize = data.split(' ').next().unwrap().parse().unwrap();
            assert!(!self.fleeting.contains(&number), "{number} twice");
            self.fleeting.push(number);
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
