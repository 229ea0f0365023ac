//! The tickets themselves: issuing, redeeming, and the bounds of their table.

use std::collections::BTreeMap;
use std::time::Duration;

use compact_str::CompactString;
use parking_lot::Mutex;
use sha2::{Digest as _, Sha256};

use crate::auth::{Identity, Issued, random_name};
use crate::clock::{Clock, millis};
use crate::expiring::{Expiring, ExpiringEntry, Expiry};
use crate::topic::TopicPattern;

/// Most bytes of unused tickets: 80,000 tickets without topics. With the default lifetime of 30 s,
/// 2,700 clients per second may fetch one and never use it.
pub const MAX_BYTES: usize = 32 * 1024 * 1024;

/// Most unused tickets of one user. Another one drops the user's oldest, because a client that asks
/// again has most likely lost the earlier one.
pub(crate) const MAX_TICKETS_PER_USER: usize = 32;

/// Most bytes of one user's unused tickets: seven of the largest.
pub(crate) const MAX_BYTES_PER_USER: usize = 64 * 1024;

/// A ticket without its texts: 192 bytes in three B-trees, whose nodes are at least half full.
const TICKET_BYTES: usize = 400;

/// Most bytes that the allocator adds to a separate text.
const ALLOCATION_BYTES: usize = 16;

/// Expired tickets that are dropped per issued ticket, so that no request pays for many.
const DROPPED_PER_ISSUE: usize = 4;

/// Expired tickets that a sweep drops before it releases the lock.
const DROPPED_PER_LOCK: usize = 256;

/// Expired tickets that one sweep drops: a few milliseconds of work. A sweep runs every second, so
/// a full table is empty 20 s after its last ticket has expired. If tickets are issued faster than
/// this, each issue drops some as well ([`DROPPED_PER_ISSUE`]).
const DROPPED_PER_SWEEP: usize = 4_096;

/// The unused tickets.
#[derive(Debug)]
pub struct Tickets {
    pub(super) clock: Clock,
    pub(super) table: Mutex<TicketTable>,
}

impl Tickets {
    /// An empty table.
    pub fn new(clock: Clock) -> Self {
        Self::with_bytes(clock, MAX_BYTES)
    }

    /// An empty table for at most `max_bytes`.
    fn with_bytes(clock: Clock, max_bytes: usize) -> Self {
        Self {
            clock,
            table: Mutex::new(TicketTable {
                max_bytes,
                ..TicketTable::default()
            }),
        }
    }

    /// Issues a ticket that can be redeemed for `identity` once, within `ttl`.
    pub fn issue(&self, identity: Identity, ttl: Duration) -> String {
        let ticket = random_name();
        let now_ms = self.clock.now_ms();
        let expires_ms = now_ms.saturating_add(millis(ttl));
        let mut table = self.table.lock();
        table.expire(now_ms, DROPPED_PER_ISSUE);
        table.insert(digest(&ticket), expires_ms, identity);
        ticket
    }

    /// Returns the identity of a valid, unused ticket. The ticket is then used up, even if the client is
    /// refused afterwards (revocation, limits).
    pub fn redeem(&self, ticket: &str) -> Option<Identity> {
        let entry = self.table.lock().remove(digest(ticket))?;
        (self.clock.now_ms() < entry.expiry.at_ms).then(|| entry.value.identity())
    }

    /// Drops expired tickets, the oldest first, and frees their memory: up to [`DROPPED_PER_SWEEP`]. The
    /// next call continues.
    pub fn sweep(&self) {
        self.sweep_up_to(DROPPED_PER_SWEEP);
    }

    fn sweep_up_to(&self, most: usize) {
        let now_ms = self.clock.now_ms();
        let mut left = most;
        while left > 0 {
            let share = left.min(DROPPED_PER_LOCK);
            if !self.table.lock().expire(now_ms, share) {
                return;
            }
            left -= share;
        }
    }

    /// An upper bound of the unused tickets' size.
    pub fn bytes(&self) -> usize {
        self.table.lock().bytes
    }

    /// Returns the identity of a valid, unused ticket, which stays unused.
    pub fn look(&self, ticket: &str) -> Option<Identity> {
        let table = self.table.lock();
        let entry = table.tickets.get(digest(ticket))?;
        (self.clock.now_ms() < entry.expiry.at_ms).then(|| entry.value.identity())
    }
}

/// Half of a SHA-256, of a ticket or a user: 128 bits cannot be guessed.
type Hash = u128;

