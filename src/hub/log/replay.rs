//! What one client missed, taken from the log in pieces.
//!
//! A replay is a sequence of rounds. Each fixes its end at the log's newest entry, walks the
//! client's chains back to where the client is, and takes their entries forward, merged by rank,
//! which is the order of ids. When a round ends and nothing was appended meanwhile, the client
//! has caught up, and the position it then joins at is read in the same critical section: what
//! comes later reaches it live, and nothing twice. A round costs the entries it takes, whatever
//! the log holds beside; between pieces a replay holds eight bytes a chain.

use std::sync::Arc;

use super::entry::{Entry, Rank, Record};
use super::ring::{Chain, Ring};
use crate::event::Position;
use crate::topic::Topic;

/// Links followed back while the log is locked: 0.1 ms or so, so that nobody waits for long. Few
/// in tests, so that they see walks that are interrupted.
const MAX_STEPS: usize = if cfg!(test) { 3 } else { 1_024 };

/// How much one piece may hold.
#[derive(Clone, Copy, Debug)]
pub struct PieceLimit {
    /// Entries.
    pub entries: usize,
    /// Bytes of their frames, a single larger one aside.
    pub bytes: usize,
}

/// Where a replay stands after a piece.
#[derive(Debug)]
pub enum Progress {
    /// There may be more; the piece may be empty.
    More,
    /// The start has moved to the oldest entry. Whatever stood before that is gone, the end of the
    /// client's session perhaps with it: nothing is taken before [`Replay::confirm`].
    Moved,
    /// Everything up to here was taken; what comes after it is delivered live.
    CaughtUp(Position),
    /// The client's session ended here; what comes later is not for it.
    Ended(Arc<Entry>),
    /// What comes next was evicted before it was taken.
    Lost,
}

/// A client that joins.
#[derive(Clone, Copy, Debug)]
pub struct JoinRequest<'a> {
    /// Who it is.
    pub user: &'a str,
    /// Its token's session.
    pub session: Option<&'a str>,
    /// The topics it gets.
    pub topics: &'a [Topic],
    /// The id of the last event it has, as it says.
    pub last_event_id: Option<&'a str>,
    /// The position of its user's last session change that was in force when it was let in: a
    /// later one may end it.
    pub settled: Position,
}

/// One client's way from its last id to the newest entry.
#[derive(Debug)]
pub struct Replay {
    user: Box<str>,
    session: Option<Box<str>>,
    topics: Box<[Topic]>,
    /// Session changes up to here were in force when the client was let in.
    settled: Position,
    /// All that is for the client up to this rank was taken.
    after: Rank,
    /// It was told of a gap and takes what is retained: as long as nothing was taken, eviction
    /// only moves its start.
    from_oldest: bool,
    /// Its start has moved, and nobody has confirmed that its session goes on.
    has_moved: bool,
    /// The change that ended its session, once that is in force.
    end: Option<Arc<Entry>>,
    round: Option<Round>,
}

#[derive(Debug)]
struct Round {
    last: Rank,
    /// The next entry to take of each chain, or, while walking back, the earliest seen so far;
    /// [`Rank::NONE`] for none.
    cursors: Box<[Rank]>,
    /// Chains whose cursor has been walked back to the start.
    ready: usize,
}

impl Replay {
    /// What is for this client after `after`, for all that is retained where `from_oldest`;
    /// nothing where there is nothing now. Called in the critical section that the client joins
    /// in.
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

    /// Takes nothing from behind the change that ended the client's session, also where the replay
    /// does not meet it: it may be evicted by then, or from before where the client said it was.
    pub(crate) fn end_at(&mut self, change: Arc<Entry>) {
        self.end.get_or_insert(change);
    }

    /// Whether [`Replay::end_at`] was called.
    pub(crate) fn knows_its_end(&self) -> bool {
        self.end.is_some()
    }

    /// The client's session had not ended after [`Progress::Moved`].
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

    /// What comes next was evicted.
    fn lose(&mut self, ring: &Ring, piece: &[Arc<Entry>]) -> Progress {
        if !self.from_oldest || !piece.is_empty() {
            return Progress::Lost;
        }
        // Nothing was promised but what is retained: that has become less.
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

    /// Moves the cursors to the first entries after where the client is.
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

    /// One of [`chains`], by its number. Taken for each entry, so it walks through no iterator.
    fn chain(&self, number: usize) -> Chain<'_> {
        match number {
            0 => Chain::All,
            1 => Chain::User(&self.user),
            _ => Chain::Topic(self.topics[number - 2].as_str()),
        }
    }

    /// Takes entries in the order of their ranks until the round's end.
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

/// What one piece may still cost.
struct Budget {
    steps: usize,
    bytes: usize,
    limit: PieceLimit,
}

/// Why a round does not go on.
enum Stop {
    /// The piece is full, or the log was locked long enough.
    Full,
    /// The next entry was evicted.
    Lost,
    /// The client's session ended.
    Ended(Arc<Entry>),
}

/// Where to look in each chain for what comes after `after`; nothing where no chain has any. A
/// chain that is all after it is taken from its oldest on, another is walked back from its newest.
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
