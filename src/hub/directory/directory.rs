//! The directory itself: the operations on its stripes.

use std::fmt::Display;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use parking_lot::Mutex;

use super::everyone::Everyone;
use super::handle::{STRIPES, UserHandle};
use super::questions::Questions;
use super::standing::{Rules, Standing};
use super::stripe::Stripe;
use crate::auth::Identity;
use crate::clock::{Clock, SteadyTime};
use crate::event::{Position, SessionChange};
use crate::hub::connection::ConnectionId;
use crate::hub::limits::Limit;
use crate::hub::rejection::Rejection;

/// Most standings that one sweep looks at. It takes a millisecond or two, and covers a million users in a minute.
const MAX_SWEPT: usize = 16_384;
/// Most standings that are looked at while a stripe is locked, for about 20 µs.
const MAX_SWEPT_LOCKED: usize = 256;

/// A connection that was admitted.
#[derive(Debug)]
pub struct Admitted {
    /// The connection's user, for the slot.
    pub user: UserHandle,
    /// The connections that were evicted, already removed from the directory. There is more than one only after
    /// the limit was lowered.
    pub(crate) evicted: Vec<ConnectionId>,
}

/// All connected users and all known sessions, shared by all shards.
#[derive(Debug)]
pub struct Directory {
    stripes: Box<[Mutex<Stripe>]>,
    hasher: ahash::RandomState,
    online: AtomicUsize,
    leeway_ms: AtomicU64,
    max_token_life_ms: AtomicU64,
    /// Where the next sweep begins: a stripe and a place in its standings.
    sweep: Mutex<(usize, usize)>,
    /// See [`Everyone`].
    everyone_ms: AtomicU64,
    /// See [`Directory::begin_at`].
    begun: Mutex<Option<SteadyTime>>,
    questions: Questions,
}

impl Default for Directory {
    /// An empty directory with the rules of the default configuration.
    fn default() -> Self {
        Self::new(Rules::of(&crate::config::Auth::default()))
    }
}

impl Directory {
    /// An empty directory.
    pub(crate) fn new(rules: Rules) -> Self {
        Self::with_hasher(ahash::RandomState::new(), rules)
    }

    /// An empty directory with fixed seeds, for reproducible counts: the seeds decide which maps grow and how long
    /// they are probed.
    #[cfg(feature = "bench")]
    pub fn with_known_seeds() -> Self {
        let rules = Rules::of(&crate::config::Auth::default());
        Self::with_hasher(ahash::RandomState::with_seeds(1, 2, 3, 4), rules)
    }

    fn with_hasher(hasher: ahash::RandomState, rules: Rules) -> Self {
        Self {
            stripes: (0..STRIPES).map(|_| Mutex::default()).collect(),
            hasher,
            online: AtomicUsize::new(0),
            leeway_ms: AtomicU64::new(rules.leeway_ms),
            max_token_life_ms: AtomicU64::new(rules.max_token_life_ms),
            sweep: Mutex::default(),
            everyone_ms: AtomicU64::new(0),
            begun: Mutex::default(),
            questions: Questions::default(),
        }
    }

    /// Sets the rules for changes from now on.
    pub(crate) fn set_rules(&self, rules: Rules) {
        self.leeway_ms.store(rules.leeway_ms, Ordering::Relaxed);
        self.max_token_life_ms
            .store(rules.max_token_life_ms, Ordering::Relaxed);
    }

    /// The rules for changes.
    pub(crate) fn rules(&self) -> Rules {
        Rules {
            leeway_ms: self.leeway_ms.load(Ordering::Relaxed),
            max_token_life_ms: self.max_token_life_ms.load(Ordering::Relaxed),
        }
    }

