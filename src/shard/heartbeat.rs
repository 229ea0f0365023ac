//! Heartbeats, which tell clients that are up to date their position in the log.
//!
//! All clients of a shard that wait for the next event have the same position, so they share one
//! heartbeat. It is encoded again when the position has changed. In two cases, a heartbeat has no position,
//! because the client's own last id is the better one:
//!
//! 1. The client is behind, or joined at a later position than the shard knows of.
//! 2. A delivery takes so long that heartbeats become due for clients that it has already reached. Then no
//!    client gets a position.

use std::rc::Rc;

use super::connections::Connections;
use super::wheel::Tick;
use crate::event::EventId;
use crate::event::Position;
use crate::hub::log::{Cursor, Entry, Log};
use crate::wire::{Encoded, Piece, Signal, Wire};

/// The position up to which all clients have been served, and the heartbeats with and without it.
#[derive(Debug)]
pub(super) struct Served {
    /// `None` until the first client joins, since the stored history is read after the shard has started.
    cursor: Option<Cursor>,
    beat: Rc<Beat>,
    plain: Rc<Beat>,
}

/// The deliveries in progress, as far as heartbeats depend on them.
#[derive(Clone, Copy, Debug)]
pub(super) struct UnderWay {
    /// The time since which some clients may have entries that others do not have yet.
    pub(super) walks_since: Option<Tick>,
    /// True if an entry was taken from the inbox and has not reached all its clients yet.
    pub(super) has_entries: bool,
}

/// A heartbeat, encoded once for all clients that are at its position.
#[derive(Debug, Default)]
pub(super) struct Beat {
    position: Option<EventId>,
    encoded: Encoded,
}

/// The heartbeats for one slice of timers, during which nothing is delivered.
#[derive(Debug)]
pub(super) struct Heartbeat {
    /// Clients that joined at or before this position get `beat`.
    up_to: Position,
    beat: Rc<Beat>,
    /// For all other clients.
    plain: Rc<Beat>,
}

impl Beat {
    /// The heartbeat in this encoding.
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

    /// Records that all clients have everything that is for them up to this entry.
    pub(super) fn note(&mut self, entry: &Entry) {
        // A fleeting entry has no id that a client could resume from.
        if !entry.is_fleeting() {
            self.cursor = Some(Cursor {
                position: entry.position,
                id: entry.id,
            });
        }
    }

    /// Returns the heartbeats to send now.
    pub(super) fn heartbeat(
        &mut self,
        connections: &Connections,
        under_way: UnderWay,
        now: Tick,
    ) -> Heartbeat {
        self.note_dispatched(connections, under_way);
        // A client with entries that others lack was written to after that, so it is not due before.
        let may_be_ahead = under_way
            .walks_since
            .is_some_and(|since| now.since(since) >= connections.least_silence());
        self.at_place(may_be_ahead)
    }

    /// Called before a client is admitted, so that heartbeats have a position from the first client on.
    /// Later, entries may be in progress each time a heartbeat is due.
    pub(super) fn prepare(
        &mut self,
        connections: &Connections,
        under_way: impl FnOnce() -> UnderWay,
    ) {
        if self.cursor.is_none() {
            self.note_dispatched(connections, under_way());
        }
    }

    /// If no entry is in progress here, this shard's clients have everything that was dispatched, to this
    /// shard or others. Advances the position accordingly.
    fn note_dispatched(&mut self, connections: &Connections, under_way: UnderWay) {
        let hub = &connections.shared.hub;
        let dispatched = hub.log().dispatched_position();
        let is_known = |cursor: Cursor| cursor.position >= dispatched;
        if self.cursor.is_some_and(is_known) || under_way.has_entries {
            return;
        }
        // A log that is in a store begins at another id once the store is reached, but at the same position.
        if !hub.engine().is_current() {
            return;
        }
        if let Some(cursor) =
            connections.served_up_to(under_way.has_entries, Log::dispatched_cursor)
        {
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
    /// The heartbeat for a client that receives events after `joined` live.
    pub(super) fn beat(&self, joined: Position) -> &Beat {
        if joined <= self.up_to {
            &self.beat
        } else {
            &self.plain
        }
    }
}
