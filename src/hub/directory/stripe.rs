//! A part of the directory, with a lock of its own.

use super::everyone::Everyone;
use super::handle::UserHandle;
use super::standings::Standings;
use super::user::User;
use crate::auth::{Identity, Issued};
use crate::event::Position;
use crate::interner::Interner;

/// The users of a stripe, and their standings.
#[derive(Debug, Default)]
pub(super) struct Stripe {
    /// Users with connections.
    pub(super) users: Interner<User>,
    pub(super) standings: Standings,
}

impl Stripe {
    /// The position of the user's last session change, if the identity is still good after it. `everyone`
    /// decides about tokens of users with no known session change. It does not concern answers of the
    /// application, which are newer than the changes that were lost.
    #[inline] // every stream passes here
    pub(super) fn settled(
        &self,
        hash: u64,
        identity: &Identity,
        everyone: Everyone,
    ) -> Option<Position> {
        let known = self.standings.find(hash, &identity.user);
        let settled = known.map_or(Position(0), |user| user.settled);
        let issued = match identity.issued {
            Some(Issued::Answer(asked)) => return (asked >= settled).then_some(settled),
            Some(Issued::Token(issued)) => Some(issued),
            None => None,
        };
        let session = identity.session.as_deref();
        let is_good = match known {
            Some(user) => user.standing.allows(session, issued),
            None => everyone.allows(issued),
        };
        is_good.then_some(settled)
    }

    /// The place of a user with this name, whose hash is `hash`.
    pub(super) fn find(&self, hash: u64, name: &str) -> Option<usize> {
        self.users.find(hash, |user| user.is(name))
    }

    /// Adds a user without connections. `None` if there are too many.
    pub(super) fn intern(
        &mut self,
        hash: u64,
        name: &str,
        hasher: &ahash::RandomState,
    ) -> Option<usize> {
        UserHandle::reaches(self.users.next_number()).then(|| {
            self.users
                .insert(hash, User::new(name), |user| user.name_hash(hasher))
        })
    }

    /// Removes the user if it has no connections.
    pub(super) fn forget_if_unused(&mut self, index: usize, hash: u64) {
        if self.users[index].is_offline() {
            self.users.remove(index, hash);
        }
    }
}
