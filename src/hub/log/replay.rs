//! The replay: what one client missed, taken from the log in pieces.
//!
//! A replay is a sequence of rounds. Each round fixes its end at the log's newest entry and walks the client's
//! chains back to where the client is. It then takes their entries forward, merged by rank, which is the order
//! of ids. If a round ends and nothing was appended meanwhile, the client has caught up. Its position is read
//! in the same critical section, so later entries reach it live, and none reaches it twice. The cost of a round
//! depends on the entries that it takes, not on the others in the log. Between pieces, a replay holds eight
//! bytes per chain.

use std::sync::Arc;

use super::entry::{Entry, Rank, Record};
use super::ring::{Chain, Generation, Ring};
use crate::event::Position;
use crate::topic::Topic;

/// Most links followed while the log is locked, for about 0.1 ms, so that other threads do not wait long. Few in
/// tests, so that walks are interrupted there.
const MAX_STEPS: usize = if cfg!(test) { 3 } else { 1_024 };

/// The largest size of a piece.
#[derive(Clone, Copy, Debug)]
pub struct PieceLimit {
    /// Number of entries.
    pub entries: usize,
    /// Bytes of their frames, except for a single larger one.
    pub bytes: usize,
}

/// The state of a replay after a piece.
#[derive(Debug)]
pub enum Progress {
    /// There may be more. The piece may be empty.
    More,
    /// The start has moved to the oldest entry, and earlier entries are gone. One of them may have ended the
    /// client's session, so nothing is taken before [`Replay::confirm`].
    Moved,
    /// Everything up to this position was taken. Later entries are delivered live.
    CaughtUp(Position),
    /// The client's session ended with this entry. The client gets nothing after it.
    Ended(Arc<Entry>),
    /// The next entry was evicted before it was taken, or the log was truncated or reset meanwhile.
    Lost,
}

/// A client that joins the log.
#[derive(Clone, Copy, Debug)]
pub struct JoinRequest<'a> {
    /// The user's id.
    pub user: &'a str,
    /// The session of the client's token.
    pub session: Option<&'a str>,
    /// The topics that the client subscribes to.
    pub topics: &'a [Topic],
    /// The id of the last event that the client has, as the client sent it.
    pub last_event_id: Option<&'a str>,
    /// The position of the user's last session change that was in force when the client was admitted. A later
    /// change may end the client.
    pub settled: Position,
}

/// A client's replay from its last id to the newest entry.
#[derive(Debug)]
pub struct Replay {
    user: Box<str>,
    session: Option<Box<str>>,
    topics: Box<[Topic]>,
    /// The generation of its ranks.
    generation: Generation,
    /// Session changes up to here were in force when the client was admitted.
    settled: Position,
    /// All entries for the client up to this rank were taken.
    after: Rank,
    /// The client got a gap, and takes everything that is retained. As long as nothing was taken, eviction only
    /// moves the start.
    from_oldest: bool,
    /// The start has moved, and it is not confirmed yet that the client's session goes on.
    has_moved: bool,
    /// The change that ended the client's session, once it is in force.
    end: Option<Arc<Entry>>,
    round: Option<Round>,
}

#[derive(Debug)]
struct Round {
    last: Rank,
    /// For each chain, the next entry to take, or [`Rank::NONE`]. While walking back, it is the earliest entry
    /// seen so far.
    cursors: Box<[Rank]>,
    /// The number of chains whose cursor has been walked back to the start.
    ready: usize,
}

impl Replay {
    /// Begins a replay of the entries for this client after `after`. `from_oldest` means that the client takes
    /// everything that is retained. Returns `None` if there is nothing to take now. Called in the critical
    /// section in which the client joins.
    pub(super) fn begin(
        ring: &Ring,
        client: &JoinRequest<'_>,
        after: Rank,
        from_oldest: bool,
    ) -> Option<Self> {
        let cursors = cursors(ring, chains(client.user, client.topics), after)?;
        Some(Self {
            user: client.user.into(),
            session: client.session.map(Into::into),
            topics: client.topics.into(),
            generation: ring.generation(),
            settled: client.settled,
            after,
            from_oldest,
            has_moved: false,
            end: None,
            round: Some(Round {
                last: ring.newest(),
                cursors,
                ready: 0,
            }),
        })
    }

