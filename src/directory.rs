//! Who is connected where: user → current session, connections, the moment before which tokens
//! are refused.
//!
//! 256 mutexes by the user's hash. Admission (session, limit, insert) is one critical section,
//! and so is removal; a connection is removed exactly once, by whoever sees it end. Users are
//! interned: a slot holds a 4-byte [`UserHandle`]. A user without connections and without a
//! session to remember costs nothing.

mod name;
mod standing;
mod user;

use std::sync::atomic::{AtomicUsize, Ordering};

use hashbrown::HashTable;
use parking_lot::Mutex;
use slab::Slab;

use crate::auth::Identity;
use crate::config::OnLimit;
use crate::event::SessionChange;
use crate::log::Position;
pub use standing::Standing;
use user::User;

/// Locks of the directory: with two shards admitting at once, a collision is a rare event.
const STRIPES: usize = 256;
/// Bits of a [`UserHandle`] that say the place inside a stripe.
const INDEX_BITS: u32 = 24;

/// Where a connection lives. The generation tells a slot's tenants apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ConnectionRef {
    /// The shard that owns it.
    pub shard: u16,
    /// Its slot there.
    pub key: u32,
    /// Which tenant of the slot it is.
    pub generation: u32,
}

/// A user who is interned; valid as long as one of their connections is in the directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UserHandle(u32);

impl UserHandle {
    /// Stands for "no user" (test streams).
    pub const NONE: Self = Self(u32::MAX);

    fn new(stripe: usize, index: usize) -> Option<Self> {
        let index = u32::try_from(index)
            .ok()
            .filter(|index| *index < (1 << INDEX_BITS) - 1)?;
        Some(Self((u32::try_from(stripe).ok()? << INDEX_BITS) | index))
    }

    fn parts(self) -> (usize, usize) {
        let mask = (1 << INDEX_BITS) - 1;
        ((self.0 >> INDEX_BITS) as usize, (self.0 & mask) as usize)
    }
}

/// How many connections a user may hold.
#[derive(Clone, Copy, Debug)]
pub struct Limit {
    /// At once.
    pub connections: usize,
    /// What happens to one more.
    pub on_limit: OnLimit,
}

/// A connection that was let in.
#[derive(Debug)]
pub struct Admitted {
    /// Its user, for the slot.
    pub user: UserHandle,
    /// The oldest connections, already out of the directory, where the limit evicts; more than one
    /// only after it was lowered.
    pub evicted: Vec<ConnectionRef>,
}

/// Why a connection was not let in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotAdmitted {
    /// The session is not the current one, or the token was issued before the last change.
    Revoked,
    /// The user holds as many connections as allowed.
    Limit,
    /// The directory cannot number another user.
    Full,
}

/// See the module's text.
#[derive(Debug)]
pub struct Directory {
    stripes: Box<[Mutex<Stripe>]>,
    hasher: ahash::RandomState,
    online: AtomicUsize,
}

#[derive(Debug, Default)]
struct Stripe {
    users: Slab<User>,
    /// Places in `users`, found by the name's hash.
    index: HashTable<u32>,
}

impl Default for Directory {
    fn default() -> Self {
        Self::with_hasher(ahash::RandomState::new())
    }
}

impl Directory {
    /// One whose seeds are known, for counts that have to come out the same again: which maps
    /// grow, and how long they are probed, is a matter of the seeds.
    #[cfg(feature = "bench")]
    pub fn with_known_seeds() -> Self {
        Self::with_hasher(ahash::RandomState::with_seeds(1, 2, 3, 4))
    }

    fn with_hasher(hasher: ahash::RandomState) -> Self {
        Self {
            stripes: (0..STRIPES).map(|_| Mutex::default()).collect(),
            hasher,
            online: AtomicUsize::new(0),
        }
    }

