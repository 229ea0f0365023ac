//! One-time tickets: a client trades its token for one, so that what stands in a URL (and in the
//! access logs along the way) is worthless half a minute later.
//!
//! A ticket is 256 random bits, kept only as its SHA-256: neither a memory dump nor the timing of
//! a look-up tells a usable one. Every operation costs O(log n) in the tickets held, and the
//! number held is bounded; tickets that ran out are dropped as others are issued.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::time::Duration;

use compact_str::CompactString;
use parking_lot::Mutex;
use sha2::{Digest as _, Sha256};

use super::{Identity, random_name};
use crate::clock::{Clock, millis};

/// Most unused tickets at once: with the default life of 30 s, room for 2,000 clients a second
/// that reconnect by ticket, in some 20 MiB.
pub const MAX_TICKETS: usize = 65_536;

/// Most unused tickets of one user, so that nobody fills the table alone. One more drops the
/// user's oldest: a client that asks again has most likely lost the earlier one.
pub const MAX_TICKETS_PER_USER: usize = 32;

/// The tickets that were issued and not yet used.
#[derive(Debug)]
pub struct Tickets {
    clock: Clock,
    table: Mutex<Table>,
}

impl Tickets {
    /// No tickets yet.
    pub fn new(clock: Clock) -> Self {
        Self {
            clock,
            table: Mutex::default(),
        }
    }

    /// A ticket that stands for `identity` once, within `ttl`.
    ///
    /// # Errors
    /// [`MAX_TICKETS`] are unused.
    pub fn issue(&self, identity: Identity, ttl: Duration) -> Result<String, TicketsFull> {
        let ticket = random_name();
        let now_ms = self.clock.now_ms();
        let expires_ms = now_ms.saturating_add(millis(ttl));
        let mut table = self.table.lock();
        table.expire(now_ms);
        table.insert(digest(&ticket), expires_ms, identity)?;
        Ok(ticket)
    }

    /// Whom the ticket stands for, if it was issued, is unused and in time. It is used up, even if
    /// what follows (revocation, limits) refuses the client.
    pub fn redeem(&self, ticket: &str) -> Option<Identity> {
        let entry = self.table.lock().remove(&digest(ticket))?;
        (self.clock.now_ms() < entry.place.expires_ms).then_some(entry.identity)
    }

    /// Whom the ticket would stand for; it stays unused.
    pub fn look(&self, ticket: &str) -> Option<Identity> {
        let table = self.table.lock();
        let entry = table.tickets.get(&digest(ticket))?;
        (self.clock.now_ms() < entry.place.expires_ms).then(|| entry.identity.clone())
    }
}

/// The table holds [`MAX_TICKETS`] unused tickets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("too many unused tickets")]
pub struct TicketsFull;

type TicketHash = [u8; 32];

fn digest(ticket: &str) -> TicketHash {
    Sha256::digest(ticket).into()
}

/// Where a ticket stands among all: first by when it runs out, then by when it was issued.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Place {
    expires_ms: u64,
    number: u64,
}

#[derive(Debug)]
struct Entry {
    place: Place,
    identity: Identity,
}

/// Three views of the same tickets; each ticket is in all of them or in none.
#[derive(Debug, Default)]
struct Table {
    tickets: HashMap<TicketHash, Entry>,
    by_expiry: BTreeMap<Place, TicketHash>,
    /// A user's tickets, oldest first; no entry is empty.
    by_user: HashMap<CompactString, VecDeque<TicketHash>>,
    issued: u64,
}

impl Table {
    fn expire(&mut self, now_ms: u64) {
        while let Some((place, hash)) = self.by_expiry.first_key_value()
            && place.expires_ms <= now_ms
        {
            let hash = *hash;
            self.remove(&hash);
        }
    }

    fn insert(
        &mut self,
        hash: TicketHash,
        expires_ms: u64,
        identity: Identity,
    ) -> Result<(), TicketsFull> {
        if let Some(own) = self.by_user.get(&identity.user)
            && own.len() >= MAX_TICKETS_PER_USER
            && let Some(oldest) = own.front().copied()
        {
            self.remove(&oldest);
        }
        if self.tickets.len() >= MAX_TICKETS {
            return Err(TicketsFull);
        }
        let place = Place {
            expires_ms,
            number: self.issued,
        };
        self.issued += 1;
        self.by_expiry.insert(place, hash);
        self.by_user
            .entry(identity.user.clone())
            .or_default()
            .push_back(hash);
        self.tickets.insert(hash, Entry { place, identity });
        debug_assert_eq!(self.tickets.len(), self.by_expiry.len());
        Ok(())
    }