    /// The rank up to which the client has everything that is kept. `None` if the replay is lost.
    pub(super) fn taken(&self, ring: &Ring) -> Option<Rank> {
        if self.generation != ring.generation() {
            return None;
        }
        let taken = match &self.round {
            // Every cursor is the next entry to take.
            Some(round) if round.ready == round.cursors.len() => {
                let next = round.cursors.iter().filter(|cursor| **cursor != Rank::NONE);
                next.min()
                    .map_or(round.last, |next| next.previous().min(round.last))
            }
            _ => self.after,
        };
        if !ring.is_evicted(taken.next()) {
            return Some(taken);
        }
        // As long as nothing was taken, eviction only moves the start.
        self.from_oldest.then(|| ring.before_oldest())
    }

    /// Takes nothing after the change that ended the client's session. The replay may never meet the change: it
    /// may be evicted by then, or be earlier than the id that the client sent.
    pub(crate) fn end_at(&mut self, change: Arc<Entry>) {
        self.end.get_or_insert(change);
    }

    /// Returns true if [`Replay::end_at`] was called.
    pub(crate) fn knows_its_end(&self) -> bool {
        self.end.is_some()
    }

    /// Confirms after [`Progress::Moved`] that the client's session had not ended.
    pub(crate) fn confirm(&mut self) {
        self.has_moved = false;
    }

    /// Takes the next entries. `head` is the log's newest position.
    pub(super) fn next_piece(
        &mut self,
        ring: &Ring,
        head: Position,
        limit: PieceLimit,
        piece: &mut Vec<Arc<Entry>>,
    ) -> Progress {
        if self.generation != ring.generation() {
            return Progress::Lost;
        }
        if self.has_moved && self.end.is_none() {
            return Progress::Moved;
        }
        let mut budget = Budget {
            steps: MAX_STEPS,
            bytes: 0,
            limit,
        };
        loop {
            let Some(mut round) = self.round.take() else {
                if let Some(end) = &self.end
                    && end.rank <= Some(self.after)
                {
                    return Progress::Ended(Arc::clone(end));
                }
                if ring.newest() == self.after {
                    return Progress::CaughtUp(head);
                }
                if ring.is_evicted(self.after.next()) {
                    return self.lose(ring, piece);
                }
                match self.next_round(ring) {
                    Some(round) => self.round = Some(round),
                    None => self.after = ring.newest(),
                }
                continue;
            };
            let taken = self
                .walk_back(ring, &mut round, &mut budget)
                .and_then(|()| self.take(ring, &mut round, &mut budget, piece));
            match taken {
                Ok(()) => self.after = round.last,
                Err(Stop::Full) => {
                    self.from_oldest &= piece.is_empty();
                    self.round = Some(round);
                    return Progress::More;
                }
                Err(Stop::Lost) => return self.lose(ring, piece),
                Err(Stop::Ended(entry)) => return Progress::Ended(entry),
            }
        }
    }

    /// Handles the eviction of the next entry.
    fn lose(&mut self, ring: &Ring, piece: &[Arc<Entry>]) -> Progress {
        if !self.from_oldest || !piece.is_empty() {
            return Progress::Lost;
        }
        // The client was promised only what is retained, and that has become less.
        self.after = ring.before_oldest();
        self.has_moved = true;
        Progress::Moved
    }

    fn next_round(&self, ring: &Ring) -> Option<Round> {
        let cursors = cursors(ring, chains(&self.user, &self.topics), self.after)?;
        Some(Round {
            last: ring.newest(),
            cursors,
            ready: 0,
        })
    }

