//! Joining the log: which last ids are known, and what a client has missed since its own.

use super::replay::{JoinRequest, Replay, chains};
use super::state::LogState;
use crate::event::{EventId, Position};

/// A client's place in the log, read in the critical section that makes the client a target.
#[derive(Debug)]
pub struct Joined {
    /// Everything after this position is delivered live, once `replay` has caught up.
    pub(crate) position: Position,
    /// The id that the client resumes from if it is cut off before it gets anything. This is its own last id if
    /// that is known. With a gap, it is the id right before what follows. Otherwise it is the newest id.
    pub(crate) id: EventId,
    /// Set if not everything that the client missed is retained.
    pub(crate) gap: Option<Gap>,
    /// What the client missed; `None` if nothing.
    pub replay: Option<Replay>,
}

/// The log does not know the client's last id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Gap {
    /// The oldest id that is retained.
    pub(crate) oldest: Option<EventId>,
}

impl LogState {
    /// Lets a client join at `position`, the log's newest.
    pub(super) fn join(&self, client: &JoinRequest<'_>, position: Position) -> Joined {
        let newest = self.ring.newest_id();
        let newest = newest.unwrap_or_else(|| self.floor());
        let Some(last_event_id) = client.last_event_id else {
            return Joined {
                position,
                id: newest,
                gap: None,
                replay: None,
            };
        };
        let ring = &self.ring;
        let known = last_event_id.parse().ok().and_then(|id| {
            if id < self.lost_before {
                return (id == self.floor()).then(|| (id, ring.before_oldest()));
            }
            let gone = || {
                let mine = chains(client.user, client.topics);
                let past = &self.evicted;
                (past.has_nothing_after(id, mine)).then(|| ring.before_oldest())
            };
            Some((id, ring.find(id).or_else(gone)?))
        });
        let after = known.map_or_else(|| ring.before_oldest(), |(_, rank)| rank);
        let replay = Replay::begin(ring, client, after, known.is_none());
        Joined {
            position,
            id: match (known, &replay) {
                (Some((id, _)), _) => id,
                (None, Some(_)) => self.floor(),
                (None, None) => newest,
            },
            gap: known.is_none().then(|| Gap {
                oldest: ring.oldest_id(),
            }),
            replay,
        }
    }
}
