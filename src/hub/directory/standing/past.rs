//! A user's earlier sessions, so that naming one of them again does not make revoked tokens valid.

use serde::{Deserialize, Serialize};

use crate::auth::IssuedAt;
use crate::hub::directory::digest::Digest;

/// Most past sessions per user, 128 bytes: more devices than one person alternates between.
const MAX_PAST: usize = 8;
/// Most of them that were replaced and never logged out. Such sessions are rarely named again, because each login
/// makes a new one.
const MAX_REPLACED: usize = 2;

/// A session, and which of its tokens are good.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Claim {
    pub(super) session: Digest,
    /// Tokens with a time of issue must be issued at this Unix millisecond or later.
    pub(super) from_ms: u64,
    /// Tokens without a time of issue are refused, because some may be from before a log-out.
    pub(super) needs_iat: bool,
}

impl Claim {
    pub(super) fn allows(self, issued: Option<IssuedAt>) -> bool {
        match issued {
            Some(issued) => self.from_ms == 0 || issued.is_after(self.from_ms - 1),
            None => !self.needs_iat,
        }
    }
}

/// Sessions that are not current, oldest first, and traces of those that did not fit. Most users have none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct PastSessions(Option<Box<PastLists>>);

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct PastLists {
    pub(super) known: Box<[PastSession]>,
    pub(super) forgotten: Option<Box<Forgotten>>,
}

/// Traces of sessions that did not fit among the known ones: enough to refuse tokens that a log-out revoked. A new
/// session may be mistaken for one of them. It then needs tokens with `iat`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "ForgottenRow", into = "ForgottenRow")]
pub(super) struct Forgotten {
    /// The latest bound of the sessions that were logged out.
    from_ms: u64,
    /// When `newer` began.
    since_ms: u64,
    /// Sessions with a log-out since they were current. `older` is from one token life before.
    newer: Filter,
    older: Filter,
    /// Sessions without one.
    replaced: Filter,
}

/// A Bloom filter of sessions. It contains every session that was added. With ten of them in it, it also claims
/// to contain about one in a hundred others.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Filter(u64, u64);

impl Filter {
    fn of(session: u32) -> Self {
        let bits = [session, session >> 7, session >> 14];
        let bits = bits.map(|bit| 1_u128 << (bit % 128));
        let all = bits[0] | bits[1] | bits[2];
        #[allow(clippy::cast_possible_truncation)] // its two halves
        Self((all >> 64) as u64, all as u64)
    }

    fn add(&mut self, other: Self) {
        self.0 |= other.0;
        self.1 |= other.1;
    }

    fn has(self, other: Self) -> bool {
        self.0 & other.0 == other.0 && self.1 & other.1 == other.1
    }
}

/// As it is stored: without field names, because each user has a row.
#[derive(Serialize, Deserialize)]
struct ForgottenRow(u64, u64, Filter, Filter, Filter);

impl From<ForgottenRow> for Forgotten {
    fn from(ForgottenRow(from_ms, since_ms, newer, older, replaced): ForgottenRow) -> Self {
        Self {
            from_ms,
            since_ms,
            newer,
            older,
            replaced,
        }
    }
}

impl From<Forgotten> for ForgottenRow {
    fn from(forgotten: Forgotten) -> Self {
        Self(
            forgotten.from_ms,
            forgotten.since_ms,
            forgotten.newer,
            forgotten.older,
            forgotten.replaced,
        )
    }
}

impl Forgotten {
    fn add(&mut self, earlier: PastSession, at_ms: u64, life_ms: u64) {
        let session = Filter::of(earlier.session);
        if earlier.is_logged_out || earlier.needs_iat {
            self.begin_anew(at_ms, life_ms);
            self.newer.add(session);
            self.from_ms = self.from_ms.max(earlier.from_ms);
        } else {
            self.replaced.add(session);
        }
    }

    fn log_out(&mut self, at_ms: u64, life_ms: u64) {
        self.begin_anew(at_ms, life_ms);
        self.newer.add(std::mem::take(&mut self.replaced));
    }

    /// Starts a new filter after each token life. A session thus stays for at least one life, and is dropped
    /// after two.
    fn begin_anew(&mut self, at_ms: u64, life_ms: u64) {
        if at_ms.saturating_sub(self.since_ms) > life_ms {
            self.older = std::mem::take(&mut self.newer);
            self.since_ms = at_ms;
        }
    }

    fn may_need_iat(&self, session: u32) -> bool {
        let session = Filter::of(session);
        self.newer.has(session) || self.older.has(session)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "(u32, u64, bool, bool)", into = "(u32, u64, bool, bool)")]
pub(super) struct PastSession {
    /// The first 32 bits of its digest. If two sessions share them, the newer one merely gets the older one's
    /// bound.
    session: u32,
    from_ms: u64,
    needs_iat: bool,
    /// True if there was a log-out since it was current.
    is_logged_out: bool,
}