    /// Moves each cursor back to the first entry after the client's place.
    fn walk_back(&self, ring: &Ring, round: &mut Round, budget: &mut Budget) -> Result<(), Stop> {
        let chains = chains(&self.user, &self.topics);
        for (cursor, chain) in round.cursors.iter_mut().zip(chains).skip(round.ready) {
            while *cursor != Rank::NONE {
                if ring.is_evicted(*cursor) {
                    return Err(Stop::Lost);
                }
                let previous = ring.previous(*cursor, chain);
                if previous <= self.after {
                    break;
                }
                if budget.steps == 0 {
                    return Err(Stop::Full);
                }
                budget.steps -= 1;
                *cursor = previous;
            }
            round.ready += 1;
        }
        Ok(())
    }

    /// One of [`chains`], by its number. Called for each entry, so it does not use the iterator.
    fn chain(&self, number: usize) -> Chain<'_> {
        match number {
            0 => Chain::All,
            1 => Chain::User(&self.user),
            _ => Chain::Topic(self.topics[number - 2].as_str()),
        }
    }

    /// Takes entries in the order of their ranks, until the round ends.
    fn take(
        &self,
        ring: &Ring,
        round: &mut Round,
        budget: &mut Budget,
        piece: &mut Vec<Arc<Entry>>,
    ) -> Result<(), Stop> {
        loop {
            let earliest = round
                .cursors
                .iter_mut()
                .enumerate()
                .filter(|(_, cursor)| **cursor != Rank::NONE)
                .min_by_key(|(_, cursor)| **cursor);
            let Some((number, cursor)) = earliest.filter(|(_, cursor)| **cursor <= round.last)
            else {
                return Ok(());
            };
            let chain = self.chain(number);
            if let Some(end) = &self.end
                && end.rank < Some(*cursor)
            {
                return Err(Stop::Ended(Arc::clone(end)));
            }
            if ring.is_evicted(*cursor) {
                return Err(Stop::Lost);
            }
            let entry = ring.entry(*cursor);
            if let Record::Session { .. } = entry.record {
                if entry.position > self.settled && entry.record.ends(self.session.as_deref()) {
                    return Err(Stop::Ended(Arc::clone(entry)));
                }
                if budget.steps == 0 {
                    return Err(Stop::Full);
                }
                budget.steps -= 1;
                *cursor = ring.next(*cursor, chain);
                continue;
            }
            budget.bytes += entry.wire_bytes();
            let is_full = piece.len() == budget.limit.entries
                || (budget.bytes > budget.limit.bytes && !piece.is_empty());
            if is_full {
                return Err(Stop::Full);
            }
            piece.push(Arc::clone(entry));
            *cursor = ring.next(*cursor, chain);
        }
    }
}

/// The cost that one piece may still add.
struct Budget {
    steps: usize,
    bytes: usize,
    limit: PieceLimit,
}

/// The reason why a round stops.
enum Stop {
    /// The piece is full, or the log was locked for long enough.
    Full,
    /// The next entry was evicted.
    Lost,
    /// The client's session ended.
    Ended(Arc<Entry>),
}

/// For each chain, where to start looking for entries after `after`; `None` if no chain has one. A chain that is
/// entirely after it starts at its oldest entry. Any other chain is walked back from its newest.
fn cursors<'a>(
    ring: &Ring,
    chains: impl Iterator<Item = Chain<'a>>,
    after: Rank,
) -> Option<Box<[Rank]>> {
    let cursors: Box<[Rank]> = chains
        .map(|chain| match ring.ends(chain) {
            Some(ends) if ends.oldest > after => ends.oldest,
            Some(ends) if ends.newest > after => ends.newest,
            _ => Rank::NONE,
        })
        .collect();
    cursors
        .iter()
        .any(|cursor| *cursor != Rank::NONE)
        .then_some(cursors)
}

/// The chains that a client is on.
pub(super) fn chains<'a>(user: &'a str, topics: &'a [Topic]) -> impl Iterator<Item = Chain<'a>> {
    let topics = topics.iter().map(|topic| Chain::Topic(topic.as_str()));
    [Chain::All, Chain::User(user)].into_iter().chain(topics)
}
