//! The retained entries, oldest first, and the chains through them.
//!
//! Each user, each topic and the broadcasts have a *chain*: the entries for them, linked in both directions. A
//! chain costs two words per entry, and one place in a table while any of its entries is retained. Ranks are
//! dense, so a link is followed by indexing. A link to before the front means "evicted".
//!
//! If the newest entries are removed, their ranks are given again. So a rank is valid in one *generation* only.

use std::collections::VecDeque;
use std::sync::Arc;

use hashbrown::HashTable;

use super::entry::{Entry, Rank, Record};
use crate::event::{EventId, Position, Target, Users};

/// The recipients that a chain of entries is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Chain<'a> {
    /// All clients.
    All,
    /// This user, alone or among others.
    User(&'a str),
    /// The subscribers of this topic.
    Topic(&'a str),
}

/// The time between two removals of newest entries. Within it, each rank belongs to one entry.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Generation(u64);

/// The retained entries, and the chains of each user, each topic and the broadcasts.
#[derive(Debug, Default)]
pub(super) struct Ring {
    generation: Generation,
    retained: VecDeque<Retained>,
    /// The rank of the newest entry retained in this generation or before.
    newest: Rank,
    broadcasts: Option<Ends>,
    /// The ends of the chains of users and topics that have an entry.
    ends: HashTable<Ends>,
    hasher: ahash::RandomState,
    /// Bytes of the entries and their links. [`Ring::bytes`] adds those of the ring and of the table.
    entry_bytes: usize,
}

#[derive(Debug)]
struct Retained {
    entry: Arc<Entry>,
    /// When it becomes too old, on the monotonic clock.
    expires_ms: u64,
    links: Links,
}

/// An entry's neighbours in the chains it is on, in the order of its targets.
#[derive(Debug)]
enum Links {
    None,
    One(Link),
    Many(Box<[Link]>),
}

#[derive(Clone, Copy, Debug, Default)]
struct Link {
    previous: Rank,
    next: Rank,
}

/// A chain's first and last entry. The last entry contains the chain's name, so the table holds no copy.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ends {
    pub(super) oldest: Rank,
    pub(super) newest: Rank,
    /// The index among the newest entry's targets, if it has several.
    place: u32,
}

impl Ring {
    /// The generation of the ranks.
    pub(super) fn generation(&self) -> Generation {
        self.generation
    }

    /// The rank of the newest entry, retained or evicted.
    pub(super) fn newest(&self) -> Rank {
        self.newest
    }

    /// Returns true if the entry of this rank was retained once and is no longer.
    pub(super) fn is_evicted(&self, rank: Rank) -> bool {
        rank < self.oldest()
    }

    /// The ids of all entries, in order.
    pub(super) fn ids(&self) -> impl Iterator<Item = EventId> {
        self.retained.iter().map(|retained| retained.entry.id)
    }

    /// The id of the oldest entry.
    pub(super) fn oldest_id(&self) -> Option<EventId> {
        Some(self.retained.front()?.entry.id)
    }

    /// The id of the newest entry.
    pub(super) fn newest_id(&self) -> Option<EventId> {
        Some(self.retained.back()?.entry.id)
    }

    /// The rank before the oldest entry's. All retained entries are after it.
    pub(super) fn before_oldest(&self) -> Rank {
        Rank(self.oldest().0 - 1)
    }

    /// The rank of the entry with this id.
    pub(super) fn find(&self, id: EventId) -> Option<Rank> {
        let index = self
            .retained
            .binary_search_by_key(&id, |retained| retained.entry.id);
        index.ok().map(|index| Rank(self.oldest().0 + index as u64))
    }

    /// The retained entry of a rank.
    pub(super) fn entry(&self, rank: Rank) -> &Arc<Entry> {
        &self.at(rank).entry
    }

    /// The entry of a rank, if it is retained.
    pub(super) fn get(&self, rank: Rank) -> Option<&Entry> {
        let index = rank.0.checked_sub(self.oldest().0)?;
        let retained = self.retained.get(usize::try_from(index).ok()?)?;
        Some(&retained.entry)
    }

