//! One-time tickets: a client trades its token for one, so that what stands in a URL (and in the
//! access logs along the way) is worthless half a minute later.
//!
//! A ticket is 256 random bits, kept only as half of its SHA-256: neither a memory dump nor the
//! timing of a look-up tells a usable one. The table is bounded by bytes, since a token may carry
//! 8 KiB of topics. When it is full, the tickets that would run out first give way: a client uses
//! its ticket at once, so those are the ones that nobody is going to use. A user's own oldest give
//! way first, so that no user can push out another's with less than a hundred accounts.
//!
//! Every operation costs O(log n) in the tickets held, and the table gives its memory back as it
//! empties.

use std::collections::BTreeMap;
use std::time::Duration;

use compact_str::CompactString;
use parking_lot::Mutex;
use sha2::{Digest as _, Sha256};

use super::{Identity, Issued, random_name};
use crate::clock::{Clock, millis};
use crate::expiring::{Expiring, ExpiringEntry, Expiry};
use crate::topic::TopicPattern;

/// Most that unused tickets hold: 80,000 without topics. With the default life of 30 s, 2,700
/// clients a second may fetch one and never use it.
pub const MAX_BYTES: usize = 32 * 1024 * 1024;

/// Most unused tickets of one user. One more drops the user's oldest: a client that asks again has
/// most likely lost the earlier one.
pub(crate) const MAX_TICKETS_PER_USER: usize = 32;

/// Most that the unused tickets of one user hold: seven of the largest.
pub(crate) const MAX_BYTES_PER_USER: usize = 64 * 1024;

/// A ticket without what its texts hold: 192 bytes in three B-trees, whose nodes are half full at
/// the least.
const TICKET_BYTES: usize = 400;

/// What the allocator adds to a text of its own, at the most.
const ALLOCATION_BYTES: usize = 16;

/// Expired tickets that are dropped for each that is issued, so that no request pays for many.
const DROPPED_PER_ISSUE: usize = 4;

/// Expired tickets that a sweep drops before it lets others at the table.
const DROPPED_PER_LOCK: usize = 256;

/// Expired tickets that one sweep drops: a few milliseconds of work. A sweep runs every second, so
/// a full table is empty 20 s after its last ticket has expired. Whoever issues faster than this
/// pays by itself ([`DROPPED_PER_ISSUE`]).
const DROPPED_PER_SWEEP: usize = 4_096;

/// The tickets that were issued and not yet used.
#[derive(Debug)]
pub struct Tickets {
    clock: Clock,
    table: Mutex<Table>,
}

impl Tickets {
    /// No tickets yet.
    pub fn new(clock: Clock) -> Self {
        Self::with_bytes(clock, MAX_BYTES)
    }

    /// None yet, and at most so many bytes of them.
    fn with_bytes(clock: Clock, max_bytes: usize) -> Self {
        Self {
            clock,
            table: Mutex::new(Table {
                max_bytes,
                ..Table::default()
            }),
        }
    }

    /// A ticket that stands for `identity` once, within `ttl`.
    pub fn issue(&self, identity: Identity, ttl: Duration) -> String {
        let ticket = random_name();
        let now_ms = self.clock.now_ms();
        let expires_ms = now_ms.saturating_add(millis(ttl));
        let mut table = self.table.lock();
        table.expire(now_ms, DROPPED_PER_ISSUE);
        table.insert(digest(&ticket), expires_ms, identity);
        ticket
    }

    /// Whom the ticket stands for, if it was issued, is unused and in time. It is used up, even if
    /// what follows (revocation, limits) refuses the client.
    pub fn redeem(&self, ticket: &str) -> Option<Identity> {
        let entry = self.table.lock().remove(digest(ticket))?;
        (self.clock.now_ms() < entry.expiry.at_ms).then(|| entry.value.identity())
    }

    /// Drops tickets that have expired, the oldest first, and frees their memory. What is left
    /// after [`DROPPED_PER_SWEEP`] waits for the next call.
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

    /// What the unused tickets hold, at the most.
    pub fn bytes(&self) -> usize {
        self.table.lock().bytes
    }

    /// Whom the ticket would stand for; it stays unused.
    pub fn look(&self, ticket: &str) -> Option<Identity> {
        let table = self.table.lock();
        let entry = table.tickets.get(digest(ticket))?;
        (self.clock.now_ms() < entry.expiry.at_ms).then(|| entry.value.identity())
    }
}

/// Half a SHA-256 stands for a ticket, and for a user: 128 bits are beyond anybody's guess.
type Hash = u128;

fn digest(text: &str) -> Hash {
    let hash: [u8; 32] = Sha256::digest(text).into();
    let mut half = [0; 16];
    half.iter_mut().zip(hash).for_each(|(to, from)| *to = from);
    Hash::from_le_bytes(half)
}

/// An identity whose topics are one text.
#[derive(Debug)]
struct Holder {
    user: CompactString,
    session: Option<Box<str>>,
    issued: Option<Issued>,
    expires_at: u64,
    /// A pattern a line: no pattern has control characters.
    topics: Box<str>,
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
            // Each was a pattern when it was written there.
            topics: topics
                .filter_map(|topic| TopicPattern::parse(topic).ok())
                .collect(),
        }
    }

    /// What it holds at the most.
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

/// Each ticket stands for itself and among its user's.
#[derive(Debug, Default)]
struct Table {
    tickets: Expiring<Hash, Holder>,
    /// A user's tickets stand together, the one that runs out first before the others.
    by_user: BTreeMap<(Hash, Expiry), Hash>,
    bytes: usize,
    max_bytes: usize,
}

impl Table {
    /// Drops up to `most` tickets that ran out; whether there may be more.
    fn expire(&mut self, now_ms: u64, most: usize) -> bool {
        for _ in 0..most {
            match self.tickets.expired(now_ms) {
                Some(hash) => self.remove(hash),
                None => return false,
            };
        }
        true
    }

    fn insert(&mut self, hash: Hash, expires_ms: u64, identity: Identity) {
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

    /// Drops a user's oldest tickets until one more, of so many bytes, is within the bounds.
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
mod tests;