fn digest(text: &str) -> Hash {
    let hash: [u8; 32] = Sha256::digest(text).into();
    let mut half = [0; 16];
    half.iter_mut().zip(hash).for_each(|(to, from)| *to = from);
    Hash::from_le_bytes(half)
}

/// An identity with its topics in one text.
#[derive(Debug)]
pub(super) struct Holder {
    pub(super) user: CompactString,
    pub(super) session: Option<Box<str>>,
    pub(super) issued: Option<Issued>,
    pub(super) expires_at: u64,
    /// One pattern per line; patterns contain no control characters.
    pub(super) topics: Box<str>,
}

impl Holder {
    fn new(identity: Identity) -> Self {
        let topics: Vec<&str> = identity.topics.iter().map(TopicPattern::as_str).collect();
        let mut user = identity.user;
        user.shrink_to_fit();
        Self {
            user,
            session: identity.session,
            issued: identity.issued,
            expires_at: identity.expires_at,
            topics: topics.join("\n").into(),
        }
    }

    fn identity(&self) -> Identity {
        let topics = self.topics.lines();
        Identity {
            user: self.user.clone(),
            session: self.session.clone(),
            issued: self.issued,
            expires_at: self.expires_at,
            // All are valid patterns, because they were joined from patterns.
            topics: topics
                .filter_map(|topic| TopicPattern::parse(topic).ok())
                .collect(),
        }
    }

    /// An upper bound of its size.
    fn bytes(&self) -> usize {
        let session = self.session.as_deref().unwrap_or_default();
        let texts = [session, &self.topics].map(|text| match text.len() {
            0 => 0,
            bytes => bytes + ALLOCATION_BYTES,
        });
        let user = if self.user.is_heap_allocated() {
            self.user.capacity() + ALLOCATION_BYTES
        } else {
            0
        };
        TICKET_BYTES + user + texts.iter().sum::<usize>()
    }
}

/// The tickets by hash, and by user.
#[derive(Debug, Default)]
pub(super) struct TicketTable {
    pub(super) tickets: Expiring<Hash, Holder>,
    /// A user's tickets are adjacent, in the order of their expiry.
    by_user: BTreeMap<(Hash, Expiry), Hash>,
    bytes: usize,
    max_bytes: usize,
}

impl TicketTable {
    /// Drops up to `most` expired tickets. Returns true if there may be more.
    fn expire(&mut self, now_ms: u64, most: usize) -> bool {
        for _ in 0..most {
            match self.tickets.expired(now_ms) {
                Some(hash) => self.remove(hash),
                None => return false,
            };
        }
        true
    }

    pub(super) fn insert(&mut self, hash: Hash, expires_ms: u64, identity: Identity) {
        let holder = Holder::new(identity);
        let (user, bytes) = (digest(&holder.user), holder.bytes());
        self.make_room_of_user(user, bytes);
        while self.bytes + bytes > self.max_bytes
            && let Some((_, oldest)) = self.tickets.first()
        {
            self.remove(oldest);
        }
        self.bytes += bytes;
        let place = self.tickets.insert(hash, holder, expires_ms);
        self.by_user.insert((user, place), hash);
        debug_assert_eq!(self.tickets.len(), self.by_user.len());
    }

    /// Drops a user's oldest tickets until another one of this size is within the user's limits.
    fn make_room_of_user(&mut self, user: Hash, bytes: usize) {
        // At most `MAX_TICKETS_PER_USER`.
        let own: Vec<Hash> = self
            .by_user
            .range((user, Expiry::FIRST)..=(user, Expiry::LAST))
            .map(|(_, hash)| *hash)
            .collect();
        let size = |hash: &Hash| {
            let entry = self.tickets.get(*hash);
            entry.map_or(0, |entry| entry.value.bytes())
        };
        let mut held = bytes + own.iter().map(size).sum::<usize>();
        let mut dropped = Vec::new();
        for (more, hash) in (1..=own.len()).rev().zip(&own) {
            if more < MAX_TICKETS_PER_USER && held <= MAX_BYTES_PER_USER {
                break;
            }
            held -= size(hash);
            dropped.push(*hash);
        }
        for hash in dropped {
            self.remove(hash);
        }
    }

    fn remove(&mut self, hash: Hash) -> Option<ExpiringEntry<Holder>> {
        let entry = self.tickets.remove(hash)?;
        let user = digest(&entry.value.user);
        self.by_user.remove(&(user, entry.expiry));
        self.bytes -= entry.value.bytes();
        Some(entry)
    }
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