    fn remove(&mut self, hash: &TicketHash) -> Option<Entry> {
        let entry = self.tickets.remove(hash)?;
        self.by_expiry.remove(&entry.place);
        if let Some(own) = self.by_user.get_mut(&entry.identity.user) {
            own.retain(|other| other != hash);
            if own.is_empty() {
                self.by_user.remove(&entry.identity.user);
            }
        }
        Some(entry)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const TTL: Duration = Duration::from_secs(30);

    fn identity(user: &str) -> Identity {
        Identity {
            user: user.into(),
            session: None,
            issued: None,
            expires_at: 2_000_000_000,
            topics: Box::default(),
        }
    }

    fn user(identity: Option<Identity>) -> Option<CompactString> {
        identity.map(|identity| identity.user)
    }

    #[test]
    fn a_ticket_works_once() {
        let tickets = Tickets::new(Clock::manual(0));
        let ticket = tickets.issue(identity("42"), TTL).unwrap();
        assert_eq!(ticket.len(), 43);
        assert_eq!(user(tickets.look(&ticket)), Some("42".into()));
        assert_eq!(user(tickets.redeem(&ticket)), Some("42".into()));
        assert!(tickets.look(&ticket).is_none());
        assert!(tickets.redeem(&ticket).is_none());
        assert!(tickets.redeem("unknown").is_none());
        assert!(tickets.redeem("").is_none());
    }

    #[test]
    fn a_ticket_works_until_its_time_and_not_at_it() {
        let clock = Clock::manual(0);
        let tickets = Tickets::new(clock.clone());
        let early = tickets.issue(identity("42"), TTL).unwrap();
        let late = tickets.issue(identity("42"), TTL).unwrap();
        clock.advance(Duration::from_millis(29_999));
        assert!(tickets.redeem(&early).is_some());
        clock.advance(Duration::from_millis(1));
        assert!(tickets.redeem(&late).is_none());
    }

    #[test]
    fn a_user_who_asks_too_often_loses_the_oldest_ticket() {
        let tickets = Tickets::new(Clock::manual(0));
        let other = tickets.issue(identity("other"), TTL).unwrap();
        let own: Vec<_> = (0..=MAX_TICKETS_PER_USER)
            .map(|_| tickets.issue(identity("42"), TTL).unwrap())
            .collect();
        assert!(tickets.redeem(&own[0]).is_none());
        assert!(
            own[1..]
                .iter()
                .all(|ticket| tickets.redeem(ticket).is_some())
        );
        assert!(tickets.redeem(&other).is_some());
    }

    #[test]
    fn a_full_table_refuses_until_tickets_run_out() {
        let clock = Clock::manual(0);
        let tickets = Tickets::new(clock.clone());
        for number in 0..MAX_TICKETS {
            let user = number.to_string();
            tickets.issue(identity(&user), TTL).unwrap();
        }
        assert_eq!(tickets.issue(identity("new"), TTL), Err(TicketsFull));
        clock.advance(TTL);
        let ticket = tickets.issue(identity("new"), TTL).unwrap();
        assert!(tickets.redeem(&ticket).is_some());
        let table = tickets.table.lock();
        assert_eq!(
            (
                table.tickets.len(),
                table.by_expiry.len(),
                table.by_user.len()
            ),
            (0, 0, 0)
        );
    }

    #[test]
    fn the_table_never_holds_a_usable_ticket() {
        let tickets = Tickets::new(Clock::manual(0));
        let ticket = tickets.issue(identity("42"), TTL).unwrap();
        assert!(!format!("{tickets:?}").contains(&ticket));
    }

    #[derive(Clone, Debug)]
    enum Step {
        Issue { user: u8, ttl_ms: u64 },
        Redeem(prop::sample::Index),
        Advance(u64),
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            4 => (0..2_u8, 0..500_u64).prop_map(|(user, ttl_ms)| Step::Issue { user, ttl_ms }),
            2 => any::<prop::sample::Index>().prop_map(Step::Redeem),
            1 => (0..300_u64).prop_map(Step::Advance),
        ]
    }

    /// What a ticket is worth, told as simply as possible.
    struct Model {
        ticket: String,
        user: u8,
        expires_ms: u64,
        usable: bool,
    }

    proptest! {
        #[test]
        fn tickets_behave_as_their_description(steps in prop::collection::vec(step(), 0..200)) {
            let clock = Clock::manual(0);
            let tickets = Tickets::new(clock.clone());
            let mut all: Vec<Model> = Vec::new();
            for step in steps {
                let now_ms = clock.now_ms();
                match step {
                    Step::Advance(ms) => clock.advance(Duration::from_millis(ms)),
                    Step::Issue { user, ttl_ms } => {
                        let ttl = Duration::from_millis(ttl_ms);
                        let ticket = tickets.issue(identity(&user.to_string()), ttl).unwrap();
                        let mut own: Vec<_> = all
                            .iter_mut()
                            .filter(|old| old.user == user && old.usable && old.expires_ms > now_ms)
                            .collect();
                        if own.len() == MAX_TICKETS_PER_USER {
                            own[0].usable = false;
                        }
                        let expires_ms = now_ms + ttl_ms;
                        all.push(Model { ticket, user, expires_ms, usable: true });
                    }
                    Step::Redeem(index) if !all.is_empty() => {
                        let index = index.index(all.len());
                        let model = &mut all[index];
                        let expected = (model.usable && now_ms < model.expires_ms)
                            .then(|| model.user.to_string().into());
                        prop_assert_eq!(user(tickets.redeem(&model.ticket)), expected);
                        model.usable = false;
                    }
                    Step::Redeem(_) => {}
                }
                let table = tickets.table.lock();
                prop_assert_eq!(table.tickets.len(), table.by_expiry.len());
                let by_user: usize = table.by_user.values().map(VecDeque::len).sum();
                prop_assert_eq!(table.tickets.len(), by_user);
            }
        }
    }
}