    /// Admits a connection, or returns the reason why not. `joined` runs in the critical section, so the log
    /// position that it reads is the one at which the connection became a target. Its argument is the position
    /// of the user's last session change that is in force.
    ///
    /// # Errors
    /// [`Rejection`]; the directory is then unchanged.
    pub fn admit<J>(
        &self,
        identity: &Identity,
        connection: ConnectionId,
        limit: Limit,
        joined: impl FnOnce(Position) -> J,
    ) -> Result<(Admitted, J), Rejection> {
        let session = identity.session.as_deref();
        let (stripe_number, hash) = self.place(&identity.user);
        let mut stripe = self.stripes[stripe_number].lock();
        let settled = stripe
            .settled(hash, identity, self.everyone())
            .ok_or(Rejection::Revoked)?;
        let index = match stripe.find(hash, &identity.user) {
            Some(index) => index,
            None => stripe
                .intern(hash, &identity.user, &self.hasher)
                .ok_or(Rejection::Full)?,
        };
        let user = &mut stripe.users[index];
        let evicted = match user.make_room(limit) {
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
        let admitted = Admitted {
            user: UserHandle::new(stripe_number, index),
            evicted,
        };
        Ok((admitted, joined(settled)))
    }

    /// Adds a connection that another process has admitted, whatever the limits and the user's session. It began at
    /// `since_s`, in Unix seconds. Returns the user, or `None` if there are too many.
    pub(crate) fn adopt(
        &self,
        name: &str,
        session: Option<&str>,
        connection: ConnectionId,
        since_s: u32,
    ) -> Option<UserHandle> {
        let (stripe_number, hash) = self.place(name);
        let mut stripe = self.stripes[stripe_number].lock();
        let index = match stripe.find(hash, name) {
            Some(index) => index,
            None => stripe.intern(hash, name, &self.hasher)?,
        };
        let user = &mut stripe.users[index];
        if user.is_offline() {
            self.online.fetch_add(1, Ordering::Relaxed);
        }
        let session = session.map(|session| self.session_hash(session));
        user.adopt(connection, session, since_s);
        Some(UserHandle::new(stripe_number, index))
    }

    /// Removes and returns the connections of a user that are beyond the limit because of one that was
    /// [adopted](Directory::adopt).
    pub(crate) fn end_excess(
        &self,
        user: UserHandle,
        adopted: ConnectionId,
        limit: Limit,
    ) -> Vec<ConnectionId> {
        let (stripe, index) = user.parts();
        let Some(stripe) = self.stripes.get(stripe) else {
            return Vec::new();
        };
        let mut stripe = stripe.lock();
        // It may have been removed meanwhile, and another user may have taken the place.
        match stripe.users.get_mut(index) {
            Some(user) if user.connections().any(|other| other == adopted) => {
                user.end_excess(adopted, limit)
            }
            _ => Vec::new(),
        }
    }

    /// The name of a user with this connection. `None` if the connection is not in the directory.
    pub(crate) fn name(&self, user: UserHandle, connection: ConnectionId) -> Option<String> {
        let (stripe, index) = user.parts();
        let stripe = self.stripes.get(stripe)?.lock();
        let user = stripe.users.get(index)?;
        let is_there = user.connections().any(|other| other == connection);
        is_there.then(|| user.name().to_string())
    }

    /// Removes a connection. Returns false if it was removed before. `removed` is called with the user's name
    /// in the critical section, so it must not wait.
    pub fn remove(
        &self,
        user: UserHandle,
        connection: ConnectionId,
        removed: &dyn Fn(&dyn Display),
    ) -> bool {
        let (stripe, index) = user.parts();
        let Some(stripe) = self.stripes.get(stripe) else {
            return false;
        };
        let mut stripe = stripe.lock();
        // An eviction or a session change may have removed the user's last connection, and another user may have
        // taken the place. So the connection itself decides.
        let Some(user) = stripe.users.get_mut(index) else {
            return false;
        };
        if !user.disconnect(connection) {
            return false;
        }
        removed(user.name());
        if user.is_offline() {
            self.online.fetch_sub(1, Ordering::Relaxed);
            let hash = user.name_hash(&self.hasher);
            stripe.forget_if_unused(index, hash);
        }
        true
    }

    /// The users whose connections were asked recently whether they are still alive.
    pub(crate) fn questions(&self) -> &Questions {
        &self.questions
    }

    /// Returns true if the connection is in the directory.
    pub(crate) fn holds(&self, user: UserHandle, connection: ConnectionId) -> bool {
        let (stripe, index) = user.parts();
        let Some(stripe) = self.stripes.get(stripe) else {
            return false;
        };
        let stripe = stripe.lock();
        let user = stripe.users.get(index);
        user.is_some_and(|user| user.connections().any(|other| other == connection))
    }

    /// Calls `each` for every connection of the user.
    pub fn connections(&self, user: &str, each: impl FnMut(ConnectionId)) {
        let (stripe, hash) = self.place(user);
        let stripe = self.stripes[stripe].lock();
        if let Some(index) = stripe.find(hash, user) {
            stripe.users[index].connections().for_each(each);
        }
    }

    /// Calls `read` with the number of the user's connections, while no connection of the user can be added or removed.
    pub(crate) fn held<R>(&self, user: &str, read: impl FnOnce(usize) -> R) -> R {
        let (stripe, hash) = self.place(user);
        let stripe = self.stripes[stripe].lock();
        let user = stripe.find(hash, user).map(|index| &stripe.users[index]);
        read(user.map_or(0, |user| user.connections().count()))
    }

    /// The users with connections in one of the [`STRIPES`].
    pub(crate) fn users(&self, stripe: usize) -> Vec<Box<str>> {
        let Some(stripe) = self.stripes.get(stripe) else {
            return Vec::new();
        };
        let stripe = stripe.lock();
        let users = stripe.users.values().filter(|user| !user.is_offline());
        users.map(|user| user.name().to_string().into()).collect()
    }

    /// Applies a session change to admissions from now on. Removes and returns the connections that it ends:
    /// none if the session is already the current one. The change is in the log at `settled`, under an id of
    /// `log_ms`.
    pub fn change_session(
        &self,
        change: &SessionChange,
        log_ms: u64,
        settled: Position,
    ) -> Vec<ConnectionId> {
        let name = change.user.as_str();
        let keep = change.keep.as_deref();
        let (stripe, hash) = self.place(name);
        let mut stripe = self.stripes[stripe].lock();
        let rules = self.rules();
        let everyone = self.everyone().standing(rules);
        let before = stripe.standings.find(hash, name).map(|user| &user.standing);
        let before = before.or(everyone.as_ref());
        let changes_nothing =
            keep.is_some_and(|keep| before.is_some_and(|before| before.names(keep)));
        let standing = Standing::after(change, log_ms, before, rules);
        stripe
            .standings
            .remember(hash, name, standing, settled, &self.hasher);
        if changes_nothing {
            return Vec::new();
        }
        let keep = keep.map(|session| self.session_hash(session));
        self.disconnect(&mut stripe, hash, name, keep)
    }

    /// Returns true if this is the user's current session.
    pub(crate) fn is_current(&self, user: &str, session: &str) -> bool {
        let (stripe, hash) = self.place(user);
        let stripe = self.stripes[stripe].lock();
        let remembered = stripe.standings.find(hash, user);
        remembered.is_some_and(|user| user.standing.names(session))
    }

    /// Remembers a standing that an earlier process stored, if a token can still depend on it at `unix_ms`.
    /// `settled` is the newest position of the log.
    pub(crate) fn restore(
        &self,
        user: &str,
        mut standing: Standing,
        unix_ms: u64,
        settled: Position,
    ) {
        if standing.fade(unix_ms, self.rules()) {
            let (stripe, hash) = self.place(user);
            let mut stripe = self.stripes[stripe].lock();
            stripe
                .standings
                .remember(hash, user, standing, settled, &self.hasher);
        }
    }

    /// Calls `each` for every user with a known session change. It runs while a part of the directory is locked, so
    /// it must not wait.
    pub(crate) fn standings(&self, mut each: impl FnMut(&dyn Display, &Standing)) {
        for stripe in &self.stripes {
            stripe.lock().standings.each(&mut each);
        }
    }

    /// Sets the time from which standings continue to age after a restart.
    pub(crate) fn begin_at(&self, time: SteadyTime) {
        *self.begun.lock() = Some(time);
    }

    /// The time by which standings age. It starts at the time set by [`Directory::begin_at`], or else now.
    pub(crate) fn time(&self, clock: &Clock) -> SteadyTime {
        let begun = self.begun.lock();
        begun.clone().unwrap_or_else(|| SteadyTime::now(clock))
    }

    /// Forgets some of the standings that no token can depend on any more. Called regularly.
    pub fn sweep(&self, unix_ms: u64) {
        let rules = self.rules();
        let mut sweep = self.sweep.lock();
        let (mut stripe, mut place) = *sweep;
        let (mut looked_at, mut visited) = (0, 0);
        while looked_at < MAX_SWEPT && visited < STRIPES {
            looked_at += MAX_SWEPT_LOCKED;
            let mut locked = self.stripes[stripe].lock();
            let standings = &mut locked.standings;
            let next = standings.fade(place, MAX_SWEPT_LOCKED, unix_ms, rules, &self.hasher);
            if next.is_none() {
                visited += 1;
                stripe = (stripe + 1) % STRIPES;
            }
            place = next.unwrap_or(0);
        }
        *sweep = (stripe, place);
    }

    /// Logs out all users with no known session change, as of `at_unix_ms`. 0 takes this back, once no earlier
    /// token can be good any more.
    pub(crate) fn log_everyone_out(&self, at_unix_ms: u64) {
        self.everyone_ms.store(at_unix_ms, Ordering::Relaxed);
    }

    /// When all users with no known session change were logged out, in Unix milliseconds; 0 for never.
    pub(crate) fn everyone_ms(&self) -> u64 {
        self.everyone_ms.load(Ordering::Relaxed)
    }

    /// Logs out all users as of `at_unix_ms`, also those with a known session change.
    pub(crate) fn log_out_all(&self, at_unix_ms: u64) {
        // This comes first, so that a standing which is added meanwhile builds on it.
        self.log_everyone_out(at_unix_ms);
        let rules = self.rules();
        for stripe in &self.stripes {
            let mut end = usize::MAX;
            while end > 0 {
                let standings = &mut stripe.lock().standings;
                end = standings.log_out(end, MAX_SWEPT_LOCKED, at_unix_ms, rules);
            }
        }
    }

    /// The user's standing. `None` if no session change and no log-out of all users is known.
    pub(crate) fn standing(&self, user: &str) -> Option<Standing> {
        let (stripe, hash) = self.place(user);
        let stripe = self.stripes[stripe].lock();
        match stripe.standings.find(hash, user) {
            Some(remembered) => Some(remembered.standing.clone()),
            None => self.everyone().standing(self.rules()),
        }
    }

    /// Removes and returns all connections of the user. The clients may come back.
    pub(crate) fn disconnect_user(&self, name: &str) -> Vec<ConnectionId> {
        let (stripe, hash) = self.place(name);
        self.disconnect(&mut self.stripes[stripe].lock(), hash, name, None)
    }

    /// The user, if connected. The handle may be another user's by the time that it is used.
    pub(crate) fn find(&self, name: &str) -> Option<UserHandle> {
        let (stripe, hash) = self.place(name);
        let index = self.stripes[stripe].lock().find(hash, name)?;
        Some(UserHandle::new(stripe, index))
    }

    /// Returns true if a credential of this identity is still good. Does not check the limit.
    pub(crate) fn allows(&self, identity: &Identity) -> bool {
        let (stripe, hash) = self.place(&identity.user);
        let stripe = self.stripes[stripe].lock();
        stripe.settled(hash, identity, self.everyone()).is_some()
    }

    /// Returns whether [`Directory::admit`] would admit a connection now.
    ///
    /// # Errors
    /// [`Rejection`]
    pub(crate) fn would_admit(&self, identity: &Identity, limit: Limit) -> Result<(), Rejection> {
        let (stripe, hash) = self.place(&identity.user);
        let stripe = self.stripes[stripe].lock();
        if stripe.settled(hash, identity, self.everyone()).is_none() {
            return Err(Rejection::Revoked);
        }
        match stripe.find(hash, &identity.user) {
            Some(index) if !stripe.users[index].has_room(limit) => Err(Rejection::Limit),
            _ => Ok(()),
        }
    }

    /// Users with at least one connection.
    pub(crate) fn users_online(&self) -> usize {
        self.online.load(Ordering::Relaxed)
    }

    /// Removes and returns the user's connections that do not belong to the session `keep`.
    fn disconnect(
        &self,
        stripe: &mut Stripe,
        hash: u64,
        name: &str,
        keep: Option<u64>,
    ) -> Vec<ConnectionId> {
        let Some(index) = stripe.find(hash, name) else {
            return Vec::new();
        };
        let user = &mut stripe.users[index];
        let ended = user.disconnect_others(keep);
        if user.is_offline() {
            self.online.fetch_sub(1, Ordering::Relaxed);
            stripe.forget_if_unused(index, hash);
        }
        ended
    }

    fn everyone(&self) -> Everyone {
        Everyone(self.everyone_ms())
    }

    fn place(&self, name: &str) -> (usize, u64) {
        let hash = self.hasher.hash_one(name);
        // The table inside a stripe uses the lowest and the highest bits of the hash. These are in between.
        let stripe = usize::try_from((hash >> 32) % STRIPES as u64).unwrap_or(0);
        (stripe, hash)
    }

    /// A keyed 64-bit hash of a session's name, so that a connection does not have to store the name.
    fn session_hash(&self, session: &str) -> u64 {
        self.hasher.hash_one(session)
    }
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