    /// The newest entry up to a position.
    pub(super) fn last_up_to(&self, position: Position) -> Option<&Entry> {
        let count = self
            .retained
            .partition_point(|retained| retained.entry.position <= position);
        let retained = self.retained.get(count.checked_sub(1)?)?;
        Some(&retained.entry)
    }

    /// All entries in order, and when each becomes too old.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&Arc<Entry>, u64)> {
        let retained = self.retained.iter();
        retained.map(|retained| (&retained.entry, retained.expires_ms))
    }

    /// The ends of a chain; `None` if no entry of it is retained.
    pub(super) fn ends(&self, chain: Chain<'_>) -> Option<Ends> {
        if chain == Chain::All {
            return self.broadcasts;
        }
        let (oldest, retained) = (self.oldest(), &self.retained);
        let hash = self.hasher.hash_one(Some(chain));
        let known = self
            .ends
            .find(hash, |ends| ends.chain(retained, oldest) == Some(chain));
        known.copied()
    }

    /// The entry before a retained one in a chain. It may be evicted. [`Rank::NONE`] for the chain's first entry.
    pub(super) fn previous(&self, rank: Rank, chain: Chain<'_>) -> Rank {
        self.link(rank, chain).previous
    }

    /// The entry after a retained one in a chain; [`Rank::NONE`] for the chain's newest entry.
    pub(super) fn next(&self, rank: Rank, chain: Chain<'_>) -> Rank {
        self.link(rank, chain).next
    }

    /// The rank of the next entry to be pushed.
    pub(super) fn next_rank(&self) -> Rank {
        self.newest.next()
    }

    /// Retains an entry until `expires_ms`, and links it. Its rank must be [`Ring::next_rank`].
    pub(super) fn push(&mut self, entry: &Arc<Entry>, expires_ms: u64) {
        let rank = self.next_rank();
        debug_assert_eq!(entry.rank, Some(rank));
        self.newest = rank;
        self.retained.push_back(Retained {
            entry: Arc::clone(entry),
            expires_ms,
            links: Links::None,
        });
        let links = match &entry.record {
            Record::Event {
                to: Target::Users(users),
                ..
            } => Links::Many(
                (0..)
                    .zip(users.as_slice())
                    .map(|(place, user)| self.lengthen(Chain::User(user.as_str()), rank, place))
                    .collect(),
            ),
            record => chains_of(record).next().map_or(Links::None, |chain| {
                Links::One(self.lengthen(chain, rank, 0))
            }),
        };
        self.entry_bytes += entry.heap_bytes() + links.heap_bytes();
        if let Some(retained) = self.retained.back_mut() {
            retained.links = links;
        }
    }

    /// The oldest entry, and when it becomes too old.
    pub(super) fn front(&self) -> Option<(&Entry, u64)> {
        let front = self.retained.front()?;
        Some((&front.entry, front.expires_ms))
    }

    /// Evicts the oldest entry.
    pub(super) fn pop(&mut self) -> Option<Arc<Entry>> {
        let entry = Arc::clone(&self.retained.front()?.entry);
        for (place, chain) in (0..).zip(chains_of(&entry.record)) {
            self.shorten(chain, place);
        }
        let front = self.retained.pop_front()?;
        self.entry_bytes -= entry.heap_bytes() + front.links.heap_bytes();
        self.free_if_empty();
        Some(entry)
    }

    fn free_if_empty(&mut self) {
        if self.retained.is_empty() {
            self.retained = VecDeque::new();
            self.ends = HashTable::new();
        }
    }

    /// Removes the entries after `id`, begins a new generation, and returns them, oldest first. Their ranks are
    /// given again.
    pub(super) fn truncate_after(&mut self, id: EventId) -> Vec<Arc<Entry>> {
        let keeps = self
            .retained
            .partition_point(|retained| retained.entry.id <= id);
        let mut removed = Vec::with_capacity(self.retained.len() - keeps);
        while self.retained.len() > keeps
            && let Some(entry) = self.pop_newest()
        {
            removed.push(entry);
        }
        removed.reverse();
        self.generation.0 += 1;
        removed
    }

    /// Removes the newest entry.
    fn pop_newest(&mut self) -> Option<Arc<Entry>> {
        let entry = Arc::clone(&self.retained.back()?.entry);
        for (place, chain) in (0..).zip(chains_of(&entry.record)) {
            self.cut(chain, place);
        }
        let back = self.retained.pop_back()?;
        self.newest.0 -= 1;
        self.entry_bytes -= entry.heap_bytes() + back.links.heap_bytes();
        self.free_if_empty();
        Some(entry)
    }

    /// Gives back memory that is unused after a burst.
    pub(super) fn shrink(&mut self) {
        if self.retained.len() < self.retained.capacity() / 4 {
            self.retained.shrink_to(self.retained.len() * 2);
        }
        if self.ends.len() < self.ends.capacity() / 4 {
            let (oldest, retained, hasher) = (self.oldest(), &self.retained, &self.hasher);
            self.ends.shrink_to(self.ends.len() * 2, |ends| {
                hasher.hash_one(ends.chain(retained, oldest))
            });
        }
    }

    /// Bytes of the ring and everything in it.
    pub(super) fn bytes(&self) -> usize {
        self.entry_bytes
            + self.retained.capacity() * size_of::<Retained>()
            + self.ends.allocation_size()
    }

    /// The number of retained entries.
    pub(super) fn len(&self) -> usize {
        self.retained.len()
    }

    /// Makes `rank` the newest entry of a chain, and returns its link.
    fn lengthen(&mut self, chain: Chain<'_>, rank: Rank, place: u32) -> Link {
        let (oldest, retained, hasher) = (self.oldest(), &self.retained, &self.hasher);
        let known = if chain == Chain::All {
            self.broadcasts.as_mut()
        } else {
            let hash = hasher.hash_one(Some(chain));
            self.ends
                .find_mut(hash, |ends| ends.chain(retained, oldest) == Some(chain))
        };
        let previous = if let Some(ends) = known {
            let previous = *ends;
            (ends.newest, ends.place) = (rank, place);
            self.set_next(previous, rank);
            previous.newest
        } else {
            let ends = Ends {
                oldest: rank,
                newest: rank,
                place,
            };
            if chain == Chain::All {
                self.broadcasts = Some(ends);
            } else {
                let hash = hasher.hash_one(Some(chain));
                self.ends.insert_unique(hash, ends, |ends| {
                    hasher.hash_one(ends.chain(retained, oldest))
                });
            }
            Rank::NONE
        };
        Link {
            previous,
            next: Rank::NONE,
        }
    }

    /// Removes the ring's oldest entry from a chain. It is also the chain's oldest.
    fn shorten(&mut self, chain: Chain<'_>, place: u32) {
        let rank = self.oldest();
        let next = self.links(rank).at(place as usize).next;
        if chain == Chain::All {
            self.broadcasts = self.broadcasts.filter(|_| next != Rank::NONE);
            if let Some(ends) = &mut self.broadcasts {
                ends.oldest = next;
            }
            return;
        }
        let hash = self.hasher.hash_one(Some(chain));
        let retained = &self.retained;
        let known = self
            .ends
            .find_entry(hash, |ends| ends.chain(retained, rank) == Some(chain));
        if let Ok(mut known) = known {
            if next == Rank::NONE {
                known.remove();
            } else {
                known.get_mut().oldest = next;
            }
        }
    }

    /// Removes the ring's newest entry from a chain. It is also the chain's newest.
    fn cut(&mut self, chain: Chain<'_>, place: u32) {
        let rank = self.newest;
        let previous = self.links(rank).at(place as usize).previous;
        // An evicted entry is on no chain any more.
        let previous = (previous >= self.oldest()).then(|| (previous, self.place(previous, chain)));
        let (oldest, retained, hasher) = (self.oldest(), &self.retained, &self.hasher);
        let shorter = if chain == Chain::All {
            if let (Some(previous), Some(ends)) = (previous, &mut self.broadcasts) {
                Some(ends.end_at(previous))
            } else {
                self.broadcasts = None;
                None
            }
        } else {
            let hash = hasher.hash_one(Some(chain));
            let known = self
                .ends
                .find_entry(hash, |ends| ends.chain(retained, oldest) == Some(chain));
            match (previous, known) {
                (Some(previous), Ok(mut known)) => Some(known.get_mut().end_at(previous)),
                (None, Ok(known)) => {
                    known.remove();
                    None
                }
                (_, Err(_)) => None,
            }
        };
        if let Some(ends) = shorter {
            self.set_next(ends, Rank::NONE);
        }
    }

    fn set_next(&mut self, of: Ends, next: Rank) {
        let index = index_from(self.oldest(), of.newest);
        match &mut self.retained[index].links {
            Links::One(link) => link.next = next,
            Links::Many(links) => links[of.place as usize].next = next,
            Links::None => unreachable!("an entry of no chain is no chain's newest"),
        }
    }

    fn oldest(&self) -> Rank {
        Rank(self.newest.0 + 1 - self.retained.len() as u64)
    }

    fn at(&self, rank: Rank) -> &Retained {
        &self.retained[index_from(self.oldest(), rank)]
    }

    fn links(&self, rank: Rank) -> &Links {
        &self.at(rank).links
    }

    #[inline]
    fn link(&self, rank: Rank, chain: Chain<'_>) -> Link {
        self.links(rank).at(self.place(rank, chain))
    }

    /// The index of a chain among those of a retained entry.
    #[inline]
    fn place(&self, rank: Rank, chain: Chain<'_>) -> usize {
        match (&self.entry(rank).record, chain) {
            (
                Record::Event {
                    to: Target::Users(users),
                    ..
                },
                Chain::User(user),
            ) => users.place_of(user).unwrap_or_default(),
            _ => 0,
        }
    }
}