    /// Lets a connection in, or says why not. `joined` runs inside the critical section, so that
    /// the log position it reads fits the moment the connection became a target; it is given the
    /// position of the user's last session change that is in force.
    ///
    /// # Errors
    /// [`NotAdmitted`]; the directory is then unchanged.
    pub fn admit<J>(
        &self,
        identity: &Identity,
        connection: ConnectionRef,
        limit: Limit,
        joined: impl FnOnce(Position) -> J,
    ) -> Result<(Admitted, J), NotAdmitted> {
        let session = identity.session.as_deref();
        let (stripe_number, hash) = self.place(&identity.user);
        let mut stripe = self.stripes[stripe_number].lock();
        let index = match stripe.find(hash, &identity.user) {
            Some(index) => index,
            None => stripe
                .intern(hash, &identity.user, &self.hasher)
                .ok_or(NotAdmitted::Full)?,
        };
        let user = &mut stripe.users[index];
        let verdict = if user.allows(session, identity.issued) {
            user.make_room(limit)
        } else {
            Err(NotAdmitted::Revoked)
        };
        let evicted = match verdict {
            Ok(evicted) => evicted,
            Err(reason) => {
                stripe.forget_if_unused(index, hash);
                return Err(reason);
            }
        };
        if user.is_offline() && evicted.is_empty() {
            self.online.fetch_add(1, Ordering::Relaxed);
        }
        user.connect(
            connection,
            session.map(|session| self.session_hash(session)),
        );
        let settled = user.settled();
        let handle = UserHandle::new(stripe_number, index).ok_or(NotAdmitted::Full)?;
        let admitted = Admitted {
            user: handle,
            evicted,
        };
        Ok((admitted, joined(settled)))
    }

    /// Takes a connection out; false where somebody else already did.
    pub fn remove(&self, user: UserHandle, connection: ConnectionRef) -> bool {
        let (stripe, index) = user.parts();
        let Some(stripe) = self.stripes.get(stripe) else {
            return false;
        };
        let mut stripe = stripe.lock();
        // An eviction or a session change may have emptied the user, and another user may have
        // moved in; the connection's own reference is what decides.
        let Some(user) = stripe.users.get_mut(index) else {
            return false;
        };
        if !user.disconnect(connection) {
            return false;
        }
        if user.is_offline() {
            self.online.fetch_sub(1, Ordering::Relaxed);
            let hash = user.name_hash(&self.hasher);
            stripe.forget_if_unused(index, hash);
        }
        true
    }

    /// Whether a connection is in, and nobody has taken it out.
    pub fn holds(&self, user: UserHandle, connection: ConnectionRef) -> bool {
        let (stripe, index) = user.parts();
        let Some(stripe) = self.stripes.get(stripe) else {
            return false;
        };
        let stripe = stripe.lock();
        let user = stripe.users.get(index);
        user.is_some_and(|user| user.connections().any(|other| other == connection))
    }

    /// Calls `each` for every connection of the user.
    pub fn connections(&self, user: &str, each: impl FnMut(ConnectionRef)) {
        let (stripe, hash) = self.place(user);
        let stripe = self.stripes[stripe].lock();
        if let Some(index) = stripe.find(hash, user) {
            stripe.users[index].connections().for_each(each);
        }
    }

    /// Makes the change, which stands in the log at `settled`, the rule for admissions from now on,
    /// and takes out and returns the connections that it ends.
    pub fn change_session(&self, change: &SessionChange, settled: Position) -> Vec<ConnectionRef> {
        let keep = change.keep.as_deref();
        let keep_hash = keep.map(|session| self.session_hash(session));
        let ended = self.with_user(change.user.as_str(), |user| {
            let was_online = !user.is_offline();
            let standing = Standing::after(change, user.standing());
            user.remember(standing, settled);
            let ended = user.disconnect_others(keep_hash);
            if was_online && user.is_offline() {
                self.online.fetch_sub(1, Ordering::Relaxed);
            }
            ended
        });
        ended.unwrap_or_default()
    }

    /// Remembers what an earlier process stored of a user's sessions; `settled` is the newest
    /// position of the log.
    pub fn restore(&self, user: &str, standing: Standing, settled: Position) {
        self.with_user(user, |user| user.remember(standing, settled));
    }

