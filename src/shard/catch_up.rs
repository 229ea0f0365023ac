//! Clients that get what they missed: a piece a turn, as fast as their sockets take it, before
//! anything live.
//!
//! Meanwhile live events wait where they are, in the log: a client that catches up skips them in
//! the inbox and takes them from there. So a replay of any length holds no more than one piece in
//! the client's backlog, and the seam is one position, read when nothing is left to take.

use std::sync::Arc;

use super::Shard;
use super::slot::Slot;
use super::write::{MAX_PARCEL_BYTES, MAX_PARCEL_ENTRIES};
use crate::event::EventId;
use crate::hub::log::{Entry, Gap, PieceLimit, Progress, Replay};
use crate::metrics::DisconnectReason;
use crate::wire::{End, Signal};

/// Pieces in one turn: a millisecond or two of full ones.
const SLICE_PIECES: usize = if cfg!(test) { 1 } else { 32 };
/// What leaves in one send; little in tests, so that they see replays that are interrupted.
const PIECE: PieceLimit = PieceLimit {
    entries: if cfg!(test) { 3 } else { MAX_PARCEL_ENTRIES },
    bytes: MAX_PARCEL_BYTES,
};

impl Shard {
    /// Tells a client that its last id is not known (API.md, "Replay"), and the one to go on from:
    /// a gap is reported once.
    pub(super) fn send_gap(
        &mut self,
        key: u32,
        id: EventId,
        last_event_id: &str,
        gap: Gap,
    ) -> bool {
        self.metrics().replay_gaps.increment();
        let gap = Signal::Gap {
            position: id,
            last_event_id,
            oldest: gap.oldest,
        };
        self.send_signals(key, [gap])
    }

    /// Begins to send a client what it missed.
    pub(super) fn start_catch_up(&mut self, key: u32, replay: Replay) {
        if let Some(slot) = self.table.get_mut(key) {
            slot.start_catch_up(replay);
            self.catch_up(key);
        }
    }

    /// Lets a client that catches up get what came before the change that ended its session, then
    /// its end; false where it does not catch up.
    pub(super) fn end_caught_up(&mut self, key: u32, change: &Arc<Entry>) -> bool {
        let Some(slot) = self.table.get_mut(key) else {
            return false;
        };
        let Some(replay) = slot.replay() else {
            return false;
        };
        replay.end_at(Arc::clone(change));
        slot.set_leaving();
        // It may have been waiting for this.
        self.resume_catch_up(key);
        true
    }

    /// Goes on with a client whose backlog is out.
    pub(super) fn resume_catch_up(&mut self, key: u32) {
        if let Some(slot) = self.table.get_mut(key)
            && slot.replay().is_some()
        {
            self.catching_up.extend(self.table.id(key));
        }
    }

    /// Sends pieces to those whose sockets take more; true where there are more to send.
    pub(super) fn run_catch_ups(&mut self) -> bool {
        for _ in 0..SLICE_PIECES {
            let Some(connection) = self.catching_up.pop_front() else {
                return false;
            };
            if let Some(key) = self.table.find(connection) {
                self.catch_up(key);
            }
        }
        !self.catching_up.is_empty()
    }

    fn catch_up(&mut self, key: u32) {
        let Some(slot) = self.table.get_mut(key) else {
            return;
        };
        // With a backlog, it goes on when that is out.
        if slot.is_ending() || slot.is_backlogged() {
            return;
        }
        let user = slot.user;
        let Some(connection) = self.table.id(key) else {
            return;
        };
        let Some(replay) = self.table.get_mut(key).and_then(Slot::replay) else {
            return;
        };
        let mut piece: Vec<Arc<Entry>> = Vec::new();
        let mut progress = self.shared.hub.log().replay(replay, PIECE, &mut piece);
        while let Progress::Moved = progress {
            // Of a session's end that is gone only the directory knows. Whoever is not in it has its
            // end on the way, and goes on when that is here.
            if !replay.knows_its_end() && !self.shared.hub.directory().holds(user, connection) {
                return;
            }
            replay.confirm();
            progress = self.shared.hub.log().replay(replay, PIECE, &mut piece);
        }
        if !piece.is_empty() {
            if !self.send_signals(key, piece.iter().map(|entry| entry.signal())) {
                return;
            }
            self.metrics().replayed.add(piece.len() as u64);
        }
        match progress {
            Progress::More | Progress::Moved => {
                let has_backlog = self.table.get(key).is_some_and(Slot::is_backlogged);
                if !has_backlog {
                    self.resume_catch_up(key);
                }
            }
            Progress::CaughtUp(position) => {
                if let Some(slot) = self.table.get_mut(key) {
                    slot.finish_catch_up(position);
                }
            }
            Progress::Ended(entry) => {
                self.end(key, End::LoggedOut, Some(&entry));
                self.metrics().delivered.increment();
            }
            // It comes back with its last id and is told of the gap.
            Progress::Lost => self.close(key, DisconnectReason::Slow),
        }
    }
}