impl Links {
    fn at(&self, place: usize) -> Link {
        match self {
            Self::None => Link::default(),
            Self::One(link) => *link,
            Self::Many(links) => links[place],
        }
    }

    fn heap_bytes(&self) -> usize {
        match self {
            Self::None | Self::One(_) => 0,
            Self::Many(links) => size_of_val::<[Link]>(links),
        }
    }
}

impl Ends {
    /// Makes the entry of this rank, whose chain has this place, the chain's last.
    fn end_at(&mut self, (newest, place): (Rank, usize)) -> Self {
        self.newest = newest;
        // A list of users has fewer than 2^32.
        self.place = u32::try_from(place).unwrap_or(u32::MAX);
        *self
    }

    /// The chain that these are the ends of. It takes the ring's parts, so that the table can be changed
    /// meanwhile.
    fn chain(self, retained: &VecDeque<Retained>, oldest: Rank) -> Option<Chain<'_>> {
        match &retained[index_from(oldest, self.newest)].entry.record {
            Record::Event {
                to: Target::Users(users),
                ..
            } => users
                .as_slice()
                .get(self.place as usize)
                .map(|user| Chain::User(user.as_str())),
            record => chains_of(record).next(),
        }
    }
}

fn index_from(oldest: Rank, rank: Rank) -> usize {
    // A rank before the oldest wraps, and is then out of bounds.
    usize::try_from(rank.0.wrapping_sub(oldest.0)).unwrap_or(usize::MAX)
}

/// The chains that a record is on.
pub(super) fn chains_of(record: &Record) -> impl Iterator<Item = Chain<'_>> {
    let (one, many) = match record {
        Record::Session { change, .. } => (Some(Chain::User(change.user.as_str())), None),
        Record::Event { to, .. } => match to {
            Target::All => (Some(Chain::All), None),
            Target::User(user) => (Some(Chain::User(user.as_str())), None),
            Target::Topic(topic) => (Some(Chain::Topic(topic.as_str())), None),
            Target::Users(users) => (None, Some(users)),
        },
        Record::Mark | Record::Resync | Record::Control { .. } => (None, None),
    };
    let many = many.into_iter().flat_map(Users::as_slice);
    one.into_iter()
        .chain(many.map(|user| Chain::User(user.as_str())))
}