    /// Takes out and returns every connection of the user; they may come back.
    pub fn disconnect_user(&self, name: &str) -> Vec<ConnectionRef> {
        let (stripe, hash) = self.place(name);
        let mut stripe = self.stripes[stripe].lock();
        let Some(index) = stripe.find(hash, name) else {
            return Vec::new();
        };
        let ended = stripe.users[index].disconnect_others(None);
        if !ended.is_empty() {
            self.online.fetch_sub(1, Ordering::Relaxed);
            stripe.forget_if_unused(index, hash);
        }
        ended
    }

    /// Whether a token of this identity would be let in now, the limit aside.
    pub fn allows(&self, identity: &Identity) -> bool {
        let (stripe, hash) = self.place(&identity.user);
        let stripe = self.stripes[stripe].lock();
        stripe.find(hash, &identity.user).is_none_or(|index| {
            stripe.users[index].allows(identity.session.as_deref(), identity.issued)
        })
    }

    /// Whether [`Directory::admit`] would let a connection in now.
    ///
    /// # Errors
    /// [`NotAdmitted`]
    pub fn would_admit(&self, identity: &Identity, limit: Limit) -> Result<(), NotAdmitted> {
        let (stripe, hash) = self.place(&identity.user);
        let stripe = self.stripes[stripe].lock();
        let Some(index) = stripe.find(hash, &identity.user) else {
            return Ok(());
        };
        let user = &stripe.users[index];
        if !user.allows(identity.session.as_deref(), identity.issued) {
            return Err(NotAdmitted::Revoked);
        }
        if user.has_room(limit) {
            Ok(())
        } else {
            Err(NotAdmitted::Limit)
        }
    }

    /// Users with at least one connection.
    pub fn users_online(&self) -> usize {
        self.online.load(Ordering::Relaxed)
    }

    /// Does something to a user who is interned first; nothing where that cannot be.
    fn with_user<T>(&self, name: &str, change: impl FnOnce(&mut User) -> T) -> Option<T> {
        let (stripe, hash) = self.place(name);
        let mut stripe = self.stripes[stripe].lock();
        let index = match stripe.find(hash, name) {
            Some(index) => index,
            None => stripe.intern(hash, name, &self.hasher)?,
        };
        Some(change(&mut stripe.users[index]))
    }

    fn place(&self, name: &str) -> (usize, u64) {
        let hash = self.hasher.hash_one(name);
        // The table inside a stripe uses the hash's low and top bits; these are between them.
        let stripe = usize::try_from((hash >> 32) % STRIPES as u64).unwrap_or(0);
        (stripe, hash)
    }

    /// 64 keyed bits stand for a session's name, so that a connection need not hold it.
    fn session_hash(&self, session: &str) -> u64 {
        self.hasher.hash_one(session)
    }
}

impl Stripe {
    fn find(&self, hash: u64, name: &str) -> Option<usize> {
        self.index
            .find(hash, |index| self.users[*index as usize].is(name))
            .map(|index| *index as usize)
    }

    fn intern(&mut self, hash: u64, name: &str, hasher: &ahash::RandomState) -> Option<usize> {
        let index = self.users.vacant_key();
        UserHandle::new(0, index)?;
        let number = u32::try_from(index).ok()?;
        let users = &self.users;
        self.index.insert_unique(hash, number, |index| {
            users[*index as usize].name_hash(hasher)
        });
        self.users.insert(User::new(name));
        Some(index)
    }

    fn forget_if_unused(&mut self, index: usize, hash: u64) {
        if !self.users[index].is_forgettable() {
            return;
        }
        if let Ok(entry) = self
            .index
            .find_entry(hash, |candidate| *candidate as usize == index)
        {
            entry.remove();
        }
        self.users.remove(index);
        if self.users.is_empty() {
            // What a burst of users grew goes back.
            *self = Self::default();
        }
    }
}

#[cfg(test)]
mod tests;
