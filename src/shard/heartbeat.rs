//! What clients that are up to date receive: where they are in the log.
//!
//! All of a shard's clients that wait for the next event are at the same place, so they share one
//! heartbeat, which is encoded when the place has changed. Two kinds of clients receive no position:
//! one that is behind, or joined at a later place than the shard knows of; and, while one delivery
//! takes so long that heartbeats fall due among those it has reached, everybody. Their own last id
//! remains the better one.

use std::rc::Rc;

use super::connections::Connections;
use super::wheel::Tick;
use crate::event::EventId;
use crate::event::Position;
use crate::hub::log::{Cursor, Entry};
use crate::wire::{Encoded, Piece, Signal, Wire};

/// How far all clients have been served, and the heartbeat that says so.
#[derive(Debug)]
pub(super) struct Served {
    /// `None` until the first client: what is stored is read after the shard has started.
    cursor: Option<Cursor>,
    beat: Rc<Beat>,
    plain: Rc<Beat>,
}

/// What is being delivered.
#[derive(Clone, Copy, Debug)]
pub(super) struct UnderWay {
    /// Since when some clients may have entries that others do not have yet.
    pub(super) walks_since: Option<Tick>,
    /// Whether an entry that was taken is not yet with all its clients.
    pub(super) has_entries: bool,
}

/// A heartbeat, encoded once for all clients that are at its cursor.
#[derive(Debug, Default)]
pub(super) struct Beat {
    position: Option<EventId>,
    encoded: Encoded,
}

/// Heartbeats for one moment, at which nothing is delivered.
#[derive(Debug)]
pub(super) struct Heartbeat {
    /// For clients that joined up to here.
    up_to: Position,
    beat: Rc<Beat>,
    /// For others.
    plain: Rc<Beat>,
}

impl Beat {
    /// What a client of this wire gets.
    #[inline] // once for each client
    pub(super) fn piece(&self, wire: Wire) -> Piece<'_> {
        let position = self.position;
        self.encoded.get(wire, || Signal::Heartbeat { position })
    }
}

impl Served {
    pub(super) fn new() -> Self {
        Self {
            cursor: None,
            beat: Rc::default(),
            plain: Rc::default(),
        }
    }

    /// Takes note that every client has got what is for it up to this entry.
    pub(super) fn note(&mut self, entry: &Entry) {
        // What is not kept has no id to come back with.
        if !entry.is_fleeting() {
            self.cursor = Some(Cursor {
                position: entry.position,
                id: entry.id,
            });
        }
    }

    /// The heartbeats to send now.
    pub(super) fn heartbeat(
        &mut self,
        connections: &Connections,
        under_way: UnderWay,
        now: Tick,
    ) -> Heartbeat {
        self.note_dispatched(connections, under_way);
        // A client that has entries which others still lack was written to since then.
        let may_be_ahead = under_way
            .walks_since
            .is_some_and(|since| now.since(since) >= connections.least_silence());
        self.at_place(may_be_ahead)
    }

    /// Lets heartbeats have an id from a shard's first client on: until the first of them is due,
    /// entries may be under way all the time.
    pub(super) fn prepare(
        &mut self,
        connections: &Connections,
        under_way: impl FnOnce() -> UnderWay,
    ) {
        if self.cursor.is_none() {
            self.note_dispatched(connections, under_way());
        }
    }

    /// With no entry under way, whatever was dispatched, to this shard or another, is with its
    /// clients.
    fn note_dispatched(&mut self, connections: &Connections, under_way: UnderWay) {
        let hub = &connections.shared.hub;
        let dispatched = hub.log().dispatched_position();
        let is_known = |cursor: Cursor| cursor.position >= dispatched;
        if self.cursor.is_some_and(is_known) || under_way.has_entries {
            return;
        }
        // In this order: what is dispatched by now is in the inbox, or was taken from there.
        let cursor = hub.log().dispatched_cursor();
        if !hub.inbox(connections.number()).has_entries() {
            self.cursor = Some(cursor);
        }
    }

    fn at_place(&mut self, may_be_ahead: bool) -> Heartbeat {
        let cursor = self.cursor.filter(|_| !may_be_ahead);
        let position = cursor.map(|cursor| cursor.id);
        if position.is_some() && position != self.beat.position {
            self.beat = Rc::new(Beat {
                position,
                encoded: Encoded::default(),
            });
        }
        let beat = if position.is_some() {
            &self.beat
        } else {
            &self.plain
        };
        Heartbeat {
            up_to: cursor.map_or(Position(u64::MAX), |cursor| cursor.position),
            beat: Rc::clone(beat),
            plain: Rc::clone(&self.plain),
        }
    }
}

impl Heartbeat {
    /// The one for a client that gets live what comes after `joined`.
    pub(super) fn beat(&self, joined: Position) -> &Beat {
        if joined <= self.up_to {
            &self.beat
        } else {
            &self.plain
        }
    }
}