const _: () = assert!(size_of::<PastSession>() == 16);

impl PastSessions {
    pub(super) fn new(lists: PastLists) -> Self {
        Self((lists != PastLists::default()).then(|| Box::new(lists)))
    }

    pub(super) fn into_lists(self) -> PastLists {
        self.0.map(|lists| *lists).unwrap_or_default()
    }

    /// Changes the lists.
    fn edit<T>(&mut self, edit: impl FnOnce(&mut PastLists) -> T) -> T {
        let mut lists = std::mem::take(self).into_lists();
        let result = edit(&mut lists);
        *self = Self::new(lists);
        result
    }

    /// See [`PastLists::replaced`].
    pub(super) fn replaced(&mut self, claim: Claim, at_ms: u64, life_ms: u64) {
        self.edit(|lists| lists.replaced(claim, at_ms, life_ms));
    }

    /// See [`PastLists::logged_out`].
    pub(super) fn logged_out(
        &mut self,
        current: Option<Claim>,
        from_ms: u64,
        at_ms: u64,
        life_ms: u64,
    ) {
        self.edit(|lists| lists.logged_out(current, from_ms, at_ms, life_ms));
    }

    /// See [`PastLists::claim`].
    pub(super) fn claim(&mut self, session: Digest, from_ms: u64) -> Claim {
        self.edit(|lists| lists.claim(session, from_ms))
    }
}

impl PastLists {
    /// Adds a session that another one has replaced.
    fn replaced(&mut self, claim: Claim, at_ms: u64, life_ms: u64) {
        let earlier = PastSession {
            session: claim.session.short(),
            from_ms: claim.from_ms,
            needs_iat: claim.needs_iat,
            is_logged_out: false,
        };
        self.push(earlier, at_ms, life_ms);
    }

    /// Notes that all sessions were logged out. From now on, tokens of the current one must be issued at
    /// `from_ms` or later.
    fn logged_out(&mut self, current: Option<Claim>, from_ms: u64, at_ms: u64, life_ms: u64) {
        for earlier in &mut self.known {
            earlier.is_logged_out = true;
        }
        if let Some(forgotten) = &mut self.forgotten {
            forgotten.log_out(at_ms, life_ms);
        }
        if let Some(current) = current {
            let earlier = PastSession {
                session: current.session.short(),
                from_ms,
                needs_iat: true,
                is_logged_out: true,
            };
            self.push(earlier, at_ms, life_ms);
        }
    }

    /// Removes a session that becomes the current one. `from_ms` is the bound for tokens of a new session.
    fn claim(&mut self, session: Digest, from_ms: u64) -> Claim {
        let mut claim = Claim {
            session,
            from_ms,
            needs_iat: false,
        };
        let mut rest = self.known.to_vec();
        if let Some(place) = rest.iter().position(|past| past.session == session.short()) {
            let earlier = rest.remove(place);
            claim.from_ms = if earlier.is_logged_out {
                from_ms.max(earlier.from_ms)
            } else {
                // The bound from when it was replaced.
                earlier.from_ms
            };
            claim.needs_iat = earlier.is_logged_out || earlier.needs_iat;
            self.known = rest.into();
        } else if let Some(forgotten) = &self.forgotten
            && forgotten.may_need_iat(session.short())
        {
            claim.from_ms = from_ms.max(forgotten.from_ms);
            claim.needs_iat = true;
        }
        claim
    }

    fn push(&mut self, newest: PastSession, at_ms: u64, life_ms: u64) {
        let mut all = self.known.to_vec();
        all.push(newest);
        let was_replaced_only = |past: &PastSession| !past.is_logged_out && !past.needs_iat;
        if all.iter().filter(|past| was_replaced_only(past)).count() > MAX_REPLACED
            && let Some(oldest) = all.iter().position(was_replaced_only)
        {
            self.forget(all.remove(oldest), at_ms, life_ms);
        }
        if all.len() > MAX_PAST {
            self.forget(all.remove(0), at_ms, life_ms);
        }
        self.known = all.into();
    }

    fn forget(&mut self, earlier: PastSession, at_ms: u64, life_ms: u64) {
        self.forgotten
            .get_or_insert_default()
            .add(earlier, at_ms, life_ms);
    }
}

impl From<(u32, u64, bool, bool)> for PastSession {
    fn from((session, from_ms, needs_iat, is_logged_out): (u32, u64, bool, bool)) -> Self {
        Self {
            session,
            from_ms,
            needs_iat,
            is_logged_out,
        }
    }
}

impl From<PastSession> for (u32, u64, bool, bool) {
    fn from(earlier: PastSession) -> Self {
        (
            earlier.session,
            earlier.from_ms,
            earlier.needs_iat,
            earlier.is_logged_out,
        )
    }
}
