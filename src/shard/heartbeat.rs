//! What clients that are up to date receive: where they are in the log.
//!
//! All of a shard's clients that wait for the next event are at the same place, so they share one
//! frame, which is encoded when the place has changed. Two kinds of clients receive no position:
//! one that is behind, or joined at a later place than the shard knows of; and, while one delivery
//! takes so long that heartbeats fall due among those it has reached, everybody. Their own last id
//! remains the better one.

use super::Shard;
use super::wheel::Tick;
use crate::event::EventId;
use crate::event::Position;
use crate::frame::Frame;
use crate::log::{Entry, Place};

/// How far all clients have been served, and the frame that says so.
#[derive(Debug)]
pub(super) struct Served {
    /// `None` until the first client: what is stored is read after the shard has started.
    place: Option<Place>,
    frame: Frame,
    /// The id in `frame`.
    id: Option<EventId>,
    plain: Frame,
}

/// Heartbeats for one moment, at which nothing is delivered.
#[derive(Debug)]
pub(super) struct Heartbeat {
    /// For clients that joined up to here.
    up_to: Position,
    frame: Frame,
    /// For others.
    plain: Frame,
}

impl Served {
    pub(super) fn new() -> Self {
        let plain = Frame::event(None, "heartbeat", "{}");
        Self {
            place: None,
            frame: plain.clone(),
            id: None,
            plain,
        }
    }

    /// Takes note that every client has got what is for it up to this entry.
    pub(super) fn note(&mut self, entry: &Entry) {
        // What is not kept has no id to come back with.
        if !entry.is_fleeting() {
            self.place = Some(Place {
                position: entry.position,
                id: entry.id,
            });
        }
    }

    fn heartbeat(&mut self, may_be_ahead: bool) -> Heartbeat {
        let place = self.place.filter(|_| !may_be_ahead);
        let id = place.map(|place| place.id);
        if id.is_some() && id != self.id {
            self.frame = Frame::event(id, "heartbeat", "{}");
            self.id = id;
        }
        let frame = if id.is_some() {
            &self.frame
        } else {
            &self.plain
        };
        Heartbeat {
            up_to: place.map_or(Position(u64::MAX), |place| place.position),
            frame: frame.clone(),
            plain: self.plain.clone(),
        }
    }
}

impl Heartbeat {
    /// The frame for a client that gets live what comes after `joined`.
    pub(super) fn frame(&self, joined: Position) -> &Frame {
        if joined <= self.up_to {
            &self.frame
        } else {
            &self.plain
        }
    }
}

impl Shard {
    /// The heartbeats to send now.
    pub(super) fn heartbeat(&mut self, now: Tick) -> Heartbeat {
        self.note_dispatched();
        // Whoever has entries that others do not have yet was written to since then.
        let walks_since = self.deliveries.walks_since();
        let may_be_ahead =
            walks_since.is_some_and(|since| now.since(since) >= self.least_silence());
        self.served.heartbeat(may_be_ahead)
    }

    /// The shortest silence that a heartbeat ends.
    pub(super) fn least_silence(&self) -> u32 {
        self.heartbeat_ticks - self.heartbeat_ticks / 4
    }

    /// Lets heartbeats have an id from a shard's first client on: until the first of them is due,
    /// entries may be under way all the time.
    pub(super) fn prepare_heartbeats(&mut self) {
        if self.served.place.is_none() {
            self.note_dispatched();
        }
    }

    /// With no entry under way, whatever was dispatched, to this shard or another, is with its
    /// clients.
    fn note_dispatched(&mut self) {
        let log = &self.shared.log;
        let dispatched = log.dispatched_position();
        let is_known = |place: Place| place.position >= dispatched;
        if self.served.place.is_some_and(is_known) || self.deliveries.have_entries() {
            return;
        }
        // In this order: what is dispatched by now is in the inbox, or was taken from there.
        let place = log.dispatched_place();
        if !self.shared.inbox(self.number).has_entries() {
            self.served.place = Some(place);
        }
    }
}
