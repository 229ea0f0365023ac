//! Sends clients the events that they have missed, before any live events. Each client gets them in pieces,
//! as fast as its socket takes them.
//!
//! Meanwhile, live events wait in the log. A client that catches up skips them in the inbox and takes them
//! from the log. So a replay of any length keeps at most one piece in the client's backlog. Live events
//! begin after a single position, which is read when the replay has nothing left.

use std::sync::Arc;

use super::connection::{Connection, Gone};
use super::connections::Connections;
use super::parcel::{MAX_PARCEL_BYTES, MAX_PARCEL_ENTRIES};
use crate::event::EventId;
use crate::hub::log::{Entry, Gap, PieceLimit, Progress, Replay};
use crate::metrics::DisconnectReason;
use crate::wire::{End, Signal};

/// The most pieces in one turn. Full ones take a millisecond or two.
const SLICE_PIECES: usize = if cfg!(test) { 1 } else { 32 };
/// The pieces that a compressed one counts as, because compressing its bytes takes that much longer than sending them.
const COMPRESSED_PIECES: usize = 8;
/// The most that leaves in one send. It is small in tests, so that they see interrupted replays.
const PIECE: PieceLimit = PieceLimit {
    entries: if cfg!(test) { 3 } else { MAX_PARCEL_ENTRIES },
    bytes: MAX_PARCEL_BYTES,
};

/// Sends pieces to the clients whose sockets take more. Returns true if there are more to send.
pub(super) fn run(connections: &mut Connections) -> bool {
    let mut budget = SLICE_PIECES;
    while budget > 0 {
        let Some(id) = connections.catching_up.pop_front() else {
            return false;
        };
        let mut pieces = 1;
        if let Some(connection) = connections.find(id) {
            if connection.slot().carrier.wire().has_checksum() {
                pieces = COMPRESSED_PIECES;
            }
            connection.catch_up();
        }
        budget = budget.saturating_sub(pieces);
    }
    !connections.catching_up.is_empty()
}

impl Connection<'_> {
    /// Tells a client that its last id is unknown, and from which id it can resume (docs/history.md). So a gap
    /// is reported only once.
    pub(super) fn send_gap(
        self,
        position: EventId,
        last_event_id: &str,
        gap: Gap,
    ) -> Result<Self, Gone> {
        self.metrics().replay_gaps.increment();
        self.send_signals([Signal::Gap {
            position,
            last_event_id,
            oldest: gap.oldest,
        }])
    }

    /// Starts to send a client the events that it has missed.
    pub(super) fn start_catch_up(mut self, replay: Replay) {
        self.slot_mut().start_catch_up(replay);
        self.catch_up();
    }

    fn catch_up(mut self) {
        // With a backlog, the replay continues once the backlog is sent.
        let slot = self.slot();
        if slot.stream.is_ended() || slot.carrier.is_backlogged() {
            return;
        }
        let mut piece: Vec<Arc<Entry>> = Vec::new();
        let Some(progress) = self.next_piece(&mut piece) else {
            return;
        };
        if !piece.is_empty() {
            let Ok(this) = self.send_missed(&piece) else {
                return;
            };
            self = this;
            self.metrics().replayed.add(piece.len() as u64);
        }
        match progress {
            Progress::More | Progress::Moved => {
                if !self.slot().carrier.is_backlogged() {
                    self.resume_catch_up();
                }
            }
            Progress::CaughtUp(position) => self.slot_mut().finish_catch_up(position),
            Progress::Ended(entry) => {
                self.metrics().delivered.increment();
                self.end(End::LoggedOut, Some(&entry));
            }
            // The client reconnects with its last id, and then receives the gap.
            Progress::Lost => {
                self.close(DisconnectReason::Slow);
            }
        }
    }

    /// Takes the next piece of the replay; `None` if the client is up to date or has to wait for its end.
    fn next_piece(&mut self, piece: &mut Vec<Arc<Entry>>) -> Option<Progress> {
        let id = self.id();
        let Connections { table, shared, .. } = &mut *self.all;
        let (slot, hub) = (table.at_mut(self.key), &shared.hub);
        let user = slot.stream.user();
        let replay = slot.replay_mut()?;
        let mut progress = hub.log().replay(replay, PIECE, piece);
        while let Progress::Moved = progress {
            // The end of the session may have been evicted from the log; then only the directory knows it. A
            // connection that is not in the directory waits for its end, which is on the way.
            if !replay.knows_its_end() && !hub.directory().holds(user, id) {
                return None;
            }
            replay.confirm();
            progress = hub.log().replay(replay, PIECE, piece);
        }
        Some(progress)
    }
}
